import NIOCore
import Synchronization
import WireProtocol

/// What the rest of the transport may do with one TCP connection, from any thread.
final class Connection: Sendable {
    /// Sent to the connection's handler, which carries it out on its event loop.
    enum Command: Sendable {
        case drain
        /// The links have room for this incoming connection. `continues`: it goes on where another one ends.
        case accept(continues: Bool)
        case refuse(ErrorCode, String)
        /// The peer is connected on both channels: hand over what was held, and all that follows.
        case release
        case hold
        /// Send a Ping, to see whether anybody is there.
        case probe
        /// Another connection goes on from here: say so behind what was sent, read to the end, close.
        case retire
        /// Tell the peer if there is a code for it, and close.
        case close(ErrorCode?, String)
    }

    let channel: any Channel
    let outbound: Outbound
    /// Of the certificates it was made with (`TransportSecurity.generation`).
    let generation: Int
    /// Dialled to go on where a standing connection ends.
    let isRenewal: Bool
    /// For the log; taken when the connection was made, since a closed one has none.
    let remoteAddress: String
    /// The same without the port.
    let remoteHost: String
    /// Uptime nanoseconds of the last bytes that arrived.
    let lastRead = Atomic<UInt64>(0)
    /// It has been one of its peer's two.
    let wasAdopted = Atomic<Bool>(false)
    /// Its Hello exchange is over (incoming ones only).
    let isIntroduced = Atomic<Bool>(false)
    /// The peer has said that nothing more comes, since another connection goes on.
    let isDrained = Atomic<Bool>(false)

    init(channel: any Channel, outbound: Outbound, generation: Int, isRenewal: Bool) {
        self.channel = channel
        self.outbound = outbound
        self.generation = generation
        self.isRenewal = isRenewal
        remoteAddress = channel.remoteAddress.map(String.init(describing:)) ?? "unknown"
        remoteHost = channel.remoteAddress?.ipAddress ?? "unknown"
    }

    func perform(_ command: Command) {
        // A failed command means the channel is closed already, and its handler has reported that.
        channel.triggerUserOutboundEvent(command, promise: nil)
    }

    /// - Returns: as `Outbound.add`.
    func send(_ frame: ByteBuffer, lane: Outbound.Lane) -> Outbound.Outcome {
        let outcome = outbound.add(frame, lane: lane)
        if case .queued(mustDrain: true, _) = outcome { perform(.drain) }
        return outcome
    }
}
