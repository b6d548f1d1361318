import OrchestryModel

/// Everything two nodes can say to each other under protocol version 1. Fields and bytes: `proto-spec/messages.md`.
public enum Message: Hashable, Sendable {
    /// First frame of the node that dialled.
    case hello(Hello)
    /// Without TLS only: the dialled node's own nonce, and HMAC-SHA256 that shows it to know the shared secret; 32 bytes
    /// each.
    case helloChallenge(nonce: [UInt8], proof: [UInt8])
    /// Without TLS only: the dialling node shows the same; 32 bytes.
    case helloProof([UInt8])
    /// Ends the Hello exchange.
    case helloAccepted(HelloAccepted)
    /// One-way: the sender closes the connection. As a reply: the request failed, the connection stays.
    case error(code: ErrorCode, message: String)
    case ping
    case pong
    /// One-way, from the node that was dialled: dial this channel anew, since the sender's certificate has changed.
    case renew

    case election(ElectionMessage)

    case inventory(Inventory)
    case instanceCommand(epoch: Epoch, command: InstanceCommand)
    /// The command has been taken on (not: carried out).
    case commandAck
    /// The command's epoch is below `epoch`, the highest the agent has seen.
    case refused(epoch: Epoch)
    case instanceStatus(InstanceStatus)

    case routingTable(RoutingTable)
    /// The sender's proxy has applied this version.
    case routingAck(RoutingTable.Version)

    case sampleBatch([Sample])
    case eventBatch(events: [Event], decisions: [ScalingDecision])
    /// Everything of the receiver up to and including these sequences is in PostgreSQL. 0: nothing.
    case eventAck(eventsUpTo: Int64, decisionsUpTo: Int64)
    /// Only to a peer with `PeerFeatures.activation`. At most 1,000 apps; what is over comes with the next one.
    case heldRequests(HeldRequests)

    /// `deadlineMilliseconds`: how long the sender will wait, counted from the receipt.
    case forwardRequest(ControlRequest, deadlineMilliseconds: UInt64)
    case forwardResponse(ControlResponse)

    /// `tailLines`: 0…100,000.
    case logRequest(instance: InstanceID, tailLines: Int)
    /// Oldest line first, without line ends. More chunks follow under the same correlation id unless `isLast`.
    case logChunk(lines: [String], isLast: Bool)

    /// A request to run `Operation.exec` of an instance of the receiver's, answered by ForwardResponse: 200 and the session
    /// has begun, or the problem. `session` is the sender's number for it. Only to a peer with `PeerFeatures.streams`.
    case execRequest(session: UInt64, request: ControlRequest)
    /// `isToRunner`: from the node that asked, else from the one that runs the command.
    case execData(session: UInt64, isToRunner: Bool, frame: ExecFrame)

    public var type: MessageType {
        switch self {
        case .hello: .hello
        case .helloChallenge: .helloChallenge
        case .helloProof: .helloProof
        case .helloAccepted: .helloAccepted
        case .error: .error
        case .ping: .ping
        case .pong: .pong
        case .renew: .renew
        case .election(.heartbeat): .heartbeat
        case .election(.heartbeatAck): .heartbeatAck
        case .election(.voteRequest): .voteRequest
        case .election(.voteReply): .voteReply
        case .election(.released): .released
        case .inventory: .inventory
        case .instanceCommand: .instanceCommand
        case .commandAck: .commandAck
        case .refused: .refused
        case .instanceStatus: .instanceStatus
        case .routingTable: .routingTable
        case .routingAck: .routingAck
        case .sampleBatch: .sampleBatch
        case .eventBatch: .eventBatch
        case .eventAck: .eventAck
        case .heldRequests: .heldRequests
        case .forwardRequest: .forwardRequest
        case .forwardResponse: .forwardResponse
        case .logRequest: .logRequest
        case .logChunk: .logChunk
        case .execRequest: .execRequest
        case .execData: .execData
        }
    }

    /// Splits log lines into chunks of about `chunkBytes` (at least one chunk, the last one marked), so that no frame
    /// comes near its limit.
    public static func logChunks(of lines: [String], chunkBytes: Int = 256 << 10) -> [Message] {
        var chunks: [Message] = []
        var pending: [String] = []
        var bytes = 0
        for line in lines {
            if bytes >= chunkBytes {
                chunks.append(.logChunk(lines: pending, isLast: false))
                pending = []
                bytes = 0
            }
            pending.append(line)
            bytes += min(line.utf8.count, WireLimits.logLineBytes) + 3
        }
        chunks.append(.logChunk(lines: pending, isLast: true))
        return chunks
    }
}
