import Leadership
import OrchestryModel

/// The `leader_lease` row and the three statements on it (L3, L4, L7, L9), as PostgreSQL carries them out: one at a time,
/// by its own clock. What `PostgresStore` says in SQL must do the same.
public struct LeaseRegister: Sendable {
    /// The row. Times are PostgreSQL's `clock_timestamp()`.
    public struct Row: Hashable, Sendable {
        public var leader: NodeID
        public var epoch: Epoch
        public var mode: LeaseMode
        public var seq: UInt64
        public var acquiredAt: Instant
        public var renewedAt: Instant
        public var expiresAt: Instant
        public var priorExpiresAt: Instant
    }

    /// Nil: nobody ever acquired; counts as expired, with epoch 0.
    public private(set) var row: Row?
    /// L9, columns of the row too: the timeline on which it was last looked at; nobody acquires or goes solo before
    /// `notBefore`; acquired epochs are above `epochFloor`.
    public private(set) var timeline: UInt32 = 1
    public private(set) var notBefore: Instant?
    public private(set) var epochFloor = Epoch.none
    private let leaseTTL: Duration
    private let mutant: Mutant

    public init(leaseTTL: Duration, mutant: Mutant = .none) {
        self.leaseTTL = leaseTTL
        self.mutant = mutant
    }

    /// - Parameters:
    ///   - clock: PostgreSQL's clock when the statement is carried out.
    ///   - timeline: PostgreSQL's, one higher after each promotion of a standby.
    public mutating func execute(
        _ statement: LeaseRequest.Statement, by node: NodeID, clock: Instant, timeline: UInt32 = 1
    ) -> LeaseOutcome {
        if timeline != self.timeline { notePromotion(timeline, clock: clock) }
        switch statement {
        case .acquire(let votesGranted, let highestEpoch):
            return acquire(node, votesGranted: votesGranted, highestEpoch: highestEpoch, clock: clock)
        case .renew(let epoch, let seq, let mode): return renew(node, epoch, seq: seq, mode: mode, clock: clock)
        case .release(let epoch, let seq): return release(node, epoch, seq: seq, clock: clock)
        }
    }

    /// L5: whether a transaction of `leader` under `epoch` may change shared state.
    public func admits(_ epoch: Epoch, of leader: NodeID) -> Bool { row?.epoch == epoch && row?.leader == leader }

    /// L9: whether acquiring and solo are held back.
    public func isHeld(at clock: Instant) -> Bool { notBefore.map { clock < $0 } ?? false }

    /// L9: a standby was promoted, which may lack leases that their holders count on. What was granted before can't last
    /// longer than a TTL from here, whatever this server's clock says compared with the last one's.
    private mutating func notePromotion(_ timeline: UInt32, clock: Instant) {
        let promotions = UInt64(timeline - self.timeline)
        self.timeline = timeline
        let limit = clock + leaseTTL
        if let current = row {
            row?.expiresAt = min(current.expiresAt, limit)
            row?.priorExpiresAt = min(current.priorExpiresAt, limit)
        }
        if mutant != .dropPromotionHold { notBefore = limit }
        if mutant != .dropEpochFloor {
            epochFloor = Epoch(max(epochFloor, row?.epoch ?? .none).rawValue + 1_000 * promotions)
        }
    }

    private mutating func acquire(
        _ node: NodeID, votesGranted: Bool, highestEpoch: Epoch, clock: Instant
    ) -> LeaseOutcome {
        let mayTake = row.map { clock >= $0.expiresAt || ($0.mode == .quorum && votesGranted) } ?? true
        guard mayTake, !isHeld(at: clock) else { return refusal(clock) }
        let prior = row.map { max($0.priorExpiresAt, $0.expiresAt) } ?? clock
        let epoch = max(row?.epoch ?? .none, highestEpoch, epochFloor).next
        row = Row(
            leader: node, epoch: epoch, mode: .quorum, seq: 0, acquiredAt: clock, renewedAt: clock,
            expiresAt: clock + leaseTTL, priorExpiresAt: prior)
        return .acquired(epoch)
    }

    private func holds(_ node: NodeID, _ epoch: Epoch, seq: UInt64) -> Bool {
        guard let row, row.leader == node, row.epoch == epoch else { return false }
        return row.seq < seq || mutant == .dropSeq
    }

    private mutating func renew(
        _ node: NodeID, _ epoch: Epoch, seq: UInt64, mode: LeaseMode, clock: Instant
    ) -> LeaseOutcome {
        guard holds(node, epoch, seq: seq), let current = row else { return refusal(clock) }
        if mode == .solo {
            if clock < current.priorExpiresAt, mutant != .dropPriorExpiresAt { return refusal(clock) }
            if isHeld(at: clock) { return refusal(clock) }
        }
        row?.mode = mode
        row?.seq = seq
        row?.renewedAt = clock
        row?.expiresAt = clock + leaseTTL
        return .renewed(epoch: epoch, mode: mode)
    }

    private mutating func release(_ node: NodeID, _ epoch: Epoch, seq: UInt64, clock: Instant) -> LeaseOutcome {
        guard holds(node, epoch, seq: seq) else { return refusal(clock) }
        row?.seq = seq
        row?.expiresAt = clock
        return .released(epoch)
    }

    private func refusal(_ clock: Instant) -> LeaseOutcome {
        func wall(_ instant: Instant) -> WallTime { WallTime(milliseconds: instant.nanoseconds / 1_000_000) }
        return .refused(
            row.map {
                LeaseRow(
                    leader: $0.leader, epoch: $0.epoch, mode: $0.mode, acquiredAt: wall($0.acquiredAt),
                    renewedAt: wall($0.renewedAt), expiresAt: wall($0.expiresAt), expired: clock >= $0.expiresAt,
                    hostname: "", apiURL: "")
            })
    }
}
