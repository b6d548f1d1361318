import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import OrchestryModel

/// One HTTP/1.1 request on a connection of its own, so that no kept connection's state gets into a measurement.
struct HTTPRequest {
    struct Answer {
        var status: Int
        /// nil: it is not JSON.
        var body: JSONValue?
        var text: String
    }

    enum Method: String { case get = "GET", post = "POST", delete = "DELETE" }

    var method: Method
    var path: String
    var body: JSONValue?
    var idempotencyKey: String?
    /// Longer than a node takes over an answer (30 s).
    static let limit = TimeAmount.seconds(35)

    init(_ method: Method, _ path: String, body: JSONValue? = nil, idempotencyKey: String? = nil) {
        self.method = method
        self.path = path
        self.body = body
        self.idempotencyKey = idempotencyKey
    }

    /// With the token of `ORCHESTRY_TOKEN`, where there is one.
    /// - Throws: when there is no complete answer.
    func send(to server: Server) async throws -> Answer {
        let token = ProcessInfo.processInfo.environment["ORCHESTRY_TOKEN"]
        return try await send(host: "\(server.host):\(server.port)", token: token) {
            try await $0.connect(host: server.host, port: server.port).get()
        }
    }

    /// Over a unix socket: the container engine's, or an nginx's own.
    func send(toSocket path: String) async throws -> Answer {
        try await send(host: "localhost") { try await $0.connect(unixDomainSocketPath: path).get() }
    }

    private func send(
        host: String, token: String? = nil, _ connect: (ClientBootstrap) async throws -> any Channel
    ) async throws -> Answer {
        let group = MultiThreadedEventLoopGroup.singleton
        let promise = group.any().makePromise(of: Answer.self)
        let channel: any Channel
        do {
            channel = try await connect(
                ClientBootstrap(group: group).connectTimeout(.seconds(2))
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHTTPClientHandlers()
                            try channel.pipeline.syncOperations.addHandler(AnswerReader(promise))
                        }
                    })
        } catch {
            promise.fail(error)
            throw error
        }
        let timeout = channel.eventLoop.scheduleTask(in: Self.limit) { channel.close(promise: nil) }
        defer {
            timeout.cancel()
            channel.close(promise: nil)
        }
        write(to: channel, host: host, token: token)
        return try await promise.futureResult.get()
    }

    private func write(to channel: any Channel, host: String, token: String?) {
        var headers: HTTPHeaders = ["host": host, "connection": "close"]
        if let token { headers.add(name: "authorization", value: "Bearer \(token)") }
        if let idempotencyKey { headers.add(name: "idempotency-key", value: idempotencyKey) }
        let bytes = body?.jsonBytes()
        if let bytes {
            headers.add(name: "content-type", value: "application/json")
            headers.add(name: "content-length", value: String(bytes.count))
        }
        let head = HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: method.rawValue), uri: path, headers: headers)
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if let bytes { channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: bytes))), promise: nil) }
        // A failed write shows in the answer that does not come.
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }
}

/// A node's REST facade.
struct Server: Hashable, CustomStringConvertible {
    var host: String
    var port: Int
    var description: String { "http://\(host):\(port)" }

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// - Parameter text: `http://HOST[:PORT]`, nothing after it but a slash.
    init?(_ text: String) {
        guard let url = URLComponents(string: text), url.scheme == "http", let host = url.host, !host.isEmpty,
            ["", "/"].contains(url.path), url.query == nil
        else { return nil }
        self.host = host
        port = url.port ?? 80
    }
}

/// Collects one response.
private final class AnswerReader: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    private struct Incomplete: Error, CustomStringConvertible {
        let description = "the connection was closed before the answer was complete"
    }
    private let promise: EventLoopPromise<HTTPRequest.Answer>
    private var status = 0
    private var body = ByteBuffer()

    init(_ promise: EventLoopPromise<HTTPRequest.Answer>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): status = Int(head.status.code)
        case .body(var part): body.writeBuffer(&part)
        case .end:
            // An answer without JSON is judged by its status.
            promise.succeed(
                HTTPRequest.Answer(
                    status: status, body: try? JSONValue(json: body.readableBytesView),
                    text: String(decoding: body.readableBytesView, as: UTF8.self)))
        }
    }
    func channelInactive(context: ChannelHandlerContext) { promise.fail(Incomplete()) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(error)
        context.close(promise: nil)
    }
}
