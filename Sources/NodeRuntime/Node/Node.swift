import AsyncHTTPClient
import Autoscaling
import DockerEngine
import HealthProbes
import Leadership
import Logging
import MetricsCache
import NIOCore
import NIOPosix
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import ProxyControl
import RestFacade
import ServiceLifecycle
import Synchronization
import WireProtocol

/// One `orchestryd` process: puts the modules together and runs them until it is told to stop.
package final class Node: Service {
    package static let version = "0.1.0"

    let configuration: NodeConfiguration
    let clock = NodeClock()
    let logger: Logger
    let pool = TaskPool()
    /// Peers, heartbeats and election timers only: two threads, so that a bulk transfer never delays a heartbeat.
    let clusterGroup = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    /// REST, engine and probes.
    let workGroup = MultiThreadedEventLoopGroup(numberOfThreads: 2)

    let transport: PeerTransport
    let standing: NodeStanding
    let metrics: MetricsDatabase
    let outbox: Outbox
    let engine: DockerEngine
    let prober: HealthProber
    let proxy: NginxController?
    let agent: Agent
    let applier: RoutingApplier
    let reach: ReachWatch
    let announcer: FacadeAnnouncer
    let sampler: Sampler
    let heldWatch: HeldWatch
    let flusher: OutboxFlusher
    let recorder: EventRecorder
    let feed: LiveFeed
    let logTails: LogTails
    /// nil without TLS.
    let certificates: CertificateKeeper?
    let access: AccessKeeper
    let load = PeerLoad()
    let desk = ExecDesk()
    let scaling = ScalingState()
    let settings: RuntimeSettings
    let pages: MetricPages

    struct State {
        var term: (term: LeaderTerm, task: Task<Void, Never>)?
        var leader: NodeID?
        var lastHeard: [NodeID: WallTime] = [:]
        /// As peers introduced themselves, those that are away included.
        var introduced: [NodeID: NodeInfo] = [:]
        var facadeEnded = false
        var isStopping = false
        var droppedSamples: UInt64 = 0
        /// Who did not answer the question for the overview, and when.
        var feedTrouble: (leader: NodeID, since: ContinuousClock.Instant)?
        /// Said once, until samples can be kept again.
        var samplesAreDropped = false
        var proxyIsLost = false
    }
    let state = Mutex(State())
    /// Another leader, or a term of this node's.
    let leaderChanges = ChangeSignal()

    init(configuration: NodeConfiguration, logger: Logger, reference: NodeReference) throws {
        let electionSettings = try Self.electionSettings(configuration)
        self.configuration = configuration
        settings = RuntimeSettings(configuration, logger: logger)
        self.logger = logger
        let pool = self.pool
        let id = configuration.node.id
        metrics = try MetricsDatabase(folder: configuration.dataDirectory, logger: logger)
        let outbox = try Outbox(folder: configuration.dataDirectory, node: id, logger: logger)
        self.outbox = outbox
        let transport = PeerTransport(
            configuration: Self.transportConfiguration(configuration), group: clusterGroup, logger: logger)
        self.transport = transport
        certificates = Self.makeKeeper(configuration, clock: clock, transport: transport, reference, logger: logger)
        access = AccessKeeper(
            settings: configuration.access, node: id, isWorker: configuration.node.role == .worker,
            folder: configuration.dataDirectory, clock: clock, logger: logger,
            fetch: { await reference.node?.tokensInForce() },
            store: { await reference.node?.noteTokenUse($0) ?? false },
            record: { reference.node?.record($0, $1, $2, $3) })
        engine = DockerEngine(
            configuration: Self.engineConfiguration(configuration), eventLoopGroup: workGroup, logger: logger)
        prober = HealthProber(eventLoopGroup: workGroup, logger: logger)
        pages = MetricPages(eventLoopGroup: workGroup)
        proxy = Self.makeProxy(configuration, reference, logger: logger)
        standing =
            switch configuration.node.role {
            case .controller:
                .controller(
                    Self.makeController(
                        configuration, settings: electionSettings, clock: clock, pool: pool, transport: transport,
                        eventLoop: clusterGroup.next(), reference, logger: logger))
            case .worker:
                .worker(
                    Self.makeWatch(
                        clock: clock, transport: transport, eventLoop: clusterGroup.next(), reference, logger: logger))
            }
        agent = Agent(
            node: id, engine: engine, prober: prober, secretKeys: configuration.secretKeys,
            images: ImageKeeper(
                path: configuration.dataDirectory + "/images.json", keep: configuration.keepImages, logger: logger),
            clock: clock,
            capacity: (configuration.cpuMillicores, configuration.memoryBytes), logger: logger,
            onStatus: { reference.node?.report($0) },
            onEvent: { reference.node?.record($0, $1, $2, $3) },
            onChange: {
                guard let node = reference.node else { return }
                pool.add { await node.sendInventory() }
            })
        sampler = Sampler(
            node: id, agent: agent, proxy: proxy, usage: UsageReader(engine: engine), clock: clock,
            logger: logger, deliver: { await reference.node?.deliver($0) })
        reach = Self.makeReachWatch(
            configuration, clock: clock, pool: pool, group: workGroup, reference, logger: logger)
        heldWatch = HeldWatch(proxy: proxy, logger: logger, deliver: { reference.node?.deliver($0) })
        applier = RoutingApplier(
            node: id, proxy: proxy, agent: agent, secretKeys: configuration.secretKeys, logger: logger,
            unreachable: { [reach] in await reach.unreachable(of: $0, besides: $1) },
            acknowledge: { reference.node?.acknowledge($0) },
            onApplied: { [sampler, reach] table in
                await sampler.route(table.routes.map(\.app))
                await reach.route(table)
            },
            onEvent: { reference.node?.record($0, $1, $2, $3) })
        announcer = FacadeAnnouncer(proxy: proxy, list: { reference.node?.facadeList() })
        flusher = OutboxFlusher(
            outbox: outbox, logger: logger,
            deliver: { await reference.node?.deliverOutbox($0, $1) })
        recorder = EventRecorder(outbox: outbox, logger: logger, onDurable: { [flusher] in flusher.wake() })
        logTails = LogTails(engine: engine, logger: logger)
        feed = Self.makeFeed(reference, logger: logger)
        reference.node = self
    }

    var id: NodeID { configuration.node.id }
    var currentTerm: LeaderTerm? { state.withLock { $0.term?.term } }
    var leader: NodeID? { state.withLock { $0.leader } }

    /// Runs until the service group asks it to stop gracefully; then stops leading first, and leaves containers and
    /// nginx running.
    package func run() async throws {
        let api = RestFacade(
            configuration: Self.facadeConfiguration(configuration),
            controlPlane: NodeControlPlane(node: self),
            identification: access.identification, tls: try await access.lookFirst(), logger: logger
        ).application()
        try await rebuildWindows()
        let proxyRuns = await startProxy()
        await certificates?.lookFirst()
        try await transport.start(handler: NodeRouter(node: self))
        startFollowing()
        logger.info(
            "Node started",
            metadata: [
                "role": "\(configuration.node.role)", "api": "\(configuration.node.apiURL)",
                "cluster": "\(configuration.cluster)",
                "cluster.port": "\(transport.boundPort)",
            ])
        await withDiscardingTaskGroup { group in
            group.addTask { await self.pool.run() }
            if !proxyRuns { group.addTask { await self.retryProxy() } }
            group.addTask { await self.agent.run() }
            group.addTask { await self.applier.run() }
            group.addTask { await self.applier.watch() }
            group.addTask { await self.announcer.run() }
            group.addTask { await self.sampler.run() }
            group.addTask { await self.heldWatch.run() }
            group.addTask { await self.flusher.run() }
            group.addTask { await self.recorder.run() }
            group.addTask { await self.feed.run() }
            group.addTask { await self.logTails.run() }
            group.addTask { await self.sendInventories() }
            group.addTask { await self.followSettings() }
            if let controller = self.controller {
                group.addTask { await self.watchLease(controller) }
                group.addTask { await self.announceEachSecond() }
                group.addTask { await self.watchStore(controller.store) }
            }
            group.addTask { await self.pruneMetrics() }
            group.addTask { await self.certificates?.run() }
            group.addTask { await self.access.run() }
            group.addTask {
                do {
                    try await api.run()
                } catch {
                    self.logger.critical("The REST facade ended", metadata: ["error": "\(error)"])
                }
                self.state.withLock { $0.facadeEnded = true }
            }
            await self.untilGracefulStop()
            self.state.withLock { $0.isStopping = true }
            await self.feed.stop()
            self.desk.close("\(self.id) stops")
            await self.handOver()
            group.cancelAll()
            self.pool.stop()
            self.agent.stop()
            self.applier.stop()
            self.announcer.stop()
            self.heldWatch.stop()
            self.access.stop()
            self.flusher.stop()
        }
        await close()
    }

    /// - Returns: whether nginx runs, or there is none to run.
    private func startProxy() async -> Bool {
        guard let proxy else { return true }
        do {
            try await proxy.start()
            return true
        } catch {
            logger.error("nginx could not be started; it is tried again", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// A port that is taken, or a machine too busy to see nginx come up in time, need not last. Runs until it has worked;
    /// after 2 s first, then less and less often, once a minute at last.
    private func retryProxy() async {
        var pause = Duration.seconds(2)
        repeat {
            do { try await Task.sleep(for: pause) } catch { return }
            pause = min(pause * 2, .seconds(60))
        } while await !startProxy()
        applier.localChange()
    }

    /// SIGHUP.
    package func rereadCertificates() {
        access.hangUp()
        guard let certificates else {
            return logger.notice("SIGHUP: nothing to read again, this cluster has no certificates")
        }
        certificates.hangUp()
    }

    private func untilGracefulStop() async {
        let (stops, stop) = AsyncStream.makeStream(of: Void.self)
        await withGracefulShutdownHandler {
            for await _ in stops { return }
        } onGracefulShutdown: {
            stop.yield()
        }
    }

    /// L7: give up leadership while the cluster can still see it, so that the next leader starts at once.
    private func handOver() async {
        logger.info("Stopping: containers and nginx keep running; leadership, if held, is handed over")
        access.sayRefusals(all: true)
        let leadership = controller?.leadership
        leadership?.submit(.leave)
        let begun = ContinuousClock.now
        // The goodbye and the released lease need a moment on the wire; requests in flight may finish.
        while ContinuousClock.now - begun < .seconds(3) {
            do { try await Task.sleep(for: .milliseconds(20)) } catch { return }
            let served = state.withLock { $0.facadeEnded }
            if served, leadership.map({ !$0.activity.isActive && !$0.awaitsPostgres }) ?? true { return }
        }
        logger.warning("Requests or the lease were still in flight after 3 s; stopping all the same")
    }

    private func close() async {
        stopFollowing()
        state.withLock { $0.term?.task.cancel() }
        await transport.shutdown()
        await prober.shutdown()
        await pages.shutdown()
        await engine.shutdown()
        await proxy?.release()
        outbox.shutdown()
        metrics.shutdown()
        try? await clusterGroup.shutdownGracefully()  // The process ends either way.
        try? await workGroup.shutdownGracefully()
        logger.info("Stopped")
    }

    // MARK: Leadership

    func leadershipChanged(_ change: LeadershipChange) {
        switch change {
        case .activated(let epoch):
            beginTerm(epoch)
        case .deactivated(let epoch, let reason):
            // The term stays: it acts only while active, and goes on where it was if this epoch becomes active again.
            record(
                .leaderLost, nil, "\(id) leads no more under epoch \(epoch): \(reason)",
                ["epoch": .int(Int64(epoch.rawValue))])
        case .leader(let node, let epoch):
            state.withLock { $0.leader = node }
            announcer.wake()
            if node != id { endTerm(olderThan: epoch) }
            leaderChanges.notify()
            flusher.wake()
            // A new leader may not be ready to listen at once: an inventory that came too early is said again.
            pool.add {
                for wait in [Duration.zero, .milliseconds(200), .seconds(1)] {
                    try? await Task.sleep(for: wait)  // Cancelled: the node stops.
                    self.heldWatch.lookAgain()
                    await self.sendInventory()
                }
            }
        }
    }

    private func beginTerm(_ epoch: Epoch) {
        guard let controller else { return }
        endTerm(olderThan: epoch)
        let term = state.withLock { state -> LeaderTerm? in
            guard state.term == nil else { return nil }
            let term = LeaderTerm(epoch: epoch, surroundings: surroundings(controller))
            // Cancelled in `endTerm` or `close`.
            state.term = (term, Task { await term.run() })
            return term
        }
        guard term != nil else { return }
        announceLeadership()
        leaderChanges.notify()
        record(.leaderElected, nil, "\(id) leads with epoch \(epoch)", ["epoch": .int(Int64(epoch.rawValue))])
        flusher.wake()
    }

    func endTerm(olderThan epoch: Epoch) {
        state.withLock { state in
            guard let current = state.term, current.term.epoch < epoch else { return }
            current.task.cancel()
            state.term = nil
        }
    }

    func endTerm(of epoch: Epoch) { endTerm(olderThan: epoch.next) }

    // MARK: Events

    /// Puts an event into the outbox, from where it reaches PostgreSQL once.
    func record(_ kind: EventKind, _ app: AppName?, _ message: String, _ details: JSONValue) {
        let event = Event(node: id, time: clock.wall(), app: app, kind: kind, message: message, details: details)
        logger.info(
            "Event", metadata: ["event": "\(kind.rawValue)", "app": "\(app?.rawValue ?? "-")", "text": "\(message)"])
        recorder.record(event)
    }

    func recordDecision(_ decision: ScalingDecision) async {
        do {
            _ = try await outbox.append(events: [], decisions: [decision])
            flusher.wake()
        } catch {
            logger.error("A decision could not be kept", metadata: ["app": "\(decision.app)", "error": "\(error)"])
        }
    }
}
