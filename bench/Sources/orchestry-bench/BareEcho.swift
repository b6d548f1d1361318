import Measuring
import NIOCore
import NIOPosix
import NIOSSL

/// The baseline of `protocol`: frames of a `u32` length and a payload over one TCP connection, sent back as they come.
/// What NIO costs with no protocol on top.
final class BareEcho: Link {
    let name: String
    private let groups: [MultiThreadedEventLoopGroup]
    private let listener: any Channel
    private let channel: any Channel
    private let pump: Pump
    private let frame: ByteBuffer
    let relay: CountingRelay?

    /// - Parameters:
    ///   - tls: nil: plain TCP.
    ///   - counting: whether a relay in between counts bytes.
    init(_ name: String, payloadBytes: Int, tls: TLSFiles?, counting: Bool) async throws {
        self.name = name
        groups = [MultiThreadedEventLoopGroup(numberOfThreads: 1), MultiThreadedEventLoopGroup(numberOfThreads: 1)]
        let contexts = try tls.map { (server: try $0.serverContext(), client: try $0.clientContext()) }
        listener = try await ServerBootstrap(group: groups[0])
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let contexts {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: contexts.server))
                    }
                    try channel.pipeline.syncOperations.addHandler(EchoHandler())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = listener.localAddress?.port else { throw BenchFailure("the echo server has no port") }
        let relay = counting ? try await CountingRelay(to: port) : nil
        self.relay = relay
        let pump = Pump()
        self.pump = pump
        channel = try await ClientBootstrap(group: groups[1])
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let contexts {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: contexts.client, serverHostname: nil))
                    }
                    try channel.pipeline.syncOperations.addHandler(AnswerHandler(pump))
                }
            }
            .connect(host: "127.0.0.1", port: relay?.port ?? port).get()
        var frame = ByteBuffer()
        frame.writeInteger(UInt32(payloadBytes))
        frame.writeRepeatingByte(0x61, count: payloadBytes)
        self.frame = frame
    }

    func exchange(_ count: Int, window: Int) async throws -> Pump.Result {
        let (channel, frame) = (channel, frame)
        return try await pump.run(count, window: window) { number in
            channel.eventLoop.execute {
                for _ in 0..<number { channel.write(frame, promise: nil) }
                channel.flush()
            }
        }
    }

    /// A task that waits for one answer has one message in flight.
    func awaited(_ count: Int) async throws -> [Double] {
        let (channel, frame, pump) = (channel, frame, pump)
        return try await timed(count) { try await pump.one { channel.writeAndFlush(frame, promise: nil) } }
    }

    func close() async throws {
        try await channel.close()
        try await listener.close()
        try await relay?.close()
        for group in groups { try await group.shutdownGracefully() }
    }
}

/// Cuts a stream into frames, length field included.
private struct FrameCutter {
    private var received = ByteBuffer()

    mutating func add(_ bytes: ByteBuffer) {
        var bytes = bytes
        if received.readableBytes == 0 { received = bytes } else { received.writeBuffer(&bytes) }
    }

    mutating func next() -> ByteBuffer? {
        guard let length = received.getInteger(at: received.readerIndex, as: UInt32.self) else { return nil }
        return received.readSlice(length: 4 + Int(length))
    }
}

private final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private var cutter = FrameCutter()

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        cutter.add(unwrapInboundIn(data))
        while let frame = cutter.next() { context.write(wrapOutboundOut(frame), promise: nil) }
    }
    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
}

private final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private var cutter = FrameCutter()
    private let pump: Pump
    init(_ pump: Pump) { self.pump = pump }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        cutter.add(unwrapInboundIn(data))
        while let frame = cutter.next() {
            if pump.arrived() { context.write(wrapOutboundOut(frame), promise: nil) }
        }
    }
    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }
    func channelInactive(context: ChannelHandlerContext) { pump.fail("the echo's connection was closed") }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { pump.fail("the echo failed: \(error)") }
}
