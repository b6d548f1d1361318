import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A container engine with a network, room for instances, and no image to make one from: enough for agents to take
/// stock and to be given commands, which is what the checker looks at.
final class FakeEngine: Sendable {
    let socketPath: String
    private let channel: any Channel

    /// - Parameters:
    ///   - socketPath: at most 100 bytes.
    ///   - network: the one network there is.
    init(socketPath: String, network: String) async throws {
        self.socketPath = socketPath
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Answerer(network: network))
                }
            }
            .bind(unixDomainSocketPath: socketPath).get()
    }

    func stop() async throws { try await channel.close() }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let network: String
        private var path = ""

        init(network: String) { self.network = network }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): path = String(head.uri.prefix { $0 != "?" })
            case .body: break
            case .end: answer(context)
            }
        }

        private func answer(_ context: ChannelHandlerContext) {
            let description = """
                {"Id":"n1","Name":"\(network)","Containers":{},"IPAM":{"Config":[{"Subnet":"10.1.0.0/16"}]}}
                """
            switch path.split(separator: "/").dropFirst().joined(separator: "/") {
            case "networks": send(context, .ok, "[\(description)]")
            case "networks/n1": send(context, .ok, description)
            case "info": send(context, .ok, #"{"NCPU":4,"MemTotal":8589934592}"#)
            case "containers/json": send(context, .ok, "[]")
            case "events":
                // Nothing will ever happen: the stream stays open and empty.
                let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: ["Transfer-Encoding": "chunked"])
                context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
            default: send(context, .notFound, #"{"message":"there are no images here"}"#)
            }
        }

        private func send(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ body: String) {
            let headers: HTTPHeaders = [
                "Content-Type": "application/json", "Content-Length": String(body.utf8.count),
            ]
            let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
