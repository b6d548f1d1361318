import Autoscaling
import DockerEngine
import Logging
import MetricsCache
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling
import SecretSealing
import Synchronization

/// What a node does while it leads, for one epoch: holds the desired state, reconciles it with what agents report,
/// scales, and answers clients. Made when the node becomes active, dropped when the epoch is lost.
///
/// Nothing leaves it unless `isActive` says so at that moment; every write is fenced with the epoch besides.
actor LeaderTerm {
    enum Input: Sendable {
        case peerConnected(NodeInfo)
        case peerDisconnected(NodeID)
        case inventory(Inventory)
        case status(InstanceStatus)
        case routingAcknowledged(NodeID, RoutingTable.Version)
        case samples([Sample])
        case held(NodeID, HeldRequests)
        case revert(AppName, toRevision: Int, reason: String)
        case review(AppName)
        case tick
    }

    /// What the term needs from its node.
    struct Surroundings: Sendable {
        var me: NodeInfo
        var clock: NodeClock
        var store: StateStore
        var scaling: ScalingState
        var secretKeys: SecretKeys?
        var hostPolicy: HostPolicy
        var configuration: NodeConfiguration
        /// As they are set at run time, at this moment.
        var settings: @Sendable () -> DynamicSettings
        var reviewer: ImageReviewer
        var logger: Logger
        var isActive: @Sendable (Epoch) -> Bool
        var sendCommand: @Sendable (NodeID, InstanceCommand, Epoch) -> Void
        var publish: @Sendable (RoutingTable, NodeID?) -> Void
        var record: @Sendable (EventKind, AppName?, String, JSONValue) -> Void
        var recordDecision: @Sendable (ScalingDecision) async -> Void
        /// Puts records of evaluations into this node's cache.
        var keepRecords: @Sendable ([MetricsDatabase.ScalingLine]) async -> Void
        /// All samples this node's cache has since a second; none where it can't be read.
        var pastSamples: @Sendable (Int64) async -> [Sample]
        /// What this node's cache has of an app's load and scaling since a second.
        var history: @Sendable (AppName, Int64) async throws -> ScalingHistory
        /// A page of an instance; nil: it does not answer as it should.
        var fetchPage: @Sendable (Endpoint, String) async -> String?
        var fetchLogs: @Sendable (NodeID, InstanceID, Int) async -> [InstanceLogLine]
        var connectedPeers: @Sendable () -> [NodeInfo]
        var requestInventories: @Sendable () -> Void
        var clusterView: @Sendable () async -> ClusterView
        /// The figures of this node's nginx; nil when they can't be read.
        var proxyStatus: @Sendable () async -> Presentation.ProxyCounters?
        var stepDown: @Sendable () -> Void
        /// The epoch was lost in PostgreSQL: some other node is or will be leader.
        var fenced: @Sendable (Epoch) -> Void
    }

    let epoch: Epoch
    let surroundings: Surroundings
    let writeLock = AsyncLock()
    let writer: ObservationWriter
    var logger: Logger

    var applications: [AppName: Application] = [:]
    /// The newest version of each, sealed.
    var secrets: [SecretName: SecretSummary] = [:]
    /// Those not revoked.
    var tokens: [TokenName: APIToken] = [:]
    /// Apps whose image is being looked at.
    var reviewing: Set<AppName> = []
    var reconciler: Reconciler
    /// Latest usage per instance, for status pages.
    var usage: [InstanceID: (cpu: Double?, memory: Double?)] = [:]
    /// Every node this leader has heard or read of.
    private(set) var nodeInfos: [NodeID: NodeInfo] = [:]
    var scheduleClocks: [AppName: ScheduleClock] = [:]
    var scraper = MetricScraper()
    /// By connected node.
    var heldReports: [NodeID: HeldReport] = [:]
    /// Idle apps that are being started.
    var waking: Set<AppName> = []
    /// A simulation is under way: one at a time.
    var isSimulating = false
    /// Apps whose replica count changed while PostgreSQL was away.
    var unsaved: Set<AppName> = []
    /// The turn of the last write of desired state: in PostgreSQL a lower one comes too late. Under the write lock.
    var turn: Int64 = 0
    /// What became of a write is not known, so PostgreSQL may hold more than `applications`. Under the write lock.
    var isInDoubt = false
    private(set) var isLoaded = false
    private let loadedOrOver = ChangeSignal()
    private var metricAverages = MetricAverages()

    private let waiting = Atomic(0)
    private let inputs: AsyncStream<Input>
    private let continuation: AsyncStream<Input>.Continuation

    init(epoch: Epoch, surroundings: Surroundings) {
        self.epoch = epoch
        self.surroundings = surroundings
        var logger = surroundings.logger
        logger[metadataKey: "epoch"] = "\(epoch)"
        self.logger = logger
        writer = ObservationWriter(
            store: surroundings.store, epoch: epoch, node: surroundings.me.id, logger: logger)
        var settings = ReconcilerSettings()
        settings.deadAfter = surroundings.settings().deadAfter
        reconciler = Reconciler(
            epoch: epoch, settings: settings, now: surroundings.clock.now(),
            seed: epoch.rawValue &* 0x9E37_79B9_7F4A_7C15)
        (inputs, continuation) = AsyncStream.makeStream(of: Input.self, bufferingPolicy: .unbounded)
    }

    nonisolated func submit(_ input: Input) {
        switch input {
        // Measurements and ticks are worth nothing later; kept through a long doubt they would only pile up.
        case .tick, .samples, .held: guard surroundings.isActive(epoch) else { return }
        default: break
        }
        waiting.add(1, ordering: .relaxed)
        continuation.yield(input)
    }

    /// Inputs that are not handled yet.
    nonisolated var waitingInputs: Int { waiting.load(ordering: .relaxed) }

    /// Runs until cancelled.
    func run() async {
        defer { loadedOrOver.notify() }
        guard await load() else { return }
        loadedOrOver.notify()
        await withDiscardingTaskGroup { group in
            group.addTask { await self.writer.run() }
            group.addTask { await self.tick() }
            group.addTask { await self.evaluateEachSecond() }
            group.addTask { await self.scrapeEachSecond() }
            group.addTask { await self.maintain() }
            group.addTask { await self.retain() }
            for await input in inputs {
                waiting.subtract(1, ordering: .relaxed)
                // While leadership is in doubt nothing is decided; the inputs wait.
                while !surroundings.isActive(epoch) {
                    do { try await Task.sleep(for: .milliseconds(10)) } catch { break }
                }
                if Task.isCancelled { break }
                if case .revert(let app, let revision, let reason) = input {
                    group.addTask { await self.revert(app, to: revision, because: reason) }
                } else if case .review(let app) = input {
                    group.addTask { await self.review(app) }
                } else if case .held(let node, let held) = input {
                    for app in take(held, from: node, at: surroundings.clock.now()) {
                        group.addTask { await self.wake(app) }
                    }
                } else {
                    handle(input)
                }
            }
            group.cancelAll()
        }
    }

    // MARK: Loading

    /// Clients' requests come before the state is read. Waits for that as long as a forwarded one may.
    func untilLoaded() async {
        guard !isLoaded else { return }
        await loadedOrOver.wait(after: 0, atMost: .seconds(1))
    }

    /// Reads the desired state, trying until it works or the term ends.
    private func load() async -> Bool {
        let store = surroundings.store
        while !Task.isCancelled {
            do {
                let state = try await store.load()
                let (instances, nodes) = (state.instances, state.nodes)
                let stored = state.applications.map { reviewed($0) }
                applications = Dictionary(stored.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
                secrets = Dictionary(state.secrets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
                tokens = Dictionary(state.tokens.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
                // Rate limits and cooldown hold across a change of leader.
                for past in state.scalings {
                    surroundings.scaling.noteScaled(
                        past.app, from: past.fromReplicas, to: past.toReplicas, at: past.time.wholeSecond)
                }
                nodeInfos = Dictionary(nodes.map { ($0.info.id, $0.info) }, uniquingKeysWith: { first, _ in first })
                await warmLongWindows()
                isLoaded = true
                logger.info(
                    "Desired state loaded",
                    metadata: ["apps": "\(stored.count)", "instances": "\(instances.count)", "nodes": "\(nodes.count)"])
                perform(
                    reconciler.handle(
                        .loaded(
                            stored, instances: instances, knownNodes: nodes.map(\.info.id), rollouts: state.rollouts,
                            scheduling: nodes.map(\.scheduling)),
                        at: surroundings.clock.now(), wall: surroundings.clock.wall()))
                handle(.peerConnected(surroundings.me))
                for peer in surroundings.connectedPeers() { handle(.peerConnected(peer)) }
                surroundings.requestInventories()
                return true
            } catch {
                guard error.isSchemaTooNew else {
                    logger.error("The desired state can't be loaded yet", metadata: ["error": "\(error)"])
                    try? await Task.sleep(for: .milliseconds(200))  // Cancelled: the loop's condition ends it.
                    continue
                }
                // Waiting won't help this release: let a node of the newer one lead.
                logger.critical("This node can't lead", metadata: ["error": "\(error)"])
                surroundings.stepDown()
                try? await Task.sleep(for: .seconds(5))  // Cancelled: the loop's condition ends it.
            }
        }
        return false
    }

    // MARK: The loop

    private func tick() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .milliseconds(100)) } catch { return }
            submit(.tick)
        }
    }

    private func handle(_ input: Input) {
        let now = surroundings.clock.now()
        let wall = surroundings.clock.wall()
        switch input {
        case .peerConnected(let info):
            nodeInfos[info.id] = info
            writer.saw(info, at: wall)
            perform(reconciler.handle(.nodeConnected(info.id), at: now, wall: wall))
        case .peerDisconnected(let node):
            heldReports[node] = nil
            perform(reconciler.handle(.nodeDisconnected(node), at: now, wall: wall))
        case .inventory(let inventory): perform(reconciler.handle(.inventory(inventory), at: now, wall: wall))
        case .status(let status): perform(reconciler.handle(.status(status), at: now, wall: wall))
        case .routingAcknowledged(let node, let version):
            perform(reconciler.handle(.routingAcknowledged(node, version), at: now, wall: wall))
        case .samples(let samples): observe(samples, at: now, wall: wall)
        case .revert, .review, .held: break  // Taken by `run`: they write, and the loop must not wait for that.
        case .tick:
            if now >= reconciler.nextDeadline { perform(reconciler.handle(.tick, at: now, wall: wall)) }
        }
    }

    private func observe(_ samples: [Sample], at now: Instant, wall: WallTime) {
        guard let node = samples.first?.node else { return }
        var inFlight: [InstanceID: UInt64] = [:]
        for sample in samples {
            for measured in sample.instances {
                if measured.inFlight > 0 { inFlight[measured.instance] = measured.inFlight }
                if measured.cpuPercent != nil || measured.memoryPercent != nil {
                    usage[measured.instance] = (measured.cpuPercent, measured.memoryPercent)
                }
            }
        }
        perform(reconciler.handle(.inFlight(node: node, inFlight), at: now, wall: wall))
        let watched = samples.filter { reconciler.watchesTraffic(of: $0.app) }.flatMap(\.instances)
        guard !watched.isEmpty else { return }
        perform(
            reconciler.handle(
                .traffic(
                    watched.map {
                        InstanceTraffic(
                            instance: $0.instance, requests: $0.requests, errors: $0.errors,
                            latency: $0.latency ?? LatencyHistogram())
                    }), at: now, wall: wall))
    }

    /// Feeds a change of desired state that is already durable.
    func reconcile(_ input: Reconciler.Input) {
        var input = input
        if case .applicationChanged(let application, let rollout) = input {
            let application = reviewed(application)
            applications[application.name] = application
            input = .applicationChanged(application, rollout: rollout)
        }
        perform(reconciler.handle(input, at: surroundings.clock.now(), wall: surroundings.clock.wall()))
    }

    private func perform(_ outputs: [Reconciler.Output]) {
        for output in outputs {
            switch output {
            case .command(let node, let command):
                logger.debug("Command", metadata: ["node": "\(node)", "instance": "\(command.instance)"])
                surroundings.sendCommand(node, command, epoch)
            case .publish(let table): surroundings.publish(table, nil)
            case .publishTo(let node, let table): surroundings.publish(table, node)
            case .persist(let status): writer.save(status)
            case .forget(let instance):
                writer.forget(instance)
                usage[instance] = nil
            case .record(let kind, let app, let message, let details):
                surroundings.record(kind, app, message, details)
            case .revert(let app, let revision, let reason):
                submit(.revert(app, toRevision: revision, reason: reason))
            case .saveRollout(let record): writer.save(record)
            case .nodeDrained(let node): writer.drained(node)
            }
        }
    }

    // MARK: Housekeeping

    private func maintain() async {
        var round = 0
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            round += 1
            reconciler.set(deadAfter: surroundings.settings().deadAfter)
            guard surroundings.isActive(epoch) else { continue }
            await settleInPassing()
            await saveUnsaved()
            guard round % 10 == 0 else { continue }
            let wall = surroundings.clock.wall()
            for info in surroundings.connectedPeers() + [surroundings.me] { writer.saw(info, at: wall) }
        }
    }

    /// One row of `metrics` per app and ten seconds.
    func accumulate(_ observed: ObservedMetrics, app: AppName, replicas: Int) {
        if let row = metricAverages.add(observed, app: app, replicas: replicas, at: surroundings.clock.wall()) {
            writer.add([row])
        }
    }

    func forgetMetrics(of app: AppName) { metricAverages.forget(app) }
}

/// One log line of one instance, on its way to a client.
struct InstanceLogLine: Sendable, Codable {
    var time: WallTime
    var container: String
    var text: String
}
