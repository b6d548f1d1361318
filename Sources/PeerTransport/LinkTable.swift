import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization
import WireProtocol

/// Which peers are connected: two connections each, who dials them, and who may take whose place.
///
/// `@unchecked Sendable`: every stored `var` is touched on the `home` event loop only; `onHome` is the way in and each
/// entry point checks it.
final class LinkTable: @unchecked Sendable {  // Its variables are touched on `home` only.
    struct Link {
        var info: NodeInfo
        var incarnation: UInt64
        var connections: [ChannelKind: Connection] = [:]
        /// Those that `connections` go on from, until the peer has said all it had to say on them.
        var retiring: [ChannelKind: Connection] = [:]
        /// `PeerFeatures` of the peer.
        var features: UInt64 = 0
        var canRenew: Bool { features & PeerFeatures.renewal != 0 }
        /// The handler has been told that the peer is connected.
        var isAnnounced = false
    }

    let home: any EventLoop
    let group: any EventLoopGroup
    let configuration: PeerTransportConfiguration
    let security: TransportSecurity
    let handler: any PeerHandler
    let directory: Directory
    let requests: RequestTable
    let counters: Counters
    let logger: Logger
    let doorkeeper: Doorkeeper
    private let limiter = LogLimiter()
    /// Random, so that a restarted process is told from this one.
    let incarnation = UInt64.random(in: .min ... .max)
    /// 0 until the listener is bound.
    let boundPort = Atomic<Int>(0)

    var links: [NodeID: Link] = [:]
    /// Connections whose Hello exchange is not over.
    var handshaking: [ObjectIdentifier: Connection] = [:]
    /// Newcomers under the name of a node that is connected, until it is clear whether that one lives.
    private var waiting: [NodeID: [(connection: Connection, identity: PeerIdentity)]] = [:]
    var dials: [DialKey: Dial] = [:]
    /// Connections whose place another has taken: their end changes nothing.
    var superseded: Set<ObjectIdentifier> = []
    /// What is being dialled to go on where a standing connection ends.
    var renewing: Set<DialKey> = []
    /// Tells the latest round of renewals from earlier ones.
    var renewalRound = 0
    private(set) var isShutDown = false

    init(
        configuration: PeerTransportConfiguration, security: TransportSecurity, handler: any PeerHandler,
        group: any EventLoopGroup, directory: Directory, requests: RequestTable, counters: Counters, logger: Logger
    ) {
        self.configuration = configuration
        self.security = security
        self.handler = handler
        self.group = group
        self.directory = directory
        self.requests = requests
        self.counters = counters
        self.logger = logger
        doorkeeper = Doorkeeper(
            limits: .init(
                halfOpen: configuration.handshakeLimit, halfOpenPerAddress: configuration.handshakesPerAddress,
                perAddress: configuration.connectionsPerAddress))
        home = group.next()
    }

    /// Runs `body` on the home event loop, soon and in order. Never at once: what a connection reports in the middle of
    /// a change to the links must find that change complete.
    func onHome(_ body: @escaping @Sendable (LinkTable) -> Void) {
        home.execute { body(self) }
    }

    /// This node as it introduces itself.
    var me: NodeInfo {
        var me = configuration.me
        if me.clusterPort == 0 { me.clusterPort = boundPort.load(ordering: .relaxed) }
        return me
    }

    /// Puts the handlers on a new connection; called on that connection's event loop.
    /// - Throws: for an incoming connection there is no room for; NIO closes it.
    func setUp(_ channel: any Channel, side: Handshake.Side, isRenewal: Bool = false) throws {
        if side == .acceptor { try admitAtTheDoor(channel) }
        let generation = try security.addHandlers(to: channel, side: side)
        let bounds = Outbound.Bounds(
            controlBytes: configuration.controlQueueBytes, bulkBytes: configuration.bulkQueueBytes,
            sampleBytes: configuration.sampleQueueBytes)
        let connection = Connection(
            channel: channel, outbound: Outbound(bounds: bounds), generation: generation, isRenewal: isRenewal)
        if side == .acceptor {
            let doorkeeper = doorkeeper
            channel.closeFuture.whenComplete { _ in
                doorkeeper.leave(
                    connection.remoteHost, wasIntroduced: connection.isIntroduced.load(ordering: .relaxed))
            }
        }
        let shared = ConnectionHandler.Shared(
            local: Handshake.Local(
                me: me, cluster: configuration.cluster, incarnation: incarnation, secret: security.secret),
            configuration: configuration, security: security, counters: counters, requests: requests,
            handler: handler, links: self, logger: logger)
        try channel.pipeline.syncOperations.addHandler(
            ConnectionHandler(side: side, connection: connection, shared: shared))
    }

    // MARK: What connections report

    func opened(_ connection: Connection) {
        home.preconditionInEventLoop()
        guard !isShutDown else { return connection.perform(.refuse(.shuttingDown, "shutting down")) }
        handshaking[ObjectIdentifier(connection)] = connection
    }

    /// An incoming connection has shown who it is.
    func admit(_ connection: Connection, _ identity: PeerIdentity) {
        home.preconditionInEventLoop()
        let id = identity.node.id
        guard !isShutDown else { return connection.perform(.refuse(.shuttingDown, "shutting down")) }
        guard let link = links[id], !link.connections.isEmpty, link.incarnation != identity.incarnation else {
            return accept(connection, identity)
        }
        // Either the node was restarted and its old connections are dead, or two processes have one name. Whoever
        // answers is alive and stays; a restarted node's old connections mostly break at once and end the wait.
        waiting[id, default: []].append((connection, identity))
        guard waiting[id]?.count == 1 else { return }
        let since = NIODeadline.now().uptimeNanoseconds
        for old in link.connections.values { old.perform(.probe) }
        home.scheduleTask(in: TimeAmount(configuration.timing.duplicateProbe)) { self.decide(id, since: since) }
    }

    private func decide(_ id: NodeID, since: UInt64) {
        guard let newcomers = waiting.removeValue(forKey: id) else { return }
        let isAlive = links[id]?.connections.values.contains { $0.lastRead.load(ordering: .relaxed) > since }
        for newcomer in newcomers {
            if isAlive == true {
                newcomer.connection.perform(
                    .refuse(.duplicateNode, "another process named \(id) is connected and alive"))
            } else {
                accept(newcomer.connection, newcomer.identity)
            }
        }
    }

    private func accept(_ connection: Connection, _ identity: PeerIdentity) {
        var identity = identity
        identity.continues = identity.continues && predecessor(of: identity) != nil
        connection.perform(.accept(continues: identity.continues))
        adopt(connection, identity)
    }

    /// The Hello exchange is over: the connection becomes one of its peer's two.
    func adopt(_ connection: Connection, _ identity: PeerIdentity) {
        home.preconditionInEventLoop()
        handshaking[ObjectIdentifier(connection)] = nil
        noteEstablished(identity)
        let id = identity.node.id
        if connection.isRenewal { renewing.remove(DialKey(peer: id, channel: identity.channel)) }
        if identity.continues {
            if let old = predecessor(of: identity) { return takeOver(connection, from: old, identity) }
            return connection.perform(.close(nil, "the connection it was to go on from has ended"))
        }
        var link = links[id] ?? Link(info: identity.node, incarnation: identity.incarnation)
        let isSameProcess = link.incarnation == identity.incarnation
        for (kind, old) in link.connections where !isSameProcess || kind == identity.channel {
            link.connections[kind] = nil
            if connection.isRenewal, kind == identity.channel {
                supersede(old, "replaced by a newer connection")
            } else {
                old.perform(.close(nil, "replaced by a newer connection"))
            }
            if let retiring = link.retiring.removeValue(forKey: kind) { supersede(retiring, "its successor is gone") }
        }
        let wasAnnounced = link.isAnnounced
        link.info = identity.node
        link.incarnation = identity.incarnation
        link.features = identity.features
        link.isAnnounced = false
        links[id] = link
        if wasAnnounced { announceLoss(of: id, reason: "replaced by a newer connection") }
        link.connections[identity.channel] = connection
        connection.wasAdopted.store(true, ordering: .relaxed)
        connection.outbound.open(identity.channel)
        connection.perform(.drain)
        link.isAnnounced = link.connections.count == ChannelKind.allCases.count
        links[id] = link
        publish(id)
        guard link.isAnnounced else { return }
        counters.peer(id).connections.add(1, ordering: .relaxed)
        logger.info("Peer connected", metadata: ["peer.id": "\(id)", "version": "\(identity.version)"])
        handler.peerConnected(link.info)
        for (kind, connection) in link.connections where link.retiring[kind] == nil { connection.perform(.release) }
    }

    /// Each connection that was opened reports its end once.
    func closed(_ connection: Connection, _ side: Handshake.Side, _ identity: PeerIdentity?, reason: String) {
        home.preconditionInEventLoop()
        handshaking[ObjectIdentifier(connection)] = nil
        for (id, newcomers) in waiting {
            let rest = newcomers.filter { $0.connection !== connection }
            waiting[id] = rest.isEmpty ? nil : rest
        }
        let isSuperseded = superseded.remove(ObjectIdentifier(connection)) != nil
        if isSuperseded { return retiringEnded(connection, reason: reason) }
        // By identity of the object, not of the peer: the one that took its place stays.
        if let (id, kind) = place(of: connection) { detach(id, kind, reason: reason) }
        guard case .dialer(let peer, let kind) = side else { return }
        let key = DialKey(peer: peer, channel: kind)
        // What it was to go on from still stands, or its own end has been seen to.
        if connection.isRenewal, !connection.wasAdopted.load(ordering: .relaxed) {
            return renewalFailed(key, reason: reason)
        }
        dialEnded(key, reason: reason)
    }

    /// Closes a connection whose place is taken.
    func supersede(_ connection: Connection, _ reason: String) {
        superseded.insert(ObjectIdentifier(connection))
        connection.perform(.close(nil, reason))
    }

    private func place(of connection: Connection) -> (NodeID, ChannelKind)? {
        for (id, link) in links {
            for (kind, candidate) in link.connections where candidate === connection { return (id, kind) }
        }
        return nil
    }

    private func detach(_ id: NodeID, _ kind: ChannelKind, reason: String) {
        guard var link = links[id] else { return }
        link.connections[kind] = nil
        if let retiring = link.retiring.removeValue(forKey: kind) { supersede(retiring, "its successor is gone") }
        if kind == .control {
            // Without heartbeats there is no peer; bulk alone would only pretend there is.
            link.connections.removeValue(forKey: .bulk)?.perform(.close(nil, "the control connection is gone"))
            if let retiring = link.retiring.removeValue(forKey: .bulk) {
                supersede(retiring, "the control connection is gone")
            }
        }
        let wasAnnounced = link.isAnnounced
        link.isAnnounced = false
        links[id] = link.connections.isEmpty ? nil : link
        for rest in link.connections.values { rest.perform(.hold) }
        publish(id)
        if wasAnnounced { announceLoss(of: id, reason: "\(kind): \(reason)") }
        if links[id] == nil, let newcomers = waiting.removeValue(forKey: id) {
            for newcomer in newcomers { accept(newcomer.connection, newcomer.identity) }
        }
    }

    private func announceLoss(of id: NodeID, reason: String) {
        publish(id)
        counters.disconnections.add(1, ordering: .relaxed)
        requests.failAll(to: id)
        logger.notice("Peer disconnected", metadata: ["peer.id": "\(id)", "reason": "\(reason)"])
        handler.peerDisconnected(id, reason: reason)
    }

    func publish(_ id: NodeID) {
        directory.set(
            links[id].map {
                Directory.Entry(
                    info: $0.info, features: $0.features, control: $0.connections[.control], bulk: $0.connections[.bulk]
                )
            }, for: id)
    }

    // MARK: The door

    private struct TurnedAway: Error {}

    /// Before anything is spent on it.
    private func admitAtTheDoor(_ channel: any Channel) throws {
        let host = channel.remoteAddress?.ipAddress ?? "unknown"
        guard let reason = doorkeeper.enter(host) else { return }
        counters.connectionsRefused.add(1, ordering: .relaxed)
        let address = channel.remoteAddress.map(String.init(describing:)) ?? "unknown"
        noteTurnedAway(address: address, host: host, claimed: "unknown", reason: reason)
        throw TurnedAway()
    }

    /// One line for each, but not more than a person can read. Any thread.
    func noteTurnedAway(address: String, host: String, claimed: String, reason: String) {
        let now = Duration.nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds))
        switch limiter.ask(about: "\(claimed) from \(host)", reason: reason, at: now) {
        case .write:
            logger.warning(
                "Incoming connection ended before it was accepted",
                metadata: ["peer.id": "\(claimed)", "reason": "\(reason)", "address": "\(address)"])
        case .count(isFirst: true):
            home.scheduleTask(in: TimeAmount(limiter.window)) { self.sumUpTurnedAway() }
        case .count(isFirst: false): break
        }
    }

    private func sumUpTurnedAway() {
        let now = Duration.nanoseconds(Int64(clamping: NIODeadline.now().uptimeNanoseconds))
        for summary in limiter.sumUp(at: now) {
            logger.warning(
                "More incoming connections ended before they were accepted",
                metadata: [
                    "peer.id": "\(summary.subject)", "count": "\(summary.count)",
                    "reason": "\(summary.lastReason)", "seconds": "\(limiter.window.inSeconds)",
                ])
        }
    }

    // MARK: The end

    /// Closes everything and makes no new connections.
    /// - Returns: what closes.
    func shutDown() -> [EventLoopFuture<Void>] {
        home.preconditionInEventLoop()
        isShutDown = true
        let connections =
            Array(handshaking.values) + links.values.flatMap(\.connections.values)
            + links.values.flatMap(\.retiring.values)
        for connection in connections { connection.perform(.close(.shuttingDown, "this node shuts down")) }
        return connections.map(\.channel.closeFuture)
    }
}
