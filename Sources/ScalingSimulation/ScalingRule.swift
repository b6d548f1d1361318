import Autoscaling
import OrchestryModel

/// What was measured in one second.
public struct Observation: Sendable {
    /// Requests per second, whole app.
    public var rps: Double
    public var connections: Double
    public var p95Milliseconds: Double
    /// Percent of the limit, by instance.
    public var cpuPercent: [InstanceID: Double]
    public var memoryPercent: Double?
}

/// What a rule is shown when it is asked.
public struct RuleView: Sendable {
    /// Now: the second after the one observed.
    public var second: Int64
    public var desired: Int
    public var ready: [InstanceID: Int64]
    public var starting: Int
    public var rolloutInProgress: Bool
    /// Of the second before; nil: could not be read.
    public var observation: Observation?
}

/// Says each second how many instances an app should have.
public protocol ScalingRule: Sendable {
    var name: String { get }
    /// - Returns: instances wanted, and why in a sentence where the rule can say so.
    mutating func decide(_ view: RuleView) -> (count: Int, reason: String)
}

/// The evaluator that runs in production, fed as a leader feeds it.
public struct OrchestryRule: ScalingRule {
    public let name: String
    private let app = AppName(unchecked: "app")
    private let node = NodeID(unchecked: "node")
    private let policy: ScalingPolicy
    /// Of a time zone to UTC in seconds, at a second; nil: not known, its schedules don't hold.
    private let offset: @Sendable (String, Int64) -> Int64?
    private var schedules = ScheduleClock()
    private var autoscaler = Autoscaler()

    public init(
        _ policy: ScalingPolicy, name: String = "orchestry",
        offset: @escaping @Sendable (String, Int64) -> Int64? = { zone, _ in zone == "UTC" ? 0 : nil }
    ) {
        self.name = name
        self.policy = policy
        self.offset = offset
    }

    public mutating func decide(_ view: RuleView) -> (count: Int, reason: String) {
        if let observation = view.observation { autoscaler.record(sample(observation, at: view.second - 1)) }
        let state = ReplicaState(
            desired: view.desired, ready: view.ready, starting: view.starting,
            rolloutInProgress: view.rolloutInProgress,
            schedule: schedules.bounds(policy.schedules, at: view.second, offset: offset))
        let evaluation = autoscaler.evaluate(app, policy: policy, state: state, at: view.second)
        if evaluation.shouldScale {
            autoscaler.noteScaled(app, from: evaluation.current, to: evaluation.wanted, at: view.second)
        }
        return (evaluation.wanted, evaluation.shouldScale ? evaluation.reason : "")
    }

    private func sample(_ observation: Observation, at second: Int64) -> Sample {
        // A thousand seconds' worth of requests in as many seconds: so fractions of a request keep three digits.
        let scale = 1_000.0
        var latency = LatencyHistogram()
        let requests = UInt64((observation.rps * scale).rounded())
        latency.record(microseconds: UInt64(observation.p95Milliseconds * 1_000), count: max(1, requests / 1_000))
        return Sample(
            app: app, node: node, second: second, interval: scale, requests: requests,
            requestSeconds: observation.connections * scale, inFlight: 0, latency: latency,
            instances: observation.cpuPercent.map { instance, cpu in
                InstanceSample(instance: instance, cpuPercent: cpu, memoryPercent: observation.memoryPercent)
            })
    }
}
