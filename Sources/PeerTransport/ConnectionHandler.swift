import Logging
import NIOCore
import NIOSSL
import OrchestryModel
import Synchronization
import WireProtocol

/// The last handler of every connection: frames in and out, the Hello exchange, Pings, and the end.
///
/// It belongs to its event loop. Others reach it by `Connection.Command`s; it reaches the links by hopping to theirs.
/// Its parts: what arrives (`+Receiving`), what leaves (`+Sending`), liveness and the end (`+Life`).
final class ConnectionHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What all connections of a transport have in common.
    struct Shared: Sendable {
        var local: Handshake.Local
        var configuration: PeerTransportConfiguration
        var security: TransportSecurity
        var counters: Counters
        var requests: RequestTable
        var handler: any PeerHandler
        var links: LinkTable
        var logger: Logger

        var timing: PeerTransportConfiguration.Timing { configuration.timing }
    }

    let shared: Shared
    let side: Handshake.Side
    let connection: Connection
    var handshake: Handshake
    /// Set when the Hello exchange is over.
    var identity: PeerIdentity?
    /// From then on.
    var traffic: Counters.Traffic?
    var isClosing = false

    // Receiving
    var decoder = FrameDecoder(limit: WireLimits.helloFrame)
    var received = ByteBuffer()
    var isReleased = false
    /// It goes on where another connection ends, and that one's last frames may still be on their way.
    var isHandingOver = false
    /// What came before the peer counted as connected, or before the end of the connection this one goes on from.
    var held: [(message: Message, correlation: UInt64, bytes: Int)] = []
    var heldBytes = 0
    var isReading = false
    /// Nothing is read while the peer is ahead of us.
    var isPaused = false
    var isReadWanted = false
    /// Frames wait for this connection's next turn on the event loop.
    var isYielding = false
    /// The second in which urgent messages are counted, and their number.
    var urgentWindow = (start: NIODeadline.now(), count: 0)
    var lastRenewRequest: NIODeadline?

    // Sending
    var isDraining = false
    var mustDrain = false
    /// Since when the peer has not made room in the socket's buffer, and the urgent frames written all the same.
    var blockedSince: NIODeadline?
    var urgentWhileBlocked = 0
    /// What was written is followed by the word that another connection goes on.
    var isRetiring = false
    var isMarkSent = false

    // Life
    var helloTimeout: Scheduled<Void>?
    var nextCheck: Scheduled<Void>?
    var lastCheck = NIODeadline.now()
    var pingSentAt: NIODeadline?
    var measuredAt: NIODeadline?

    init(side: Handshake.Side, connection: Connection, shared: Shared) {
        self.side = side
        self.connection = connection
        self.shared = shared
        handshake = Handshake(side: side, local: shared.local, continues: connection.isRenewal)
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
        let count = UInt64(bytes.readableBytes)
        shared.counters.all.bytesReceived.add(count, ordering: .relaxed)
        traffic?.bytesReceived.add(count, ordering: .relaxed)
        if received.readableBytes == 0 { received = bytes } else { received.writeBuffer(&bytes) }
        process(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if mustDrain { drain(context) }
    }

    func read(context: ChannelHandlerContext) {
        if isPaused || isYielding { isReadWanted = true } else { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            blockedSince = nil
            urgentWhileBlocked = 0
            drain(context)
        } else if blockedSince == nil {
            blockedSince = .now()
        }
    }

    func channelInactive(context: ChannelHandlerContext) { end("the connection was closed by the other side") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let tls = error as? NIOSSLError, case .uncleanShutdown = tls {
            end("the connection broke off")
        } else {
            end(Self.words(for: error))
        }
        context.close(promise: nil)
    }

    /// The two that an operator meets when certificates are not in order, in words; the rest as it comes.
    private static func words(for error: any Error) -> String {
        let text = "\(error)"
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return "TLS: its certificate has ended, or none of the authorities that are trusted here has signed it"
        }
        if text.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE") { return "TLS: it shows no certificate" }
        return text
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
        case .accept(let continues): run(handshake.admitted(continues: continues), context)
        case .refuse(let code, let reason): fail(context, code, reason)
        case .release: release(context)
        case .hold: isReleased = false
        case .probe: sendUrgent(.ping, context)
        case .retire: retire(context)
        case .close(let code?, let reason): fail(context, code, reason, isRefusal: false)
        case .close(nil, let reason):
            end(reason)
            context.close(promise: nil)
        }
    }

    // MARK: The Hello exchange

    func introduce(_ message: Message, _ correlation: UInt64, _ context: ChannelHandlerContext) {
        guard correlation == 0 else {
            return fail(context, .unexpectedMessage, "a correlation id during the Hello exchange")
        }
        let names: [String]?
        switch message {
        case .hello, .helloAccepted: names = shared.security.certificateNames(context.channel)
        default: names = []
        }
        run(handshake.receive(message, certificateNames: names, nonce: Self.makeNonce()), context)
    }

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
        traffic = shared.counters.peer(identity.node.id)
        isHandingOver = identity.continues
        helloTimeout?.cancel()
        decoder.limit = identity.channel == .control ? WireLimits.controlFrame : WireLimits.bulkFrame
        lastCheck = .now()
        scheduleCheck(context)
        let connection = connection
        if side == .acceptor {
            if connection.isIntroduced.exchange(true, ordering: .relaxed) == false {
                shared.links.doorkeeper.introduced(connection.remoteHost)
            }
        } else {
            shared.links.onHome { $0.adopt(connection, identity) }
        }
        drain(context)
    }

    private static func makeNonce() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<WireLimits.proofBytes).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}
