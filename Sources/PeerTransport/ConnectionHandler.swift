import Logging
import NIOCore
import NIOSSL
import OrchestryModel
import Synchronization
import WireProtocol

/// The last handler of every connection: frames in and out, the Hello exchange, Pings, and the end.
///
/// It belongs to its event loop. Others reach it by `Connection.Command`s; it reaches the links by hopping to theirs.
final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What all connections of a transport have in common.
    struct Shared: Sendable {
        var local: Handshake.Local
        var timing: PeerTransportConfiguration.Timing
        var security: TransportSecurity
        var counters: Counters
        var requests: RequestTable
        var handler: any PeerHandler
        var links: LinkTable
        var logger: Logger
    }

    private let shared: Shared
    private let side: Handshake.Side
    private let connection: Connection
    private var handshake: Handshake
    private var decoder = FrameDecoder(limit: WireLimits.helloFrame)
    private var received = ByteBuffer()
    /// Set when the Hello exchange is over.
    private var identity: PeerIdentity?
    private var isReleased = false
    /// What came before the peer counted as connected.
    private var held: [(message: Message, correlation: UInt64)] = []
    private static let heldLimit = 10_000
    private var isClosing = false
    private var isReading = false
    private var isDraining = false
    private var mustDrain = false
    private var helloTimeout: Scheduled<Void>?
    private var nextCheck: Scheduled<Void>?
    private var lastCheck = NIODeadline.now()

    init(side: Handshake.Side, connection: Connection, shared: Shared) {
        self.side = side
        self.connection = connection
        self.shared = shared
        handshake = Handshake(side: side, local: shared.local)
    }

    // MARK: Channel events

    func channelActive(context: ChannelHandlerContext) {
        noteRead()
        let connection = connection
        shared.links.onHome { $0.opened(connection) }
        let loop = context.eventLoop.assumeIsolated()
        helloTimeout = loop.scheduleTask(in: TimeAmount(shared.timing.helloTimeout)) { [weak self] in
            self?.fail(context, .helloTimeout, "no complete Hello exchange in time")
        }
        run(handshake.begin(nonce: Self.makeNonce()), context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        var bytes = unwrapInboundIn(data)
        isReading = true
        noteRead()
        shared.counters.bytesReceived.add(UInt64(bytes.readableBytes), ordering: .relaxed)
        if received.readableBytes == 0 { received = bytes } else { received.writeBuffer(&bytes) }
        do throws(WireError) {
            while !isClosing, let frame = try decoder.next(from: &received) {
                shared.counters.framesReceived.add(1, ordering: .relaxed)
                if let identity, !frame.type.isAllowed(on: identity.channel) {
                    fail(context, .unexpectedMessage, "\(frame.type) on the \(identity.channel) channel")
                    return
                }
                receive(try Message(frame), frame.correlation, context)
            }
            if received.readerIndex > 1 << 16 { received.discardReadBytes() }
        } catch {
            fail(context, error.code, error.description)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if mustDrain { drain(context) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { drain(context) }

    func channelInactive(context: ChannelHandlerContext) { end("the connection was closed by the other side") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let tls = error as? NIOSSLError, case .uncleanShutdown = tls {
            end("the connection broke off")
        } else {
            end("\(error)")
        }
        context.close(promise: nil)
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let command = event as? Connection.Command else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        promise?.succeed()
        guard !isClosing else { return }
        switch command {
        case .drain: drain(context)
        case .accept: run(handshake.admitted(), context)
        case .refuse(let code, let reason): fail(context, code, reason)
        case .release: release()
        case .hold: isReleased = false
        case .probe: sendUrgent(.ping, context)
        case .close(let code?, let reason): fail(context, code, reason, isRefusal: false)
        case .close(nil, let reason):
            end(reason)
            context.close(promise: nil)
        }
    }

    // MARK: Receiving

    private func receive(_ message: Message, _ correlation: UInt64, _ context: ChannelHandlerContext) {
        guard let identity else {
            guard correlation == 0 else {
                return fail(context, .unexpectedMessage, "a correlation id during the Hello exchange")
            }
            let names: [String]?
            switch message {
            case .hello, .helloAccepted: names = shared.security.certificateNames(context.channel)
            default: names = []
            }
            return run(handshake.receive(message, certificateNames: names, nonce: Self.makeNonce()), context)
        }
        let peer = identity.node.id
        switch message {
        case .ping where correlation & 1 == 0:
            sendUrgent(.pong, context, correlation: correlation == 0 ? 0 : correlation | 1)
        case .pong where correlation == 0: break
        case .error(let code, let text) where correlation == 0:
            end("the peer says \(code): \(text)")
            context.close(promise: nil)
        case _ where correlation & 1 == 1:
            if !shared.requests.answer(correlation - 1, message, from: peer) {
                shared.counters.lateReplies.add(1, ordering: .relaxed)
            }
        case .election: shared.handler.received(message, correlation: correlation, from: peer)
        default:
            if isReleased {
                shared.handler.received(message, correlation: correlation, from: peer)
            } else if held.count < Self.heldLimit {
                held.append((message, correlation))
            } else {
                fail(context, .unexpectedMessage, "too much before both connections stand")
            }
        }
    }

    private func release() {
        guard let peer = identity?.node.id else { return }
        isReleased = true
        let waiting = held
        held = []
        for item in waiting { shared.handler.received(item.message, correlation: item.correlation, from: peer) }
    }

    // MARK: The Hello exchange

    private func run(_ steps: [Handshake.Step], _ context: ChannelHandlerContext) {
        let connection = connection
        for step in steps {
            switch step {
            case .send(let message): writeNow(message, context)
            case .requestAdmission(let identity): shared.links.onHome { $0.admit(connection, identity) }
            case .establish(let identity): establish(identity, context)
            case .fail(let code, let reason): fail(context, code, reason)
            case .refused(_, let reason):
                end(reason)
                context.close(promise: nil)
            }
        }
    }

    private func establish(_ identity: PeerIdentity, _ context: ChannelHandlerContext) {
        self.identity = identity
        helloTimeout?.cancel()
        decoder.limit = identity.channel == .control ? WireLimits.controlFrame : WireLimits.bulkFrame
        connection.outbound.open(identity.channel)
        lastCheck = .now()
        scheduleCheck(context)
        let connection = connection
        if side != .acceptor { shared.links.onHome { $0.adopt(connection, identity) } }
        drain(context)
    }

    private static func makeNonce() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<WireLimits.proofBytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    // MARK: Sending

    /// Past the queue, for the Hello exchange and for last words.
    private func writeNow(_ message: Message, _ context: ChannelHandlerContext, promise: EventLoopPromise<Void>? = nil)
    {
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

    private func sendUrgent(_ message: Message, _ context: ChannelHandlerContext, correlation: UInt64 = 0) {
        var buffer = context.channel.allocator.buffer(capacity: 16)
        // Pings and Pongs have no body that could break a rule, and one too many may be lost.
        guard (try? FrameEncoder.encode(message, correlation: correlation, into: &buffer)) != nil else { return }
        _ = connection.outbound.add(buffer, lane: .urgent)
        drain(context)
    }

    /// Writes what waits: all of the urgent, of the rest what the socket's buffer has room for.
    private func drain(_ context: ChannelHandlerContext) {
        if isReading {
            // One flush for all answers to what has arrived together.
            mustDrain = true
            return
        }
        // A flush can make the channel writable and come back here.
        guard !isClosing, !isDraining else { return }
        isDraining = true
        defer { isDraining = false }
        mustDrain = false
        connection.outbound.beginDrain()
        var unflushed = 0
        while let frame = connection.outbound.next(isWritable: context.channel.isWritable) {
            countSent(frame)
            unflushed += frame.readableBytes
            context.write(wrapOutboundOut(frame), promise: nil)
            // TLS takes everything until a flush, so without one the channel would seem writable for ever.
            if unflushed >= 1 << 15 {
                context.flush()
                unflushed = 0
            }
        }
        if unflushed > 0 { context.flush() }
    }

    private func countSent(_ frame: ByteBuffer) {
        shared.counters.framesSent.add(1, ordering: .relaxed)
        shared.counters.bytesSent.add(UInt64(frame.readableBytes), ordering: .relaxed)
    }

    // MARK: Silence

    private func noteRead() {
        connection.lastRead.store(NIODeadline.now().uptimeNanoseconds, ordering: .relaxed)
    }

    private func scheduleCheck(_ context: ChannelHandlerContext) {
        let loop = context.eventLoop.assumeIsolated()
        nextCheck = loop.scheduleTask(in: TimeAmount(shared.timing.pingAfter)) { [weak self] in self?.check(context) }
    }

    private func check(_ context: ChannelHandlerContext) {
        guard !isClosing else { return }
        let now = NIODeadline.now()
        let interval = TimeAmount(shared.timing.pingAfter)
        // A check that comes far too late means that *this* process stood still: what the peer sent may be waiting.
        if now - lastCheck > interval + interval { noteRead() }
        lastCheck = now
        let silent = now - NIODeadline.uptimeNanoseconds(connection.lastRead.load(ordering: .relaxed))
        if silent >= TimeAmount(shared.timing.silenceLimit) {
            end("silent for \(silent.nanoseconds / 1_000_000) ms")
            return context.close(promise: nil)
        }
        if silent >= interval { sendUrgent(.ping, context) }
        scheduleCheck(context)
    }

    // MARK: The end

    /// Tells the peer why, and closes.
    private func fail(
        _ context: ChannelHandlerContext, _ code: ErrorCode, _ reason: String, isRefusal: Bool = true
    ) {
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
    private func end(_ reason: String) {
        guard !isClosing else { return }
        isClosing = true
        helloTimeout?.cancel()
        nextCheck?.cancel()
        let lost = connection.outbound.close()
        shared.counters.sampleBatchesDropped.add(UInt64(lost), ordering: .relaxed)
        if identity == nil, side == .acceptor {
            shared.logger.warning(
                "Incoming connection ended before it was accepted",
                metadata: [
                    "peer.id": "\(handshake.claimed?.rawValue ?? "unknown")", "reason": "\(reason)",
                    "address": "\(connection.remoteAddress)",
                ])
        }
        let (connection, side, identity) = (connection, side, identity)
        shared.links.onHome { $0.closed(connection, side, identity, reason: reason) }
    }
}
