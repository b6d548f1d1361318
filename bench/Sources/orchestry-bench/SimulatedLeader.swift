import Autoscaling
import Measuring
import NIOCore
import OrchestryModel
import Scheduling
import WireProtocol

/// What a leader computes, with a cluster around it that only answers.
struct SimulatedLeader {
    struct Figures {
        var nodes: Int
        var apps: Int
        var instances: Int
        var values: [(name: String, value: Double)] = []
        /// Of the leader's processor, each second.
        var millisecondsASecond = 0.0
    }

    private let nodes: [NodeID]
    private let applications: [Application]
    private let replicas: Int
    private var reconciler: Reconciler
    private var statuses: [InstanceID: InstanceStatus] = [:]
    private var now = Instant(nanoseconds: 1_000_000_000)
    private let wall = WallTime(milliseconds: 1_800_000_000_000)

    init(nodes: Int, apps: Int, replicas: Int) {
        self.nodes = (0..<nodes).map { NodeID(unchecked: "node-\($0)") }
        self.replicas = replicas
        let wall = wall
        applications = (0..<apps).map { number in
            let name = AppName(unchecked: "app-\(number)")
            let spec = AppSpec(
                name: name, image: "app:1", ports: [AppSpec.Port(containerPort: 8080)],
                resources: AppSpec.Resources(cpuMillicores: 10, memoryBytes: 16 << 20),
                scaling: ScalingPolicy(maxReplicas: max(replicas, 5)))
            return Application(
                spec: spec, document: [:], revision: 1, status: .running, replicas: replicas, createdAt: wall,
                updatedAt: wall)
        }
        reconciler = Reconciler(epoch: Epoch(1), now: now, seed: 1)
    }

    mutating func measure(window: Int, repetitions: Int) throws -> Figures {
        var figures = Figures(nodes: nodes.count, apps: applications.count, instances: applications.count * replicas)
        let (placing, commands) = nanoseconds { place() }
        guard commands.count == figures.instances else {
            throw BenchFailure("\(commands.count) of \(figures.instances) instances were placed")
        }
        figures.values.append(("placing all instances of an empty cluster, ms", placing / 1e6))
        let (starting, _) = nanoseconds { for assignment in commands { report(assignment, .ready) } }
        figures.values.append(("an instance that has started, all in all, µs", starting / 1e3 / Double(commands.count)))
        let (takeover, orders) = nanoseconds { takeOver() }
        guard orders == 0 else { throw BenchFailure("a new leader ordered \(orders) changes where all was well") }
        figures.values.append(("taking over, nothing to change, ms", takeover / 1e6))
        try measureChanges(commands, repetitions, &figures)
        try measureSeconds(window, repetitions, &figures)
        return figures
    }

    // MARK: Instances

    @discardableResult
    private mutating func send(_ input: Reconciler.Input) -> [Reconciler.Output] {
        now = now + .milliseconds(1)
        return reconciler.handle(input, at: now, wall: wall)
    }

    private func inventory(_ node: NodeID) -> Inventory {
        Inventory(
            node: node, highestEpoch: Epoch(1), capacityMillicores: 1_000_000, capacityMemoryBytes: 1 << 44,
            engineAvailable: true,
            instances: statuses.values.filter { $0.node == node }.sorted { $0.instance < $1.instance })
    }

    private mutating func begin(_ inventories: [Inventory]) -> [Reconciler.Output] {
        var outputs = send(
            .loaded(applications, instances: statuses.values.sorted { $0.instance < $1.instance }, knownNodes: nodes))
        for node in nodes { outputs += send(.nodeConnected(node)) }
        for inventory in inventories { outputs += send(.inventory(inventory)) }
        return outputs
    }

    private mutating func place() -> [Assignment] {
        begin(nodes.map { inventory($0) }).compactMap { output in
            if case .command(_, .run(let assignment)) = output { assignment } else { nil }
        }
    }

    private mutating func report(_ assignment: Assignment, _ state: InstanceState) {
        let number = statuses.count
        let endpoint =
            statuses[assignment.instance]?.endpoint
            ?? Endpoint(host: "10.\(number >> 16 & 255).\(number >> 8 & 255).\(number & 255)", port: 8080)
        let status = InstanceStatus(
            instance: assignment.instance, app: assignment.app, revision: 1, node: assignment.node, state: state,
            containerID: "0123456789ab", endpoint: endpoint, startedAt: wall, since: wall)
        statuses[assignment.instance] = status
        send(.status(status))
    }

    /// The next leader, told of what there is.
    /// - Returns: how many commands it gives.
    private mutating func takeOver() -> Int {
        let inventories = nodes.map { inventory($0) }
        reconciler = Reconciler(epoch: Epoch(2), now: now, seed: 2)
        return begin(inventories).count { if case .command = $0 { true } else { false } }
    }

    /// One instance fails its check and passes it again.
    private mutating func measureChanges(
        _ assignments: [Assignment], _ repetitions: Int, _ figures: inout Figures
    ) throws {
        var changes: [Double] = []
        var encodings: [Double] = []
        var bytes = 0
        for repetition in 0..<repetitions {
            let assignment = assignments[repetition * 7_919 % assignments.count]
            for state in [InstanceState.unhealthy, .ready] {
                changes.append(nanoseconds { report(assignment, state) }.duration / 1e3)
            }
            let table = reconciler.routingTable
            let (encoding, length) = try nanoseconds {
                var buffer = ByteBuffer()
                return try FrameEncoder.encode(.routingTable(table), into: &buffer)
            }
            encodings.append(encoding / 1e6)
            bytes = length
        }
        figures.values.append(("one instance's change, µs", Summary(changes)?.p50 ?? 0))
        figures.values.append(("encoding the routing table, ms", Summary(encodings)?.p50 ?? 0))
        figures.values.append(("the routing table, kB", Double(bytes) / 1e3))
        figures.values.append(("a change of it to all nodes, MB", Double(bytes * nodes.count) / 1e6))
    }

    // MARK: Seconds

    private mutating func measureSeconds(_ window: Int, _ repetitions: Int, _ figures: inout Figures) throws {
        let load = SyntheticLoad(apps: applications.count, nodes: nodes.count, instances: replicas)
        let policy = ScalingPolicy(
            maxReplicas: replicas * 2, targetRPS: 50, maxCPUPercent: 70, windowSeconds: window)
        var autoscaler = Autoscaler()
        for app in load.names { autoscaler.retain(app, windowSeconds: window) }
        var (taking, evaluating, reconciling): ([Double], [Double], [Double]) = ([], [], [])
        var bytes = 0
        for round in 0..<(window + repetitions) {
            let second = load.firstSecond + Int64(round)
            var batches = try batches(load, at: second)
            bytes = batches.reduce(0) { $0 + $1.readableBytes }
            let taken = try nanoseconds {
                for position in batches.indices {
                    while batches[position].readableBytes > 0 {
                        autoscaler.record(try SampleCodec.decode(from: &batches[position]))
                    }
                }
            }
            // The windows fill.
            guard round >= window else { continue }
            taking.append(taken.duration / 1e6)
            evaluating.append(
                nanoseconds {
                    for (app, state) in zip(load.names, load.states) {
                        _ = autoscaler.evaluate(app, policy: policy, state: state, at: second + 1)
                    }
                }.duration / 1e6)
            reconciling.append(nanoseconds { tellInFlight() }.duration / 1e6)
        }
        let parts = [taking, evaluating, reconciling].map { Summary($0)?.p50 ?? 0 }
        figures.values.append(("samples, MB a second to each controller", Double(bytes) / 1e6))
        figures.values.append(("a second: reading the samples, ms", parts[0]))
        figures.values.append(("a second: evaluating all apps, ms", parts[1]))
        figures.values.append(("a second: requests in flight of all nodes, ms", parts[2]))
        figures.millisecondsASecond = parts.reduce(0, +)
        figures.values.append(("a second in all, ms", figures.millisecondsASecond))
    }

    /// Each node's samples as they come over the wire.
    private func batches(_ load: SyntheticLoad, at second: Int64) throws -> [ByteBuffer] {
        var buffers = [ByteBuffer](repeating: ByteBuffer(), count: nodes.count)
        for (position, sample) in load.samples(at: second).enumerated() {
            let (node, app) = (position / load.apps, position % load.apps)
            var sample = sample
            if (app + node) % nodes.count >= 3 {
                sample = Sample(app: sample.app, node: sample.node, second: second, instances: sample.instances)
            }
            SampleCodec.encode(sample, into: &buffers[node])
        }
        return buffers
    }

    /// Every node tells what it has in flight: one instance of each app that it gets requests for.
    private mutating func tellInFlight() {
        let ids = statuses.keys.sorted()
        for (number, node) in nodes.enumerated() {
            var counts: [InstanceID: UInt64] = [:]
            for app in stride(from: number, to: applications.count * replicas, by: nodes.count) {
                if app < ids.count { counts[ids[app]] = 1 }
            }
            send(.inFlight(node: node, counts))
        }
        send(.tick)
    }
}
