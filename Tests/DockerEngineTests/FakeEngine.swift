import Foundation
import NIOCore
import NIOPosix

/// Answers every connection on a unix socket with the same bytes, as an engine in trouble might.
final class FakeEngine: Sendable {
    let socketPath: String
    private let channel: any Channel

    /// - Parameter answer: sent when a request has begun; empty: never answers.
    init(answer: String) async throws {
        socketPath =
            FileManager.default.temporaryDirectory
            .appendingPathComponent("engine-\(UInt32.random(in: 0 ... .max)).sock").path
        let bytes = ByteBuffer(string: answer)
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Answerer(bytes: bytes))
                }
            }
            .bind(unixDomainSocketPath: socketPath).get()
    }

    func stop() async throws { try await channel.close() }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let bytes: ByteBuffer
        private var isAnswered = false
        init(bytes: ByteBuffer) { self.bytes = bytes }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !isAnswered, bytes.readableBytes > 0 else { return }
            isAnswered = true
            let channel = context.channel
            context.writeAndFlush(wrapOutboundOut(bytes)).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    /// A whole HTTP answer.
    static func http(_ status: String, _ body: String) -> String {
        "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
    }
}
