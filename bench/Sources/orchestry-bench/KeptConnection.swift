import NIOCore
import NIOHTTP1
import NIOPosix

/// A connection that serves one request after the other.
struct KeptConnection: Sendable {
    struct Outcome: Sendable {
        var status: Int
        /// Whether another request may follow.
        var isKept: Bool
        /// Empty unless the connection was opened to keep bodies.
        var body: ByteBuffer
        /// When the request was handed to the system, and when the last of the answer was read: both on the connection's
        /// own thread, so without waiting for a task's turn.
        var sent: ContinuousClock.Instant
        var answered: ContinuousClock.Instant
    }
    enum Failure: Error { case closed, malformed, timeout }

    /// One request on its way down the pipeline.
    fileprivate struct Exchange: Sendable {
        var head: HTTPRequestHead
        var outcome: EventLoopPromise<Outcome>
    }

    private let channel: any Channel

    static func open(
        _ server: Server, on group: MultiThreadedEventLoopGroup, keepsBodies: Bool = false
    ) async throws -> KeptConnection {
        let channel = try await ClientBootstrap(group: group)
            .connectTimeout(.seconds(2))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(ExchangeHandler(keepsBodies: keepsBodies))
                }
            }
            .connect(host: server.host, port: server.port).get()
        return KeptConnection(channel: channel)
    }

    var isOpen: Bool { channel.isActive }

    func close() { channel.close(promise: nil) }

    /// - Throws: `Failure`, or what the transport says; the connection is of no further use then.
    func send(_ head: HTTPRequestHead, within limit: TimeAmount) async throws -> Outcome {
        let promise = channel.eventLoop.makePromise(of: Outcome.self)
        let timeout = channel.eventLoop.scheduleTask(in: limit) {
            promise.fail(Failure.timeout)
            channel.close(promise: nil)
        }
        defer { timeout.cancel() }
        // A write that fails shows in the outcome.
        channel.writeAndFlush(Exchange(head: head, outcome: promise), promise: nil)
        return try await promise.futureResult.get()
    }
}

extension HTTPRequestHead {
    static func get(_ path: String, host: String) -> HTTPRequestHead {
        HTTPRequestHead(version: .http1_1, method: .GET, uri: path, headers: ["host": host])
    }
}

private final class ExchangeHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = KeptConnection.Exchange
    typealias OutboundOut = HTTPClientRequestPart
    private var current: EventLoopPromise<KeptConnection.Outcome>?
    private var head: HTTPResponseHead?
    private let keepsBodies: Bool
    private var body = ByteBuffer()
    private var sent = ContinuousClock.now

    init(keepsBodies: Bool) { self.keepsBodies = keepsBodies }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let exchange = unwrapOutboundIn(data)
        guard context.channel.isActive, current == nil else {
            exchange.outcome.fail(KeptConnection.Failure.closed)
            promise?.fail(KeptConnection.Failure.closed)
            return
        }
        current = exchange.outcome
        sent = .now
        context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body(var part): if keepsBodies { body.writeBuffer(&part) }
        case .end:
            guard let head, let current else { return }
            self.current = nil
            let outcome = KeptConnection.Outcome(
                status: Int(head.status.code), isKept: head.isKeepAlive, body: body, sent: sent,
                answered: .now)
            body = ByteBuffer()
            current.succeed(outcome)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        current?.fail(KeptConnection.Failure.closed)
        current = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        current?.fail(error is HTTPParserError ? KeptConnection.Failure.malformed : error)
        current = nil
        context.close(promise: nil)
    }
}
