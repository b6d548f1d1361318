import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization
import WireProtocol

/// Connects this node with its peers: two TCP connections a pair (`proto-spec/framing.md`), made again whenever they
/// are lost. All methods may be called from any thread.
public final class PeerTransport: Sendable {
    private struct Running: Sendable {
        var links: LinkTable
        var listener: any Channel
    }
    private enum Phase: Sendable {
        case idle
        case starting
        case running(Running)
        case over
    }

    private let configuration: PeerTransportConfiguration
    private let group: any EventLoopGroup
    private let logger: Logger
    private let directory = Directory()
    private let requests = RequestTable()
    private let counters = Counters()
    private let phase = Mutex(Phase.idle)

    /// - Parameter group: with two threads or more, megabytes on bulk connections don't hold up heartbeats.
    public init(configuration: PeerTransportConfiguration, group: any EventLoopGroup, logger: Logger) {
        self.configuration = configuration
        self.group = group
        var logger = logger
        logger[metadataKey: "node.id"] = "\(configuration.me.id)"
        self.logger = logger
    }

    // MARK: Life

    /// Listens and begins to dial; returns when the port is bound, not when peers are connected. Succeeds once only.
    /// - Throws: `PeerError.cannotStart`: unreadable certificates, a port in use (it may then be tried again), a second
    ///   start.
    public func start(handler: any PeerHandler) async throws {
        let isFirst = phase.withLock { phase in
            guard case .idle = phase else { return false }
            phase = .starting
            return true
        }
        guard isFirst else { throw PeerError.cannotStart("it was started before") }
        do {
            try await bringUp(handler)
        } catch {
            phase.withLock { phase in
                if case .starting = phase { phase = .idle }
            }
            throw error
        }
    }

    private func bringUp(_ handler: any PeerHandler) async throws {
        let (wanted, keyLogPath) = (configuration.security, configuration.tlsKeyLogPath)
        if let keyLogPath {
            logger.warning(
                "TLS secrets of the cluster's connections are written down", metadata: ["file": "\(keyLogPath)"])
        }
        let security = try await NIOThreadPool.singleton.runIfActive {
            try TransportSecurity(wanted, keyLogPath: keyLogPath)
        }
        let links = LinkTable(
            configuration: configuration, security: security, handler: handler, group: group, directory: directory,
            requests: requests, counters: counters, logger: logger)
        let listener = try await listen(links)
        links.boundPort.store(listener.localAddress?.port ?? 0, ordering: .relaxed)
        let isWanted = phase.withLock { phase in
            guard case .starting = phase else { return false }
            phase = .running(Running(links: links, listener: listener))
            return true
        }
        guard isWanted else {
            try await listener.close()
            throw PeerError.cannotStart("it was shut down meanwhile")
        }
        // From here on connections are accepted: this node can now say where it listens.
        try await listener.setOption(.autoRead, value: true).get()
        links.onHome { $0.dialAll() }
    }

    private func listen(_ links: LinkTable) async throws -> any Channel {
        var bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try links.setUp(channel, side: .acceptor) }
            }
        for (option, value) in links.options() { bootstrap = bootstrap.childChannelOption(option, value: value) }
        let host = configuration.listenHost.isEmpty ? "0.0.0.0" : configuration.listenHost
        do {
            return try await bootstrap.bind(host: host, port: configuration.listenPort).get()
        } catch {
            throw PeerError.cannotStart("\(host):\(configuration.listenPort): \(error)")
        }
    }

    /// Reads the certificate files again, and `use`s them.
    public func reloadCertificates() async throws {
        guard case .mutualTLS(let caPath, let certificatePath, let keyPath) = configuration.security else { return }
        let material = try await NIOThreadPool.singleton.runIfActive {
            try TLSMaterial(caPath: caPath, certificatePath: certificatePath, keyPath: keyPath)
        }
        try await use(material)
    }

    /// Changes the certificates without a restart. New connections use them at once. Standing ones are replaced by new
    /// ones, one after the other and without a gap (`proto-spec/framing.md`, "Renewing a connection"); those that can't
    /// be replaced, because the present authorities don't vouch for the peer, are closed after
    /// `Timing.renewalDeadline`. Does nothing without TLS or before `start`.
    /// - Throws: `PeerError.cannotStart` when they are not usable; the earlier ones stay in use.
    public func use(_ material: TLSMaterial) async throws {
        let links = phase.withLock { phase -> LinkTable? in
            if case .running(let running) = phase { running.links } else { nil }
        }
        guard let links, links.security.secret == nil else { return }
        let security = links.security
        try await NIOThreadPool.singleton.runIfActive { try security.use(material) }
        links.onHome { $0.renewAll() }
    }

    /// The port that is listened on; 0 before `start` has returned and after `shutdown`.
    public var boundPort: Int {
        phase.withLock { phase in
            if case .running(let running) = phase { running.links.boundPort.load(ordering: .relaxed) } else { 0 }
        }
    }

    /// Closes the listener and all connections, within 1 s, and fails what waits for an answer. For good.
    public func shutdown() async {
        let running = phase.withLock { phase -> Running? in
            defer { phase = .over }
            if case .running(let running) = phase { return running }
            return nil
        }
        requests.closeAll()
        guard let running else { return }
        let home = running.links.home
        let done = home.makePromise(of: Void.self)
        home.execute {
            let closing = running.links.shutDown() + [running.listener.close()]
            // Whether each closed cleanly does not matter, only that all are closed.
            EventLoopFuture.whenAllComplete(closing, on: home).whenComplete { _ in done.succeed() }
            home.scheduleTask(in: .seconds(1)) { done.succeed() }
        }
        // The promise is only ever succeeded.
        try? await done.futureResult.get()
    }

    // MARK: Messages

    /// Sends a one-way message: on control or bulk by its type, election messages ahead of all others.
    /// - Returns: false when the node is not connected, too much waits already, or the message breaks a rule of the
    ///   protocol (logged). A sample batch that is queued may still give way to newer ones, which is counted.
    @discardableResult
    public func send(_ message: Message, to node: NodeID) -> Bool {
        enqueue(message, correlation: 0, to: node) == nil
    }

    /// Sends a request and waits for its answer. A series of log chunks comes back as one.
    /// - Throws: `PeerError`; after `timedOut`, `disconnected` and `cancelled` the request may have been carried out.
    public func request(_ message: Message, to node: NodeID, timeout: Duration) async throws(PeerError) -> Message {
        let id = requests.makeID()
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<RequestTable.Outcome, Never>) in
                guard requests.add(id, node: node, continuation: continuation) else { return }
                let requests = requests
                let expiry = group.any().scheduleTask(in: TimeAmount(timeout)) {
                    requests.finish(id, .failure(.timedOut))
                }
                requests.setTimeout(expiry, for: id)
                if let error = enqueue(message, correlation: id, to: node) { requests.finish(id, .failure(error)) }
                // The handler below may have run before the request was added.
                if Task.isCancelled { requests.finish(id, .failure(.cancelled)) }
            }
        } onCancel: {
            requests.finish(id, .failure(.cancelled))
        }
        return try outcome.get()
    }

    /// Answers a request.
    /// - Parameter correlation: as it was handed to `PeerHandler.received`; 0 (one-way) is not answered.
    /// - Returns: as `send`.
    @discardableResult
    public func reply(_ message: Message, to node: NodeID, correlation: UInt64) -> Bool {
        guard correlation != 0 else { return false }
        return enqueue(message, correlation: correlation | 1, to: node) == nil
    }

    /// - Returns: nil when the frame waits to be written.
    private func enqueue(_ message: Message, correlation: UInt64, to node: NodeID) -> PeerError? {
        guard let entry = directory[node] else { return .notConnected }
        var frame = ByteBuffer()
        do throws(WireError) {
            try FrameEncoder.encode(message, correlation: correlation, into: &frame)
        } catch {
            logger.error(
                "Message not sent",
                metadata: ["peer.id": "\(node)", "type": "\(message.type)", "reason": "\(error)"])
            return .notEncodable(error)
        }
        guard let connection = entry.connection(for: message.type, bytes: frame.readableBytes) else {
            return .notConnected
        }
        let lane: Outbound.Lane
        switch message {
        case .election: lane = .urgent
        // A request for samples to be taken would have an answer to wait for, so only one-way batches may be dropped.
        case .sampleBatch where correlation == 0: lane = .samples
        default: lane = .normal
        }
        var outcome = connection.send(frame, lane: lane)
        // Its place may have been taken since we looked: what is sent then goes to the successor.
        if outcome == .closed,
            let successor = directory[node]?.connection(for: message.type, bytes: frame.readableBytes),
            successor !== connection
        {
            outcome = successor.send(frame, lane: lane)
        }
        switch outcome {
        case .queued(_, let dropped):
            if dropped > 0 {
                counters.all.sampleBatchesDropped.add(UInt64(dropped), ordering: .relaxed)
                counters.peer(node).sampleBatchesDropped.add(UInt64(dropped), ordering: .relaxed)
            }
            return nil
        case .full:
            counters.all.messagesRefused.add(1, ordering: .relaxed)
            counters.peer(node).messagesRefused.add(1, ordering: .relaxed)
            return .queueFull
        case .closed: return .notConnected
        }
    }

    // MARK: State

    /// Peers whose two connections stand, sorted by id.
    public var connectedPeers: [NodeInfo] { directory.connected }

    /// Whether the peer is connected and has all of these `PeerFeatures`.
    public func supports(_ features: UInt64, _ node: NodeID) -> Bool {
        directory[node].map { $0.features & features == features } ?? false
    }

    public var statistics: PeerStatistics { counters.snapshot }

    /// By peer, of all that were ever connected (the first thousand names).
    public var traffic: [NodeID: PeerTraffic] { counters.traffic }

    /// Incoming connections that have not introduced themselves yet.
    public var halfOpenConnections: Int {
        phase.withLock { phase in
            if case .running(let running) = phase { running.links.doorkeeper.halfOpen } else { 0 }
        }
    }
}
