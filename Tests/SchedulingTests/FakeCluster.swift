import OrchestryModel
import Scheduling

/// Three nodes, a leader, a database and the network between them, in virtual time. Messages of one connection keep
/// their order; control and bulk connections overtake each other. One seed decides everything.
struct FakeCluster {
    enum Mail {
        case toLeader(Reconciler.Input, from: NodeID, connection: Int, term: UInt64)
        case command(InstanceCommand, to: NodeID, connection: Int, epoch: Epoch)
        case table(RoutingTable, to: NodeID, connection: Int)
        case engine(InstanceLifecycle.Event, of: InstanceID, at: NodeID, incarnation: Int)
        case exit(container: String, at: NodeID, incarnation: Int)
        case row(InstanceID, InstanceStatus?, term: UInt64)
        case revert(AppName, Int, String, term: UInt64)
        case rollout(RolloutRecord, term: UInt64)
        case drained(NodeID, term: UInt64)
    }
    struct Lane: Hashable {
        var node: NodeID
        var isBulk: Bool
        var toLeader: Bool
    }

    static let step = Duration.milliseconds(50)
    var generator: SeededGenerator
    var now = Instant.zero
    var nodes: [NodeID: FakeNode] = [:]
    var nodeIDs: [NodeID] = []
    var leader: Reconciler
    var term: UInt64 = 1
    /// Set while nobody leads; then the next leader begins.
    var electionAt: Instant?
    var checker = Checker()

    // PostgreSQL
    var applications: [AppName: Application] = [:]
    var specs: [AppName: [Int: AppSpec]] = [:]
    var rows: [InstanceID: InstanceStatus] = [:]
    var rollouts: [AppName: RolloutRecord] = [:]
    /// With the moment at which what is left of a drained node is stopped.
    var scheduling: [NodeID: (entry: NodeScheduling, deadline: Instant?)] = [:]

    private var mail: [(at: Instant, order: Int, mail: Mail)] = []
    private var order = 0
    private var lanes: [Lane: Instant] = [:]
    private var nextContainer = 0
    private(set) var trace: [String] = []

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        leader = Reconciler(epoch: Epoch(1), now: .zero, seed: seed)
        for name in ["n1", "n2", "n3"] {
            nodes[node(name)] = FakeNode(id: node(name))
            nodeIDs.append(node(name))
        }
        lead()
    }

    mutating func note(_ text: String) {
        trace.append("\(now): \(text)")
        if trace.count > 400 { trace.removeFirst(200) }
    }

    // MARK: Time

    mutating func advance() {
        now = now + Self.step
        if let at = electionAt, now >= at { lead() }
        while let index = mail.indices.min(by: { (mail[$0].at, mail[$0].order) < (mail[$1].at, mail[$1].order) }),
            mail[index].at <= now
        {
            deliver(mail.remove(at: index).mail)
        }
        let tick = now.nanoseconds / Self.step.inNanoseconds
        for id in nodeIDs {
            revive(id)
            serve(id)
            guard nodes[id]?.isUp == true else { continue }
            for instance in (nodes[id]?.instances.keys.sorted() ?? []) { feed(id, instance, .tick) }
            if tick % 20 == 0 { probe(id) }
            if tick % 20 == 7 { tellLeader(.inFlight(node: id, nodes[id]?.inFlight ?? [:]), from: id, bulk: true) }
            if tick % 20 == 13 { sendTraffic(id) }
            if tick % 200 == 11 { sendInventory(id) }
        }
        if tick % 2 == 0, now >= leader.nextDeadline { tellReconciler(.tick) }
    }

    private mutating func post(_ item: Mail, after delay: Duration, lane: Lane? = nil) {
        var at = now + delay
        if let lane {
            at = max(at, lanes[lane] ?? .zero)
            lanes[lane] = at
        }
        order += 1
        mail.append((at, order, item))
    }

    private mutating func delay(_ range: ClosedRange<Int>) -> Duration {
        .milliseconds(Int.random(in: range, using: &generator))
    }

    // MARK: Leader

    /// A new leader, knowing what PostgreSQL and the agents tell.
    private mutating func lead() {
        electionAt = nil
        leader = Reconciler(epoch: Epoch(term), now: now, seed: term &* 7919)
        note("term \(term) begins")
        checker.newLeader()
        tellReconciler(
            .loaded(
                applications.values.sorted { $0.name < $1.name },
                instances: rows.values.sorted { $0.instance < $1.instance },
                knownNodes: nodeIDs, rollouts: presentRollouts(),
                scheduling: scheduling.sorted { $0.key < $1.key }.map { schedule in
                    var entry = schedule.value.entry
                    entry.drainSecondsLeft = schedule.value.deadline.map { max(0, ($0 - now).inSeconds) }
                    return entry
                }))
        for id in nodeIDs where nodes[id]?.isUp == true && nodes[id]?.reconnectsAt == nil { connect(id) }
    }

    /// The leader dies: its unwritten rows and its connections with it.
    mutating func loseLeader() {
        guard electionAt == nil else { return }
        note("leader \(term) dies")
        term += 1
        electionAt = now + delay(100...3_000)
        for id in nodeIDs { nodes[id]?.isConnected = false }
        for id in nodeIDs { nodes[id]?.connection += 1 }
    }

    private mutating func tellReconciler(_ input: Reconciler.Input) {
        guard electionAt == nil else { return }
        let before = leader
        let outputs = leader.handle(input, at: now, wall: now.wall)
        checker.check(outputs, input: input, before: before, cluster: self)
        for output in outputs {
            switch output {
            case .command(let to, let command):
                note("-> \(to): \(command.instance) \(Self.word(command))")
                post(
                    .command(command, to: to, connection: nodes[to]?.connection ?? 0, epoch: Epoch(term)),
                    after: delay(1...40), lane: Lane(node: to, isBulk: false, toLeader: false))
            case .publish(let table): for id in nodeIDs { send(table, to: id) }
            case .publishTo(let id, let table): send(table, to: id)
            case .persist(let status): post(.row(status.instance, status, term: term), after: .milliseconds(200))
            case .forget(let id): post(.row(id, nil, term: term), after: .milliseconds(200))
            case .record(let kind, _, let message, _): note("[\(kind.rawValue)] \(message)")
            case .revert(let app, let revision, let reason):
                post(.revert(app, revision, reason, term: term), after: delay(10...200))
            case .saveRollout(let record): post(.rollout(record, term: term), after: .milliseconds(200))
            case .nodeDrained(let id): post(.drained(id, term: term), after: .milliseconds(200))
            }
        }
    }

    private static func word(_ command: InstanceCommand) -> String {
        switch command {
        case .run: "run"
        case .stop: "stop"
        case .retry: "retry"
        }
    }

    private mutating func send(_ table: RoutingTable, to id: NodeID) {
        guard let node = nodes[id], node.isConnected else { return }
        post(
            .table(table, to: id, connection: node.connection), after: delay(1...60),
            lane: Lane(node: id, isBulk: false, toLeader: false))
    }

    private mutating func tellLeader(_ input: Reconciler.Input, from id: NodeID, bulk: Bool = false) {
        guard let node = nodes[id], node.isConnected else { return }
        post(
            .toLeader(input, from: id, connection: node.connection, term: term), after: delay(1...60),
            lane: Lane(node: id, isBulk: bulk, toLeader: true))
    }

    private mutating func sendInventory(_ id: NodeID) {
        guard let inventory = nodes[id]?.inventory else { return }
        tellLeader(.inventory(inventory), from: id, bulk: true)
    }

    // MARK: Desired state

    /// Stores and announces an app as a client's write does.
    mutating func write(_ application: Application, rollout: RolloutRecord? = nil) {
        applications[application.name] = application
        specs[application.name, default: [:]][application.revision] = application.spec
        if let rollout { rollouts[application.name] = rollout }
        tellReconciler(.applicationChanged(application, rollout: rollout))
    }

    /// As the shell does it: a new revision with the content of an old one.
    mutating func goBack(_ name: AppName, to revision: Int, _ origin: RolloutRecord.Origin, _ reason: String = "") {
        guard var application = applications[name], let spec = specs[name]?[revision],
            AppSpec.needsNewRevision(from: application.spec, to: spec)
        else { return }
        note("\(name) goes back to the content of revision \(revision)")
        let current = application
        application.spec = spec
        application.revision += 1
        application.equalRevisions = Set(
            (specs[name] ?? [:]).filter { !AppSpec.needsNewRevision(from: $0.value, to: spec) }.keys)
        let isSettled = leader.rolloutView(of: name)?.isActive != true
        let from = origin == .rollback && isSettled ? current.revision : nil
        write(
            application,
            rollout: RolloutRecord(
                app: name, revision: application.revision, from: from, origin: origin, restores: revision,
                reason: reason, startedAt: now.wall, previousSpec: from == nil ? nil : current.spec))
    }

    mutating func pause(_ name: AppName, _ isPaused: Bool) {
        guard let view = leader.rolloutView(of: name), view.isActive, view.record.state == .running else { return }
        note("the rollout of \(name) is \(isPaused ? "paused" : "resumed")")
        var record = view.record
        record.isPaused = isPaused
        rollouts[name] = record
        tellReconciler(.rolloutPaused(name, isPaused))
    }

    mutating func schedule(_ entry: NodeScheduling) {
        note("\(entry)")
        scheduling[entry.node] = (entry, entry.drainSecondsLeft.map { now + .seconds($0) })
        tellReconciler(.scheduling(entry))
    }

    mutating func rebalance(atOnce: Int) { tellReconciler(.rebalance(atOnce: atOnce)) }

    private func presentRollouts() -> [RolloutRecord] {
        rollouts.values.filter { $0.revision == applications[$0.app]?.revision }.sorted { $0.app < $1.app }
    }

    mutating func delete(_ name: AppName) {
        applications[name] = nil
        specs[name] = nil
        rollouts[name] = nil
        tellReconciler(.applicationDeleted(name))
    }

    // MARK: Delivery

    private mutating func deliver(_ item: Mail) {
        switch item {
        case .toLeader(let input, let id, let connection, let term):
            guard term == self.term, nodes[id]?.connection == connection else { return }
            tellReconciler(input)
        case .command(let command, let id, let connection, let epoch):
            guard nodes[id]?.connection == connection, nodes[id]?.isUp == true else { return }
            guard epoch >= nodes[id]?.highestEpoch ?? .none else { return }
            nodes[id]?.highestEpoch = epoch
            obey(command, at: id)
        case .table(let table, let id, let connection):
            guard nodes[id]?.connection == connection, let known = nodes[id]?.table.version, table.version >= known
            else {
                return
            }
            nodes[id]?.table = table
            tellLeader(.routingAcknowledged(id, table.version), from: id)
        case .engine(let event, let instance, let id, let incarnation):
            guard nodes[id]?.incarnation == incarnation else { return }
            feed(id, instance, event)
        case .exit(let container, let id, let incarnation):
            guard let found = nodes[id]?.containers[container] else { return }
            nodes[id]?.containers[container]?.isRunning = false
            nodes[id]?.inFlight[found.instance] = nil
            guard nodes[id]?.incarnation == incarnation else { return }
            feed(
                id, found.instance,
                .containerExited(
                    containerID: container,
                    code: found.instance.isReleaseStep && found.assignment.spec.image.hasPrefix("bad") ? 1 : 0,
                    outOfMemory: false, lastLogLines: []))
        case .row(let id, let status, let term):
            if term == self.term { rows[id] = status }
        case .revert(let app, let revision, let reason, let term):
            guard term == self.term, leader.rolloutView(of: app)?.record.state == .failed else { return }
            goBack(app, to: revision, .automatic, reason)
        case .rollout(var record, let term):
            guard term == self.term else { return }
            let stored = rollouts[record.app]
            // As the statement does: written behind, it neither revives what has ended nor touches the pause.
            if let stored, stored.revision > record.revision { return }
            if let stored, stored.revision == record.revision {
                if stored.endedAt != nil, record.endedAt == nil { return }
                record.isPaused = stored.isPaused && record.state == .running
            }
            rollouts[record.app] = record
        case .drained(let id, let term):
            guard term == self.term else { return }
            scheduling[id]?.entry.isDraining = false
            scheduling[id]?.deadline = nil
        }
    }

    private mutating func obey(_ command: InstanceCommand, at id: NodeID) {
        switch command {
        case .run(let assignment):
            if nodes[id]?.instances[assignment.instance] != nil {
                return feed(id, assignment.instance, .assignmentUpdated(assignment))
            }
            nodes[id]?.instances[assignment.instance] = FakeNode.Managed(
                lifecycle: InstanceLifecycle(assignment: assignment, wall: now.wall))
            feed(id, assignment.instance, .tick)
        case .stop(let instance, let grace): feed(id, instance, .stopRequested(graceSeconds: grace))
        case .retry(let instance): feed(id, instance, .retryRequested)
        }
    }

    // MARK: Agents

    mutating func feed(_ id: NodeID, _ instance: InstanceID, _ event: InstanceLifecycle.Event) {
        guard var managed = nodes[id]?.instances[instance] else { return }
        let actions = managed.lifecycle.handle(event, at: now, wall: now.wall, using: &generator)
        nodes[id]?.instances[instance] = managed
        let incarnation = nodes[id]?.incarnation ?? 0
        func answer(_ event: InstanceLifecycle.Event) -> Mail {
            .engine(event, of: instance, at: id, incarnation: incarnation)
        }
        for action in actions {
            switch action {
            case .ensureImage: post(answer(.imagePresent), after: delay(10...400))
            case .startContainer:
                let (container, endpoint) = start(managed.lifecycle.assignment, at: id)
                post(answer(.containerStarted(containerID: container, endpoint: endpoint)), after: delay(20...300))
            case .stopContainer(let container, _):
                post(.exit(container: container, at: id, incarnation: incarnation), after: delay(20...2_000))
            case .removeContainer(let container):
                nodes[id]?.containers[container] = nil
                post(answer(.containerRemoved), after: delay(5...60))
            case .startProbing: nodes[id]?.instances[instance]?.probing = true
            case .stopProbing: nodes[id]?.instances[instance]?.probing = false
            case .statusChanged(let status):
                note("   \(id): \(instance) \(status.state.label) \(status.message)")
                tellLeader(.status(status), from: id)
            case .record, .wake: break
            case .finished:
                nodes[id]?.instances[instance] = nil
                sendInventory(id)
            }
        }
    }

    private mutating func start(_ assignment: Assignment, at id: NodeID) -> (String, Endpoint) {
        nextContainer += 1
        let name = "c\(nextContainer)"
        let endpoint = Endpoint(
            host: "10.\(nextContainer >> 16).\(nextContainer >> 8 & 255).\(nextContainer & 255)", port: 80)
        let healthy = assignment.spec.image.hasPrefix("bad") ? nil : now + delay(300...2_500)
        nodes[id]?.containers[name] = FakeNode.Container(
            instance: assignment.instance, assignment: assignment, endpoint: endpoint, startedAt: now,
            healthyFrom: healthy)
        if assignment.instance.isReleaseStep {
            post(.exit(container: name, at: id, incarnation: nodes[id]?.incarnation ?? 0), after: delay(300...4_000))
        }
        return (name, endpoint)
    }

    private mutating func probe(_ id: NodeID) {
        for (instance, managed) in (nodes[id]?.instances ?? [:]).sorted(by: { $0.key < $1.key }) where managed.probing {
            guard let container = nodes[id]?.container(of: instance) else { continue }
            feed(id, instance, container.isHealthy(at: now) ? .probeSucceeded : .probeFailed("refused"))
        }
    }

    /// Requests come and end at a node's proxy.
    private mutating func serve(_ id: NodeID) {
        guard let node = nodes[id], node.comesBackAt == nil || node.isUp || !node.containers.isEmpty else { return }
        for (instance, count) in node.inFlight.sorted(by: { $0.key < $1.key }) where generator.chance(0.3) {
            nodes[id]?.inFlight[instance] = count > 1 ? count - 1 : nil
        }
        for route in node.table.routes {
            if let target = route.targets.randomElement(using: &generator), generator.chance(0.5) {
                nodes[id]?.inFlight[target.instance, default: 0] += 1
            }
        }
    }

    /// What its proxy saw in the last second: of flaky images every third request fails.
    private mutating func sendTraffic(_ id: NodeID) {
        var traffic: [InstanceTraffic] = []
        for route in nodes[id]?.table.routes ?? [] where leader.watchesTraffic(of: route.app) {
            for target in route.targets {
                let requests = UInt64(target.weight)
                let revision = target.instance.rawValue.split(separator: "-").dropLast().last.flatMap { Int($0) } ?? 0
                let isBad = specs[route.app]?[revision]?.image.hasPrefix("flaky") == true
                traffic.append(
                    InstanceTraffic(instance: target.instance, requests: requests, errors: isBad ? requests / 3 : 0))
            }
        }
        if !traffic.isEmpty { tellLeader(.traffic(traffic), from: id, bulk: true) }
    }

    // MARK: Connections and crashes

    private mutating func connect(_ id: NodeID) {
        guard electionAt == nil, nodes[id]?.isUp == true, nodes[id]?.isConnected == false else { return }
        nodes[id]?.isConnected = true
        nodes[id]?.connection += 1
        for lane in lanes.keys where lane.node == id { lanes[lane] = nil }
        tellReconciler(.nodeConnected(id))
        sendInventory(id)
    }

    mutating func cut(_ id: NodeID, for duration: Duration) {
        note("\(id) is cut off for \(duration)")
        nodes[id]?.reconnectsAt = now + duration
        guard nodes[id]?.isConnected == true else { return }
        nodes[id]?.isConnected = false
        nodes[id]?.connection += 1
        tellReconciler(.nodeDisconnected(id))
    }

    /// The agent dies; with `host`, its containers and its proxy's requests too.
    mutating func crash(_ id: NodeID, host: Bool, for duration: Duration) {
        guard nodes[id]?.isUp == true else { return }
        note("\(id) crashes\(host ? " with its host" : "") for \(duration)")
        nodes[id]?.isUp = false
        nodes[id]?.incarnation += 1
        nodes[id]?.comesBackAt = now + duration
        nodes[id]?.instances = [:]
        if host {
            for container in nodes[id]?.containers.keys.sorted() ?? [] {
                nodes[id]?.containers[container]?.isRunning = false
            }
            nodes[id]?.inFlight = [:]
        }
        cut(id, for: duration)
    }

    private mutating func revive(_ id: NodeID) {
        if let at = nodes[id]?.comesBackAt, now >= at {
            nodes[id]?.comesBackAt = nil
            nodes[id]?.isUp = true
            adopt(id)
        }
        if let at = nodes[id]?.reconnectsAt, now >= at, electionAt == nil, nodes[id]?.isUp == true {
            nodes[id]?.reconnectsAt = nil
            connect(id)
        }
    }

    private mutating func adopt(_ id: NodeID) {
        note("\(id) is back and adopts")
        for (name, container) in (nodes[id]?.containers ?? [:]).sorted(by: { $0.key < $1.key }) {
            // An agent that died between starting a container and hearing of it may leave two for one instance.
            if nodes[id]?.instances[container.instance] != nil {
                nodes[id]?.containers[name] = nil
                continue
            }
            let lifecycle = InstanceLifecycle(
                adopting: container.assignment,
                container: .init(
                    containerID: name, isRunning: container.isRunning, endpoint: container.endpoint,
                    startedAt: container.startedAt.wall, exitCode: container.isRunning ? nil : 137), wall: now.wall)
            nodes[id]?.instances[container.instance] = FakeNode.Managed(lifecycle: lifecycle)
            feed(id, container.instance, .tick)
        }
    }

    mutating func kill(_ container: String, at id: NodeID) {
        note("\(container) on \(id) is killed")
        post(.exit(container: container, at: id, incarnation: nodes[id]?.incarnation ?? 0), after: .milliseconds(1))
    }
}
