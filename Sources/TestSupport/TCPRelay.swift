import NIOCore
import NIOPosix

/// Passes TCP connections on to another address, and misbehaves as told: late, not at all for a while, or with a reset.
public final class TCPRelay: Sendable {
    /// Which bytes are meant.
    public enum Way: Hashable, CaseIterable, Sendable {
        case toServer
        case toClient
    }

    public let port: Int
    private let loop: any EventLoop
    private let listener: any Channel
    private let core: Core

    /// - Parameters:
    ///   - host: where it listens, on a free port.
    ///   - target: where connections go.
    public init(host: String, target: (host: String, port: Int)) async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let core = Core(loop: loop, target: target)
        listener = try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { client in core.accept(client) }
            .bind(host: host, port: 0).get()
        self.loop = loop
        self.core = core
        port = listener.localAddress?.port ?? 0
    }

    /// Bytes of this way that arrive from now on leave this much later, in order.
    public func delay(_ way: Way, by delay: Duration) async throws {
        try await onLoop { $0.delays[way] = .nanoseconds(Int64(delay / .nanoseconds(1))) }
    }

    /// Keeps back all bytes of a way, ends of streams included, until `release`. Connections can still be made.
    public func hold(_ way: Way) async throws { try await onLoop { _ = $0.held.insert(way) } }

    public func release(_ way: Way) async throws {
        try await onLoop { core in
            core.held.remove(way)
            for connection in core.connections { connection[way].flush() }
        }
    }

    /// Keeps back the bytes of the connections there are now, as a path that lost its state does; new ones are served.
    public func strand(_ way: Way) async throws {
        try await onLoop { core in
            for connection in core.connections { connection[way].isStranded = true }
        }
    }

    /// Lets go of what `strand` kept back.
    public func recover(_ way: Way) async throws {
        try await onLoop { core in
            for connection in core.connections {
                connection[way].isStranded = false
                connection[way].flush()
            }
        }
    }

    /// Whether bytes of a way that wait here contain a text.
    public func isHolding(_ text: String, _ way: Way) async throws -> Bool {
        try await onLoop { core in core.connections.contains { $0[way].isHolding(text) } }
    }

    /// Ends every connection with a reset towards both sides.
    /// - Returns: how many there were.
    @discardableResult
    public func reset() async throws -> Int {
        try await onLoop { core in
            let all = core.connections
            for connection in all { connection.reset() }
            return all.count
        }
    }

    public func shutdown() async throws {
        try await reset()
        try await listener.close()
    }

    private func onLoop<Value: Sendable>(_ body: @escaping @Sendable (Core) -> Value) async throws -> Value {
        let core = core
        return try await loop.submit { body(core) }.get()
    }
}

/// What the relay knows. Only touched on its one event loop, where all its channels live too: that makes the claim true.
private final class Core: @unchecked Sendable {  // Confined to `loop`.
    let loop: any EventLoop
    let target: (host: String, port: Int)
    var delays: [TCPRelay.Way: TimeAmount] = [:]
    var held: Set<TCPRelay.Way> = []
    var connections: [RelayedConnection] = []

    init(loop: any EventLoop, target: (host: String, port: Int)) {
        self.loop = loop
        self.target = target
    }

    func accept(_ client: any Channel) -> EventLoopFuture<Void> {
        let connection = RelayedConnection(core: self, client: client)
        connections.append(connection)
        return client.eventLoop.makeCompletedFuture {
            try client.pipeline.syncOperations.addHandler(RelayReader(connection, .toServer))
        }.flatMap { [target, loop] in
            ClientBootstrap(group: loop)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelInitializer { server in
                    server.eventLoop.makeCompletedFuture {
                        try server.pipeline.syncOperations.addHandler(RelayReader(connection, .toClient))
                    }
                }
                .connect(host: target.host, port: target.port)
                .whenComplete { result in
                    switch result {
                    case .success(let server): connection.connected(to: server)
                    case .failure: connection.reset()
                    }
                }
            return loop.makeSucceededVoidFuture()
        }
    }
}

/// A client's connection and the one made for it. Event loop only, as `Core`.
private final class RelayedConnection: @unchecked Sendable {  // Confined to `Core.loop`.
    private let core: Core
    private let client: any Channel
    private var server: (any Channel)?
    private let toServer: RelayQueue
    private let toClient: RelayQueue

    init(core: Core, client: any Channel) {
        self.core = core
        self.client = client
        toServer = RelayQueue(core: core, way: .toServer)
        toClient = RelayQueue(core: core, way: .toClient)
        toClient.output = client
        for queue in [toServer, toClient] { queue.onFinish = { [weak self] in self?.finishIfDone() } }
    }

    subscript(way: TCPRelay.Way) -> RelayQueue { way == .toServer ? toServer : toClient }

    func connected(to server: any Channel) {
        self.server = server
        toServer.output = server
        toServer.flush()
    }

    private func finishIfDone() {
        // Both streams have ended and left.
        guard toServer.isFinished, toClient.isFinished else { return }
        client.close(promise: nil)
        server?.close(promise: nil)
        forget()
    }

    func reset() {
        for channel in [client, server].compactMap(\.self) {
            let options = channel as? any SocketOptionProvider
            // With lingering for no time at all, close sends a reset. A channel that is closed already has no option.
            options?.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in channel.close(promise: nil) }
        }
        forget()
    }

    private func forget() { core.connections.removeAll { $0 === self } }
}

/// The bytes of one way of a connection that have not left yet, each with the time to leave. Event loop only.
private final class RelayQueue: @unchecked Sendable {  // Confined to `Core.loop`.
    private let core: Core
    private let way: TCPRelay.Way
    private var queue: [(due: NIODeadline, bytes: ByteBuffer?)] = []
    private var isTimerSet = false
    var output: (any Channel)?
    var isStranded = false
    var onFinish: () -> Void = {}
    /// The end of the stream has been passed on.
    private(set) var isFinished = false

    init(core: Core, way: TCPRelay.Way) {
        self.core = core
        self.way = way
    }

    func isHolding(_ text: String) -> Bool {
        let bytes = queue.reduce(into: [UInt8]()) { all, entry in
            all += entry.bytes.map { Array($0.readableBytesView) } ?? []
        }
        return String(decoding: bytes, as: UTF8.self).contains(text)
    }

    /// - Parameter bytes: nil: the stream has ended.
    func take(_ bytes: ByteBuffer?) {
        queue.append((.now() + (core.delays[way] ?? .zero), bytes))
        flush()
    }

    func flush() {
        guard let output, !isFinished, !isStranded, !core.held.contains(way) else { return }
        let now = NIODeadline.now()
        var isWritten = false
        while let next = queue.first, next.due <= now {
            queue.removeFirst()
            if let bytes = next.bytes {
                output.write(bytes, promise: nil)
                isWritten = true
            } else {
                isFinished = true
            }
        }
        if isWritten { output.flush() }
        if isFinished {
            output.close(mode: .output, promise: nil)
            onFinish()
        }
        guard let next = queue.first, !isTimerSet else { return }
        isTimerSet = true
        core.loop.scheduleTask(deadline: next.due) {
            self.isTimerSet = false
            self.flush()
        }
    }
}

/// Feeds what one side sends into its queue.
private final class RelayReader: ChannelInboundHandler, @unchecked Sendable {  // Confined to `Core.loop`.
    // Event loop only, as `Core`.
    typealias InboundIn = ByteBuffer
    private let connection: RelayedConnection
    private let way: TCPRelay.Way
    private var hasEnded = false

    init(_ connection: RelayedConnection, _ way: TCPRelay.Way) {
        self.connection = connection
        self.way = way
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { connection[way].take(unwrapInboundIn(data)) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed { end() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { end() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func end() {
        guard !hasEnded else { return }
        hasEnded = true
        connection[way].take(nil)
    }
}
