import OrchestryModel
import Scheduling

/// A reconciler with nodes that do exactly as a test says: nothing happens by itself.
struct LeaderBench {
    var reconciler: Reconciler
    var now = Instant.zero
    /// Of the last input.
    var last: [Reconciler.Output] = []
    /// Rows as PostgreSQL would hold them.
    var rows: [InstanceID: InstanceStatus] = [:]
    /// Rollouts as PostgreSQL would hold them.
    var rollouts: [AppName: RolloutRecord] = [:]
    /// Instances as agents have them.
    var agents: [NodeID: [InstanceID: InstanceStatus]] = [:]
    var nextAddress = 0

    init(epoch: UInt64 = 1, nodes: [String] = ["n1", "n2", "n3"], rows: [InstanceID: InstanceStatus] = [:]) {
        reconciler = Reconciler(epoch: Epoch(epoch), now: .zero, seed: epoch)
        self.rows = rows
        for name in nodes { agents[node(name)] = [:] }
    }

    @discardableResult
    mutating func send(_ input: Reconciler.Input, after seconds: Double = 0) -> [Reconciler.Output] {
        now = now + .seconds(seconds)
        last = reconciler.handle(input, at: now, wall: now.wall)
        for output in last {
            switch output {
            case .persist(let status): rows[status.instance] = status
            case .forget(let id): rows[id] = nil
            case .saveRollout(let record): rollouts[record.app] = record
            case .command, .publish, .publishTo, .record, .revert, .nodeDrained: break
            }
        }
        return last
    }

    /// Loads, connects every node and lets each report what it runs.
    mutating func takeOver(_ applications: [Application] = []) {
        send(
            .loaded(
                applications, instances: rows.values.sorted { $0.instance < $1.instance },
                knownNodes: agents.keys.sorted(), rollouts: rollouts.values.sorted { $0.app < $1.app }))
        for name in agents.keys.sorted() {
            send(.nodeConnected(name))
            inventory(name)
        }
    }

    mutating func inventory(_ name: NodeID, engine: Bool = true, after seconds: Double = 0) {
        send(.inventory(makeInventory(name, engine: engine)), after: seconds)
    }

    func makeInventory(_ name: NodeID, engine: Bool = true) -> Inventory {
        Inventory(
            node: name, highestEpoch: Epoch(1), capacityMillicores: 2_000, capacityMemoryBytes: 4 << 30,
            engineAvailable: engine, instances: (agents[name] ?? [:]).values.sorted { $0.instance < $1.instance })
    }

    /// The agent takes a `run` order and reports the instance in this state, with a container of its own.
    mutating func report(_ id: InstanceID, _ state: InstanceState, restarts: Int = 0, after seconds: Double = 0) {
        guard let known = reconciler.instances(of: appName(of: id)).first(where: { $0.instance == id }) else { return }
        now = now + .seconds(seconds)
        var status = agents[known.node]?[id] ?? known
        if status.containerID == nil || status.restarts != restarts {
            nextAddress += 1
            status.containerID = "c\(nextAddress)"
            status.endpoint = Endpoint(host: "10.0.\(nextAddress / 250).\(nextAddress % 250)", port: 80)
        }
        status.restarts = restarts
        if status.state != state { status.since = now.wall }
        status.state = state
        status.message = ""
        if state == .stopped { status.containerID = nil }
        agents[known.node]?[id] = state == .stopped ? nil : status
        send(.status(status))
    }

    /// The release step's container exits.
    mutating func exitRelease(_ id: InstanceID, _ code: Int, _ output: String = "", after seconds: Double = 0) {
        guard let known = reconciler.instances(of: appName(of: id)).first(where: { $0.instance == id }) else { return }
        var status = agents[known.node]?[id] ?? known
        status.state = .stopped
        status.containerID = "release"
        status.exitCode = code
        status.message = output
        agents[known.node]?[id] = status
        send(.status(status), after: seconds)
    }

    /// Every instance the leader wants becomes ready; drains run their course.
    mutating func settle(_ name: String) {
        for _ in 0..<200 {
            let pending = reconciler.instances(of: app(name)).filter { $0.state != .ready }
            if pending.isEmpty { return }
            for status in pending where status.state != .draining { report(status.instance, .ready) }
            finishDrains(of: name)
        }
    }

    /// All nodes acknowledge and report nothing in flight; ordered stops are obeyed.
    mutating func finishDrains(of name: String) {
        acknowledge()
        report(inFlight: [:], after: 0.3)
        for status in reconciler.instances(of: app(name)) where status.state == .draining {
            report(status.instance, .stopped)
        }
    }

    mutating func acknowledge(_ names: [NodeID]? = nil) {
        for name in names ?? agents.keys.sorted() {
            send(.routingAcknowledged(name, reconciler.routingTable.version))
        }
    }

    mutating func report(inFlight: [InstanceID: UInt64], _ names: [NodeID]? = nil, after seconds: Double) {
        now = now + .seconds(seconds)
        for name in names ?? agents.keys.sorted() { send(.inFlight(node: name, inFlight)) }
    }

    func appName(of id: InstanceID) -> AppName {
        let parts = id.rawValue.split(separator: "-").dropLast(id.isReleaseStep ? 3 : 2)
        return AppName(unchecked: parts.joined(separator: "-"))
    }

    // MARK: What was said

    func instances(_ name: String, _ state: InstanceState? = nil) -> [InstanceStatus] {
        reconciler.instances(of: app(name)).filter { state == nil || $0.state == state }
    }
    func targets(_ name: String) -> Set<InstanceID> {
        Set(reconciler.routingTable.routes.first { $0.app == app(name) }?.targets.map(\.instance) ?? [])
    }
    var commands: [InstanceCommand] {
        last.compactMap { if case .command(_, let command) = $0 { command } else { nil } }
    }
    var runs: [Assignment] {
        commands.compactMap { if case .run(let assignment) = $0 { assignment } else { nil } }
    }
    var stops: [InstanceID] {
        commands.compactMap { if case .stop(let id, _) = $0 { id } else { nil } }
    }
    var kinds: [EventKind] { last.compactMap { if case .record(let kind, _, _, _) = $0 { kind } else { nil } } }
    var published: RoutingTable? {
        last.lazy.compactMap { if case .publish(let table) = $0 { table } else { nil } }.last
    }
    var reverts: [Int] { last.compactMap { if case .revert(_, let revision, _) = $0 { revision } else { nil } } }
    var drained: [NodeID] { last.compactMap { if case .nodeDrained(let node) = $0 { node } else { nil } } }
    var rollout: Reconciler.RolloutView? { reconciler.rolloutView(of: app("web")) }
}
