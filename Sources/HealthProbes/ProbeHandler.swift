import NIOCore

/// Sends a check's request and reads the answer's status; then lets the server finish for a moment, so that a healthy
/// application does not log a broken connection for each probe.
final class ProbeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How much of the body, and for how long, is read and thrown away.
    private static let maximumDiscarded = 64 << 10
    private static let linger = TimeAmount.milliseconds(100)

    private let request: ByteBuffer
    /// Completed with the status, or failed with a `ProbeFailure`. Others may complete it too; the first one counts.
    private let status: EventLoopPromise<Int>
    private var reader = StatusReader()
    private var isAnswered = false
    private var discarded = 0

    init(request: ByteBuffer, status: EventLoopPromise<Int>) {
        self.request = request
        self.status = status
    }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let chunk = unwrapInboundIn(data)
        guard !isAnswered else {
            discarded += chunk.readableBytes
            if discarded > Self.maximumDiscarded { context.close(promise: nil) }
            return
        }
        switch reader.feed(chunk) {
        case .more: return
        case .malformed:
            status.fail(ProbeFailure.malformed)
            context.close(promise: nil)
        case .status(let code):
            isAnswered = true
            status.succeed(code)
            let channel = context.channel
            context.eventLoop.scheduleTask(in: Self.linger) { channel.close(promise: nil) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { status.fail(ProbeFailure.closed) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        status.fail(InstanceProbe.failure(error))
        context.close(promise: nil)
    }
}
