import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// Whether anybody is there, and the end.
extension ConnectionHandler {
    // MARK: Silence

    func noteRead() {
        connection.lastRead.store(NIODeadline.now().uptimeNanoseconds, ordering: .relaxed)
    }

    func scheduleCheck(_ context: ChannelHandlerContext) {
        let loop = context.eventLoop.assumeIsolated()
        nextCheck = loop.scheduleTask(in: TimeAmount(shared.timing.pingAfter)) { [weak self] in self?.check(context) }
    }

    private func check(_ context: ChannelHandlerContext) {
        guard !isClosing else { return }
        let now = NIODeadline.now()
        let interval = TimeAmount(shared.timing.pingAfter)
        // A check that comes far too late means that *this* process stood still: what the peer sent may be waiting.
        let stoodStill = now - lastCheck > interval + interval
        if stoodStill, blockedSince != nil { blockedSince = now }
        // And a connection that is not read from tells nothing about the peer.
        if stoodStill || isPaused { noteRead() }
        // Nor are its Pings answered: this says that we live.
        if isPaused { sendUrgent(.pong, context) }
        lastCheck = now
        let silent = now - NIODeadline.uptimeNanoseconds(connection.lastRead.load(ordering: .relaxed))
        if silent >= TimeAmount(shared.timing.silenceLimit) {
            end("silent for \(silent.nanoseconds / 1_000_000) ms")
            return context.close(promise: nil)
        }
        if let blockedSince, now - blockedSince >= TimeAmount(shared.timing.stallLimit) {
            end("it has not read for \((now - blockedSince).nanoseconds / 1_000_000) ms")
            return context.close(promise: nil)
        }
        let isControl = identity?.channel == .control
        let mustMeasure =
            isControl && measuredAt.map { now - $0 >= TimeAmount(shared.timing.measureEvery) } ?? isControl
        if silent >= interval || mustMeasure {
            if pingSentAt == nil { pingSentAt = now }
            if mustMeasure { measuredAt = now }
            sendUrgent(.ping, context)
        }
        scheduleCheck(context)
    }

    /// Pongs come in the order of the Pings, so the first one after a Ping belongs to it or to an earlier one of the
    /// links' own, which makes the figure too small by less than one round trip, once in a while.
    func notePong() {
        guard let sent = pingSentAt else { return }
        pingSentAt = nil
        guard identity?.channel == .control else { return }
        let trip = (NIODeadline.now() - sent).nanoseconds
        traffic?.roundTrip.store(UInt64(max(1, trip)), ordering: .relaxed)
    }

    // MARK: The end

    /// Tells the peer why, and closes.
    func fail(_ context: ChannelHandlerContext, _ code: ErrorCode, _ reason: String, isRefusal: Bool = true) {
        guard !isClosing else { return }
        if isRefusal { shared.counters.connectionsRefused.add(1, ordering: .relaxed) }
        end(reason)
        let promise = context.eventLoop.makePromise(of: Void.self)
        writeNow(.error(code: code, message: reason), context, promise: promise)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        // A peer that does not read must not keep the connection open.
        context.eventLoop.scheduleTask(in: .milliseconds(300)) { channel.close(promise: nil) }
    }

    /// Once: nothing is received or sent from here on, and the links know.
    func end(_ reason: String) {
        guard !isClosing else { return }
        isClosing = true
        helloTimeout?.cancel()
        nextCheck?.cancel()
        held = []
        received = ByteBuffer()
        let lost = UInt64(connection.outbound.close())
        shared.counters.all.sampleBatchesDropped.add(lost, ordering: .relaxed)
        traffic?.sampleBatchesDropped.add(lost, ordering: .relaxed)
        if identity == nil, side == .acceptor {
            shared.links.noteTurnedAway(
                address: connection.remoteAddress, host: connection.remoteHost,
                claimed: handshake.claimed?.rawValue ?? "unknown", reason: reason)
        }
        let (connection, side, identity) = (connection, side, identity)
        shared.links.onHome { $0.closed(connection, side, identity, reason: reason) }
    }
}
