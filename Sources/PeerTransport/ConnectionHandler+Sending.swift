import NIOCore
import Synchronization
import WireProtocol

/// What leaves.
extension ConnectionHandler {
    /// So many urgent frames are written although the peer makes no room: a minute of election messages.
    private static let blockedUrgentFrames = 1000

    /// Past the queue, for the Hello exchange and for last words.
    func writeNow(_ message: Message, _ context: ChannelHandlerContext, promise: EventLoopPromise<Void>? = nil) {
        var buffer = context.channel.allocator.buffer(capacity: 256)
        do throws(WireError) {
            try FrameEncoder.encode(message, into: &buffer)
        } catch {
            promise?.fail(error)
            return end("can't say \(message.type): \(error)")
        }
        countSent(buffer)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
    }

    func sendUrgent(_ message: Message, _ context: ChannelHandlerContext, correlation: UInt64 = 0) {
        var buffer = context.channel.allocator.buffer(capacity: 16)
        // Pings and Pongs have no body that could break a rule, and one too many may be lost.
        guard (try? FrameEncoder.encode(message, correlation: correlation, into: &buffer)) != nil else { return }
        _ = connection.outbound.add(buffer, lane: .urgent)
        drain(context)
    }

    /// Answers a request that is not handed over. An answer for which there is no room is lost: the peer's timeout is
    /// the answer then.
    func refuse(_ correlation: UInt64, _ reason: String, _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: 64)
        // An error's text is cut to fit, so it can always be encoded.
        let message = Message.error(code: .unavailable, message: reason)
        guard (try? FrameEncoder.encode(message, correlation: correlation | 1, into: &buffer)) != nil else { return }
        _ = connection.outbound.add(buffer, lane: .normal)
        drain(context)
    }

    /// Writes what waits: all of the urgent, of the rest what the socket's buffer has room for.
    func drain(_ context: ChannelHandlerContext) {
        if isReading {
            // One flush for all answers to what has arrived together.
            mustDrain = true
            return
        }
        // A flush can make the channel writable and come back here. The links may open the queue a moment before the
        // last message of the Hello exchange is written.
        guard !isClosing, !isDraining, identity != nil else { return }
        isDraining = true
        defer { isDraining = false }
        mustDrain = false
        connection.outbound.beginDrain()
        var unflushed = 0
        while let frame = connection.outbound.next(isWritable: context.channel.isWritable) {
            countSent(frame)
            unflushed += frame.readableBytes
            context.write(wrapOutboundOut(frame), promise: nil)
            if blockedSince != nil {
                urgentWhileBlocked += 1
                guard urgentWhileBlocked <= Self.blockedUrgentFrames else {
                    return fail(context, .overload, "it does not read what is sent to it")
                }
            }
            // TLS takes everything until a flush, so without one the channel would seem writable for ever.
            if unflushed >= 1 << 15 {
                context.flush()
                unflushed = 0
            }
        }
        if unflushed > 0 { context.flush() }
    }

    private func countSent(_ frame: ByteBuffer) {
        let bytes = UInt64(frame.readableBytes)
        shared.counters.all.framesSent.add(1, ordering: .relaxed)
        shared.counters.all.bytesSent.add(bytes, ordering: .relaxed)
        traffic?.framesSent.add(1, ordering: .relaxed)
        traffic?.bytesSent.add(bytes, ordering: .relaxed)
    }

    // MARK: Being replaced

    /// The links have given what waits to the successor. What was written already ends with a mark.
    func retire(_ context: ChannelHandlerContext) {
        guard !isRetiring else { return }
        isRetiring = true
        let written = context.eventLoop.makePromise(of: Void.self)
        writeNow(.error(code: .replaced, message: ""), context, promise: written)
        let isolated = written.futureResult.assumeIsolated()
        isolated.whenSuccess { [weak self] in
            guard let self else { return }
            self.isMarkSent = true
            self.closeIfRetired(context)
        }
    }

    /// The peer's mark: its last frame here.
    func noteDrained(_ context: ChannelHandlerContext) {
        connection.isDrained.store(true, ordering: .sequentiallyConsistent)
        let connection = connection
        shared.links.onHome { $0.drained(connection) }
        closeIfRetired(context)
    }

    private func closeIfRetired(_ context: ChannelHandlerContext) {
        guard isMarkSent, connection.isDrained.load(ordering: .sequentiallyConsistent) else { return }
        end("replaced by a renewed connection")
        context.close(promise: nil)
    }
}
