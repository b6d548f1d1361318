import Measuring
import NIOCore
import NIOPosix
import Synchronization

/// Passes TCP connections on to a port of this machine and counts what goes through: all that a link puts on the wire
/// but the headers of TCP and IP, whatever layers it has.
final class CountingRelay: Sendable {
    /// Bytes in each direction.
    struct Bytes: Sendable {
        /// From who connects.
        var there: Int
        var back: Int
        static func - (left: Bytes, right: Bytes) -> Bytes {
            Bytes(there: left.there - right.there, back: left.back - right.back)
        }
    }

    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let there: Counter
    private let back: Counter
    let port: Int

    init(to target: Int) async throws {
        let (there, back) = (Counter(), Counter())
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        listener = try await ServerBootstrap(group: group)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // A connection is read from once its initializer is done: there is somebody to pass things on to then.
            .childChannelInitializer { near in
                ClientBootstrap(group: near.eventLoop)
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .connect(host: "127.0.0.1", port: target)
                    .flatMapThrowing { far in
                        try near.pipeline.syncOperations.addHandler(Passing(to: far, counter: there))
                        try far.pipeline.syncOperations.addHandler(Passing(to: near, counter: back))
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = listener.localAddress?.port else { throw BenchFailure("the relay has no port") }
        (self.there, self.back, self.port) = (there, back, port)
    }

    var bytes: Bytes { Bytes(there: there.value, back: back.value) }

    func close() async throws {
        try await listener.close()
        try await group.shutdownGracefully()
    }

    private final class Counter: Sendable {
        private let bytes = Atomic(0)
        var value: Int { bytes.load(ordering: .relaxed) }
        func add(_ number: Int) { bytes.add(number, ordering: .relaxed) }
    }

    private final class Passing: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let other: any Channel
        private let counter: Counter
        init(to other: any Channel, counter: Counter) {
            self.other = other
            self.counter = counter
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            counter.add(bytes.readableBytes)
            other.write(bytes, promise: nil)
        }
        func channelReadComplete(context: ChannelHandlerContext) { other.flush() }
        func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
