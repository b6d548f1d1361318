import OrchestryModel

/// What a node knows about an epoch that it acquired, until it gives the epoch up or loses it.
struct Tenure: Hashable, Sendable {
    let epoch: Epoch
    let acquiredAt: Instant
    /// By voter index: until when that voter's latest promise to this epoch counts (exclusive).
    var promisedUntil: [Instant]
    /// Until when the lease counts (exclusive).
    var leaseUntil: Instant
    /// The mode PostgreSQL confirmed. Nil: a solo claim was dropped and `quorum` is not confirmed yet.
    var mode: LeaseMode? = .quorum
    /// The statement that confirmed `mode`.
    var modeSeq: UInt64 = 0
    /// L4: the number of the last statement sent.
    var seq: UInt64 = 0
    /// The number of the last statement sent that asked for `quorum`: a solo confirmation from before it is void.
    var quorumSeq: UInt64 = 0
    /// The mode in the last statement sent.
    var asked: LeaseMode = .quorum
    /// The renewal that waits for its answer.
    var request: UInt64?
    var renewAt: Instant
    /// Not before this may solo be asked for: it was refused because an earlier holder's lease may still run.
    var soloAt: Instant
    var heartbeatAt: Instant
    /// Set while this node sends no heartbeats, so that others get a chance.
    var quietUntil: Instant?
    /// When it last gave the others a chance, or became active.
    var probedAt: Instant
    /// How long it is unanimous without a lease before it gives them the next one: short at first, in case only this node
    /// has lost PostgreSQL, longer each time that nobody did better.
    var probeWait: Int64
    /// Since when a majority has been valid without a gap.
    var majoritySince: Instant?
    /// Since when it has not been active.
    var inactiveSince: Instant?

    init(epoch: Epoch, at now: Instant, leaseUntil: Instant, renewAt: Instant, probeWait: Int64, voters: Int) {
        self.epoch = epoch
        acquiredAt = now
        promisedUntil = Array(repeating: now, count: voters)
        self.leaseUntil = leaseUntil
        self.renewAt = renewAt
        soloAt = now
        heartbeatAt = now
        probedAt = now
        self.probeWait = probeWait
        inactiveSince = now
    }

    /// Until when a majority's promises count; never before `acquiredAt`.
    var majorityUntil: Instant {
        promisedUntil.sorted(by: >)[promisedUntil.count / 2]
    }

    /// Until when every voter's promise counts.
    var unanimousUntil: Instant {
        promisedUntil.reduce(promisedUntil[0], min)
    }

    /// L2. `bound`: this node is under an unexpired promise to another.
    func activity(at now: Instant, bound: Bool) -> Activity {
        if now < leaseUntil {
            switch mode {
            case .quorum:
                let until = min(leaseUntil, majorityUntil)
                if now < until { return .active(epoch, mode: .quorum, until: until) }
            case .solo:
                if !bound { return .active(epoch, mode: .solo, until: leaseUntil) }
            case nil: break
            }
        }
        let until = unanimousUntil
        return now < until ? .active(epoch, mode: .unanimous, until: until) : .inactive
    }
}
