import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// What arrives.
extension ConnectionHandler {
    /// More than this before the peer counts as connected, in messages or bytes, is not kept.
    private static let heldMessages = 10_000
    private static let heldBytesLimit = 32 << 20
    /// While a connection is replaced, its successor's bulk channel is read no further than this ahead.
    private static let handoverBytes = 1 << 20

    /// After this long the other connections of the event loop have their turn: a buffer full of small requests takes
    /// longer than a heartbeat may wait.
    private static let turn = TimeAmount.milliseconds(2)
    /// So many frames are taken between two looks at the clock.
    private static let framesPerLook = 16

    /// Takes the frames that are complete, until one makes the connection pause or close, or its turn is over.
    func process(_ context: ChannelHandlerContext) {
        guard !isYielding else { return }
        let begun = NIODeadline.now()
        var frames = 0
        do throws(WireError) {
            while !isClosing, !isPaused, let frame = try decoder.next(from: &received) {
                shared.counters.all.framesReceived.add(1, ordering: .relaxed)
                traffic?.framesReceived.add(1, ordering: .relaxed)
                if let identity, !frame.type.isAllowed(on: identity.channel) {
                    fail(context, .unexpectedMessage, "\(frame.type) on the \(identity.channel) channel")
                    return
                }
                receive(try Message(frame), frame.correlation, bytes: frame.body.readableBytes, context)
                frames += 1
                if frames.isMultiple(of: Self.framesPerLook), NIODeadline.now() - begun > Self.turn {
                    yieldTurn(context)
                    break
                }
            }
            if received.readerIndex > 1 << 16 { received.discardReadBytes() }
        } catch {
            fail(context, error.code, error.description)
        }
    }

    /// Goes on after the others; nothing more is read until then.
    private func yieldTurn(_ context: ChannelHandlerContext) {
        isYielding = true
        let loop = context.eventLoop.assumeIsolated()
        loop.execute { [weak self] in
            guard let self else { return }
            self.isYielding = false
            guard !self.isClosing else { return }
            // One flush for all answers, as while reading.
            self.isReading = true
            self.process(context)
            self.isReading = false
            if self.mustDrain { self.drain(context) }
            self.readAgain(context)
        }
    }

    private func readAgain(_ context: ChannelHandlerContext) {
        guard isReadWanted, !isPaused, !isYielding, !isClosing else { return }
        isReadWanted = false
        context.read()
    }

    private func receive(_ message: Message, _ correlation: UInt64, bytes: Int, _ context: ChannelHandlerContext) {
        guard let identity else { return introduce(message, correlation, context) }
        let isReply = correlation & 1 == 1
        switch message {
        case .ping where !isReply:
            guard isWithinBudget() else { return }
            sendUrgent(.pong, context, correlation: correlation == 0 ? 0 : correlation | 1)
        case .pong where correlation == 0: notePong()
        case .renew where correlation == 0: renew(identity)
        case .error(.replaced, _) where correlation == 0: noteDrained(context)
        case .error(let code, let text) where correlation == 0:
            end("the peer says \(code): \(text)")
            context.close(promise: nil)
        case .election:
            guard isWithinBudget() else { return }
            shared.handler.received(message, correlation: correlation, from: identity.node.id)
        default:
            if isReleased || (isReply && !isHandingOver) {
                deliver(message, correlation, bytes: bytes, identity, context)
            } else {
                hold(message, correlation, bytes: bytes, identity, context)
            }
        }
    }

    private func deliver(
        _ message: Message, _ correlation: UInt64, bytes: Int, _ identity: PeerIdentity,
        _ context: ChannelHandlerContext
    ) {
        let peer = identity.node.id
        if correlation & 1 == 1 {
            if !shared.requests.answer(correlation - 1, message, from: peer) {
                shared.counters.lateReplies.add(1, ordering: .relaxed)
            }
            return
        }
        let limit = shared.configuration.backlogLimit
        let backlog = shared.handler.backlog(of: peer)
        if backlog >= limit {
            if identity.channel == .control, backlog >= limit * 64 {
                return fail(context, .overload, "\(backlog) things it asked for are not done yet")
            }
            if identity.channel == .control, correlation != 0 {
                shared.counters.all.requestsRefused.add(1, ordering: .relaxed)
                traffic?.requestsRefused.add(1, ordering: .relaxed)
                return refuse(correlation, "\(backlog) of your requests are not done yet", context)
            }
        }
        shared.handler.received(message, correlation: correlation, bytes: bytes, from: peer)
        // Bulk waits in the peer's own queues. Control goes on: heartbeats come that way.
        if identity.channel == .bulk, shared.handler.backlog(of: peer) >= limit { pauseForBacklog(of: peer, context) }
    }

    /// - Returns: false when more urgent messages came in this second than anybody needs; they may be lost.
    private func isWithinBudget() -> Bool {
        let now = NIODeadline.now()
        if now - urgentWindow.start >= .seconds(1) { urgentWindow = (now, 0) }
        urgentWindow.count += 1
        guard urgentWindow.count > shared.configuration.urgentPerSecond else { return true }
        shared.counters.all.floodDropped.add(1, ordering: .relaxed)
        traffic?.floodDropped.add(1, ordering: .relaxed)
        return false
    }

    private func renew(_ identity: PeerIdentity) {
        let now = NIODeadline.now()
        if let last = lastRenewRequest, now - last < .seconds(1) { return }
        lastRenewRequest = now
        shared.links.onHome { $0.renewRequested(by: identity.node.id, identity.channel) }
    }

    // MARK: Before the peer is connected

    private func hold(
        _ message: Message, _ correlation: UInt64, bytes: Int, _ identity: PeerIdentity,
        _ context: ChannelHandlerContext
    ) {
        guard held.count < Self.heldMessages, heldBytes <= Self.heldBytesLimit else {
            return fail(context, .overload, "too much before both connections stand")
        }
        held.append((message, correlation, bytes))
        heldBytes += bytes
        if isHandingOver, identity.channel == .bulk, heldBytes > Self.handoverBytes { isPaused = true }
    }

    func release(_ context: ChannelHandlerContext) {
        guard let identity else { return }
        isReleased = true
        isHandingOver = false
        let waiting = held
        held = []
        heldBytes = 0
        for item in waiting where !isClosing {
            deliver(item.message, item.correlation, bytes: item.bytes, identity, context)
        }
        resume(context)
    }

    // MARK: Pausing

    private func pauseForBacklog(of peer: NodeID, _ context: ChannelHandlerContext) {
        isPaused = true
        let loop = context.eventLoop.assumeIsolated()
        loop.scheduleTask(in: .milliseconds(10)) { [weak self] in
            guard let self, !self.isClosing, self.isPaused else { return }
            if self.shared.handler.backlog(of: peer) <= self.shared.configuration.backlogLimit / 2 {
                self.resume(context)
            } else {
                self.pauseForBacklog(of: peer, context)
            }
        }
    }

    private func resume(_ context: ChannelHandlerContext) {
        guard isPaused, !isClosing else { return }
        isPaused = false
        process(context)
        readAgain(context)
    }
}
