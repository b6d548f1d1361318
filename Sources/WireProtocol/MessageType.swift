/// The byte that names a message. Never reused; a gap is free for its group.
public enum MessageType: UInt8, Hashable, Sendable, CaseIterable {
    case hello = 0x01
    case helloChallenge = 0x02
    case helloProof = 0x03
    case helloAccepted = 0x04
    case error = 0x05
    case ping = 0x06
    case pong = 0x07
    case renew = 0x08

    case heartbeat = 0x10
    case heartbeatAck = 0x11
    case voteRequest = 0x12
    case voteReply = 0x13
    case released = 0x14

    case inventory = 0x20
    case instanceCommand = 0x21
    case commandAck = 0x22
    case refused = 0x23
    case instanceStatus = 0x24

    case routingTable = 0x30
    case routingAck = 0x31

    case sampleBatch = 0x40
    case eventBatch = 0x41
    case eventAck = 0x42
    case heldRequests = 0x43

    case forwardRequest = 0x50
    case forwardResponse = 0x51

    case logRequest = 0x60
    case logChunk = 0x61
    case execRequest = 0x62
    case execData = 0x63

    /// Where a message may travel.
    public enum Route: Hashable, Sendable {
        /// Only while the Hello exchange lasts.
        case handshake
        case control
        case bulk
        /// Control when its frame is at most `WireLimits.forwardOnControl` long, bulk above.
        case bySize
        /// The channel it is about.
        case either
    }

    public var route: Route {
        switch self {
        case .hello, .helloChallenge, .helloProof, .helloAccepted: .handshake
        case .error, .ping, .pong, .renew: .either
        case .heartbeat, .heartbeatAck, .voteRequest, .voteReply, .released: .control
        case .instanceCommand, .commandAck, .refused: .control
        // Clients wait: it must not stand behind megabytes.
        case .heldRequests: .control
        // Statuses share a channel with inventories, so that an older picture never overtakes a newer one.
        case .inventory, .instanceStatus, .routingTable, .routingAck: .bulk
        case .sampleBatch, .eventBatch, .eventAck, .logRequest, .logChunk, .execRequest, .execData: .bulk
        case .forwardRequest, .forwardResponse: .bySize
        }
    }

    /// Whether a frame of this type may arrive on `channel` after the Hello exchange.
    public func isAllowed(on channel: ChannelKind) -> Bool {
        switch route {
        case .handshake: false
        case .control: channel == .control
        case .bulk: channel == .bulk
        case .bySize, .either: true
        }
    }

    /// Election messages go out before anything that waits.
    public var isUrgent: Bool { (0x10...0x14).contains(rawValue) }

    /// The longest frame of this type.
    public var frameLimit: UInt32 {
        switch route {
        case .handshake: WireLimits.helloFrame
        case .control, .either: WireLimits.controlFrame
        case .bulk, .bySize: WireLimits.bulkFrame
        }
    }
}
