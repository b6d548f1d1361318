import NIOCore
import NIOHTTP1
import NIOPosix

/// The bytes of a connection that has stopped being HTTP, as they come.
struct HijackedInput {
    fileprivate var iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    /// What came together with the answer's head.
    fileprivate var rest: ByteBuffer?

    /// nil: the engine has ended the stream.
    mutating func next() async throws -> ByteBuffer? {
        if let rest {
            self.rest = nil
            if rest.readableBytes > 0 { return rest }
        }
        return try await iterator.next()
    }
}

typealias HijackedOutput = NIOAsyncChannelOutboundWriter<ByteBuffer>

/// Some calls of the Engine API turn their connection into a stream both ways ("hijacking"), which no HTTP client does.
extension EngineTransport {
    private static let connectTimeout = TimeAmount.seconds(3)

    /// The connection is closed when `body` returns. `HijackedOutput.finish` closes its half only.
    /// - Parameter body: called when the engine has switched; `call.timeout` limits the time until then.
    /// - Throws: `EngineError` while it has not switched, then what `body` throws.
    func hijack<Value: Sendable>(
        _ call: Call, _ body: (inout HijackedInput, HijackedOutput, any Channel) async throws -> Value
    ) async throws -> Value {
        let connection = try await connect(call)
        return try await connection.executeThenClose { inbound, outbound in
            let limit = connection.channel.eventLoop.scheduleTask(in: TimeAmount(call.timeout)) {
                connection.channel.close(promise: nil)
            }
            defer { limit.cancel() }
            var input = HijackedInput(iterator: inbound.makeAsyncIterator(), rest: nil)
            try await outbound.write(head(of: call))
            try await readHead(&input, call)
            limit.cancel()
            return try await body(&input, outbound, connection.channel)
        }
    }

    private func connect(_ call: Call) async throws(EngineError) -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        let bootstrap = ClientBootstrap(group: group).connectTimeout(Self.connectTimeout)
            .channelOption(.allowRemoteHalfClosure, value: true)
        @Sendable func wrap(
            _ channel: any Channel
        ) -> EventLoopFuture<NIOAsyncChannel<ByteBuffer, ByteBuffer>> {
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel(
                    wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
            }
        }
        do {
            switch address {
            case .socket(let path):
                return try await bootstrap.connect(unixDomainSocketPath: path, channelInitializer: wrap)
            case .tcp(let host, let port):
                return try await bootstrap.connect(host: host, port: port, channelInitializer: wrap)
            }
        } catch {
            throw Self.translate(error, call.operation)
        }
    }

    private func head(of call: Call) -> ByteBuffer {
        let body = call.body ?? ByteBuffer()
        var head = ByteBuffer(
            string: "\(call.method.rawValue) /\(Self.apiVersion)\(call.path) HTTP/1.1\r\nHost: engine\r\n"
                + "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(body.readableBytes)\r\n\r\n")
        head.writeImmutableBuffer(body)
        return head
    }

    /// Reads the answer up to the end of its head, or all of it when the engine refuses.
    private func readHead(_ input: inout HijackedInput, _ call: Call) async throws {
        var received = ByteBuffer()
        let end = Array("\r\n\r\n".utf8)
        while received.readableBytes <= Self.maximumErrorBody, let chunk = try await input.next() {
            received.writeImmutableBuffer(chunk)
            guard let found = received.readableBytesView.firstRange(of: end) else { continue }
            let length = found.upperBound - received.readerIndex
            let words = (received.readString(length: length) ?? "").split(separator: " ", maxSplits: 2)
            guard words.count > 1, words[0].hasPrefix("HTTP/1."), let status = UInt(words[1]) else { break }
            // Podman and older engines say 200 and switch all the same.
            if status == 101 || status == 200 {
                input.rest = received
                return
            }
            throw Self.refusal(status: status, body: try await readRefusal(received, &input), operation: call.operation)
        }
        throw EngineError(.timeout, operation: call.operation, message: "no answer within \(call.timeout), or no HTTP")
    }

    /// An error's body is one small JSON object, and the engine may keep the connection after it.
    private func readRefusal(_ begun: ByteBuffer, _ input: inout HijackedInput) async throws -> ByteBuffer {
        var body = begun
        while body.readableBytes < Self.maximumErrorBody,
            body.readableBytesView.lastIndex(of: UInt8(ascii: "}")) == nil, let chunk = try await input.next()
        {
            body.writeImmutableBuffer(chunk)
        }
        // In chunks or not: the object is what is between the braces.
        guard let first = body.readableBytesView.firstIndex(of: UInt8(ascii: "{")),
            let last = body.readableBytesView.lastIndex(of: UInt8(ascii: "}")), first < last
        else { return body }
        return body.getSlice(at: first, length: last - first + 1) ?? body
    }
}
