import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization

/// A server on loopback that does with each connection what a test says, and keeps what it was sent.
final class ProbeServer: Sendable {
    enum Behaviour: Sendable {
        /// Sends these pieces one after another, then closes.
        case answer([String])
        /// Accepts and never says a word.
        case mute
        case closeAtOnce
    }
    private struct State {
        var behaviour: Behaviour
        var requests: [String] = []
        var open = 0
    }
    private let state: Mutex<State>
    private let listener = Mutex<(any Channel)?>(nil)

    private init(_ behaviour: Behaviour) { state = Mutex(State(behaviour: behaviour)) }

    static func start(_ behaviour: Behaviour) async throws -> ProbeServer {
        let server = ProbeServer(behaviour)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        server.listener.withLock { $0 = channel }
        return server
    }

    func stop() async throws { try await listener.withLock { $0 }?.close() }

    var endpoint: Endpoint { Endpoint(host: "127.0.0.1", port: listener.withLock { $0?.localAddress?.port } ?? 0) }
    var requests: [String] { state.withLock { $0.requests } }
    /// Connections open now.
    var open: Int { state.withLock { $0.open } }
    func set(_ behaviour: Behaviour) { state.withLock { $0.behaviour = behaviour } }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let server: ProbeServer
        private var received = ""

        init(_ server: ProbeServer) { self.server = server }

        func channelActive(context: ChannelHandlerContext) {
            let behaviour = server.state.withLock { state in
                state.open += 1
                return state.behaviour
            }
            if case .closeAtOnce = behaviour { context.close(promise: nil) }
        }

        func channelInactive(context: ChannelHandlerContext) { server.state.withLock { $0.open -= 1 } }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += String(buffer: unwrapInboundIn(data))
            // A test's requests come whole: head, and a body that ends in "!" where there is one.
            guard received.hasSuffix("\r\n\r\n") || received.hasSuffix("!") else { return }
            let behaviour = server.state.withLock { state in
                state.requests.append(received)
                return state.behaviour
            }
            received = ""
            if case .answer(let pieces) = behaviour { Self.send(pieces[...], context.channel) }
        }

        private static func send(_ pieces: ArraySlice<String>, _ channel: any Channel) {
            guard let piece = pieces.first else { return channel.close(promise: nil) }
            channel.writeAndFlush(ByteBuffer(string: piece)).whenComplete { _ in
                channel.eventLoop.scheduleTask(in: .milliseconds(5)) { send(pieces.dropFirst(), channel) }
            }
        }
    }
}
