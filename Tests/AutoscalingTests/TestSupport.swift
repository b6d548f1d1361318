import Autoscaling
import OrchestryModel

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers for the same seed on every machine.
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

let app = AppName(unchecked: "web")

func node(_ number: Int) -> NodeID { NodeID(unchecked: "controller-\(number)") }
func instance(_ number: Int) -> InstanceID { InstanceID(unchecked: "web-1-\(number)") }

/// `count` instances that have been ready since `second`.
func ready(_ count: Int, since second: Int64 = 0) -> [InstanceID: Int64] {
    Dictionary(uniqueKeysWithValues: (0..<count).map { (instance($0), second) })
}

/// One second of the app on one node, all figures of that node alone.
func sample(
    _ second: Int64, node number: Int = 1, rps: Double = 0, concurrency: Double = 0, inFlight: UInt64 = 0,
    latencyMilliseconds: Double? = nil, requests: UInt64? = nil, instances: [InstanceSample] = []
) -> Sample {
    var latency = LatencyHistogram()
    if let latencyMilliseconds {
        latency.record(microseconds: UInt64(latencyMilliseconds * 1000), count: requests ?? UInt64(max(rps, 1)))
    }
    // Two seconds' worth in a double interval would be the same rate: use it so that fractions stay exact.
    return Sample(
        app: app, node: node(number), second: second, interval: 4, requests: UInt64((rps * 4).rounded()),
        requestSeconds: concurrency * 4, inFlight: inFlight, latency: latency, instances: instances)
}

/// Readings of instances 0, 1, 2…; nil: not measured.
func readings(cpu: [Double?] = [], memory: [Double?] = []) -> [InstanceSample] {
    (0..<max(cpu.count, memory.count)).map { index in
        InstanceSample(
            instance: instance(index), cpuPercent: index < cpu.count ? cpu[index] : nil,
            memoryPercent: index < memory.count ? memory[index] : nil)
    }
}

extension Autoscaler {
    /// Records the same second again and again.
    mutating func record(seconds: ClosedRange<Int64>, _ make: (Int64) -> Sample) {
        for second in seconds { record(make(second)) }
    }
}

/// A policy on which only what a test is about has a say: no waiting, wide bounds, thresholds apart.
func plainPolicy(
    rps: Double? = nil, latency: Double? = nil, connections: Double? = nil, cpu: Double? = nil, memory: Double? = nil,
    window: Int = 20
) -> ScalingPolicy {
    ScalingPolicy(
        minReplicas: 1, maxReplicas: 1_000, targetRPS: rps, maxP95LatencyMilliseconds: latency,
        maxConnections: connections, maxCPUPercent: cpu, maxMemoryPercent: memory, scaleOutThresholdPercent: 80,
        scaleInThresholdPercent: 60, windowSeconds: window,
        cooldownSeconds: 0, stabilizationWindowSeconds: 0)
}

/// The thresholds that make the arithmetic Kubernetes'.
extension ScalingPolicy {
    var likeHPA: ScalingPolicy {
        var policy = self
        policy.scaleOutThresholdPercent = 100
        policy.scaleInThresholdPercent = 100
        policy.toleranceOut = 0.1
        policy.toleranceIn = 0.1
        return policy
    }
}

/// An app whose instances start after a while, driven second by second by an `Autoscaler`.
struct World {
    struct Step: Equatable {
        var second: Int64
        var from: Int
        var to: Int
    }
    var scaler = Autoscaler()
    var policy: ScalingPolicy
    var startSeconds: Int64 = 2
    var nodes = 3
    /// A node whose samples arrive a second after the others'.
    var lateNode: Int?
    private(set) var steps: [Step] = []
    private(set) var evaluations: [Evaluation] = []
    private(set) var desired: Int
    private var readySince: [(id: InstanceID, second: Int64)]
    private var made: Int
    private var held: [Sample] = []

    init(policy: ScalingPolicy, instances: Int) {
        self.policy = policy
        desired = instances
        made = instances
        readySince = (0..<instances).map { (instance($0), -1_000) }
    }

    func readyCount(at second: Int64) -> Int { readySince.count { $0.second <= second } }

    /// Lets `second` pass under `load` requests per second, then evaluates at the next one.
    @discardableResult
    mutating func run(_ second: Int64, load: Int) -> Evaluation {
        let now = second + 1
        for late in held { scaler.record(late) }
        held = []
        for number in 1...nodes {
            let share = load / nodes + (number <= load % nodes ? 1 : 0)
            let one = sample(second, node: number, rps: Double(share), concurrency: Double(share) * 0.01)
            if number == lateNode { held.append(one) } else { scaler.record(one) }
        }
        let inRouting = readySince.filter { $0.second <= now }
        let state = ReplicaState(
            desired: desired, ready: Dictionary(uniqueKeysWithValues: inRouting.map { ($0.id, $0.second) }),
            starting: readySince.count - inRouting.count)
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: now)
        evaluations.append(evaluation)
        if evaluation.shouldScale { apply(evaluation.wanted, at: now) }
        return evaluation
    }

    private mutating func apply(_ wanted: Int, at now: Int64) {
        steps.append(Step(second: now, from: desired, to: wanted))
        scaler.noteScaled(app, from: desired, to: wanted, at: now)
        while readySince.count < wanted {
            readySince.append((instance(made), now + startSeconds))
            made += 1
        }
        if readySince.count > wanted { readySince.removeLast(readySince.count - wanted) }
        desired = wanted
    }
}
