/// How the leader holds its lease: with a majority of voters behind it, or alone.
public enum LeaseMode: String, Hashable, Sendable, Codable { case quorum, solo }

/// What one node says to another about leadership (design §3). Epochs are fencing tokens; `sentAt` is the sender's own
/// monotonic clock in microseconds and means something only to the sender, to whom it is echoed.
public enum ElectionMessage: Hashable, Sendable {
    case heartbeat(epoch: Epoch, sentAt: UInt64)
    case heartbeatAck(epoch: Epoch, sentAt: UInt64)
    /// `round` is the candidate's own counter; replies echo it.
    case voteRequest(round: UInt32)
    case voteReply(round: UInt32, granted: Bool, highestEpoch: Epoch)
    /// The sender gave up this epoch of its own accord: promises to `(sender, epoch)` end.
    case released(epoch: Epoch)
}

/// One statement on the `leader_lease` row. `id` matches a request with its reply.
public struct LeaseRequest: Hashable, Sendable {
    public enum Statement: Hashable, Sendable {
        /// L3. `votesGranted`: a majority granted a vote in this round, so an unexpired `quorum` lease may be taken over.
        /// `highestEpoch`: the highest epoch reported by the voters asked, or seen.
        case acquire(votesGranted: Bool, highestEpoch: Epoch)
        /// L4. `seq` is higher than in any statement sent before under this epoch.
        case renew(epoch: Epoch, seq: UInt64, mode: LeaseMode)
        /// L7. Sets `expires_at` to now.
        case release(epoch: Epoch, seq: UInt64)
    }
    public var id: UInt64
    public var statement: Statement
    public init(id: UInt64, statement: Statement) {
        self.id = id
        self.statement = statement
    }
}

/// What PostgreSQL said.
public enum LeaseOutcome: Hashable, Sendable {
    case acquired(Epoch)
    /// The row now has this mode (what was asked for).
    case renewed(epoch: Epoch, mode: LeaseMode)
    case released(Epoch)
    /// No row was changed; what the row says now (a moment later).
    case refused(LeaseRow?)
    /// No answer, a lost connection or a time-out: the statement may or may not have been carried out.
    case failed(String)
}

/// The `leader_lease` row as read. Times are PostgreSQL's.
public struct LeaseRow: Hashable, Sendable, Codable {
    public var leader: NodeID
    public var epoch: Epoch
    public var mode: LeaseMode
    public var acquiredAt: WallTime
    public var renewedAt: WallTime
    public var expiresAt: WallTime
    /// By PostgreSQL's clock when it was read.
    public var expired: Bool
    public var hostname: String
    public var apiURL: String
    public init(
        leader: NodeID, epoch: Epoch, mode: LeaseMode, acquiredAt: WallTime, renewedAt: WallTime,
        expiresAt: WallTime, expired: Bool, hostname: String, apiURL: String
    ) {
        self.leader = leader
        self.epoch = epoch
        self.mode = mode
        self.acquiredAt = acquiredAt
        self.renewedAt = renewedAt
        self.expiresAt = expiresAt
        self.expired = expired
        self.hostname = hostname
        self.apiURL = apiURL
    }
}
