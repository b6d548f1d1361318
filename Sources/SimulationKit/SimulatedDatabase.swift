import Leadership
import OrchestryModel

/// What PostgreSQL holds: the lease's row, the requests carried out and what they did, and how it looked a moment ago,
/// since a standby that is promoted may lack the last transactions.
struct SimulatedDatabase: Sendable {
    /// A committed write: a row of `requests` and what it changed, in one transaction.
    struct Entry: Hashable, Sendable {
        var key: UInt64
        var epoch: Epoch
        var leader: Int
        var committedAt: Int64
    }

    enum WriteOutcome: Hashable, Sendable {
        case committed
        /// Carried out before: the stored answer stands.
        case duplicate
        case fenced
        /// A lost connection: it may or may not have been carried out.
        case unknown
    }

    /// What a promotion loses.
    struct Loss: Sendable {
        var writes: [Entry]
        var leaseCommits: Int
        var epochs: Int
    }

    private(set) var register: LeaseRegister
    private(set) var log: [Entry] = []
    /// Counts promotions, as PostgreSQL's timelines do.
    private(set) var timeline: UInt32 = 1
    /// The table `requests`: where in `log` it is.
    private var requests: [UInt64: Int] = [:]
    /// The register as of each of its changes, oldest first; the first one is from the beginning or before `reach`.
    private var past: [(time: Int64, register: LeaseRegister)]
    private let mutant: Mutant

    /// Nanoseconds: how far back a standby may be.
    static let reach: Int64 = 5_000_000_000

    init(leaseTTL: Duration, mutant: Mutant) {
        register = LeaseRegister(leaseTTL: leaseTTL, mutant: mutant)
        past = [(Int64.min, register)]
        self.mutant = mutant
    }

    mutating func execute(
        _ statement: LeaseRequest.Statement, by node: NodeID, clock: Instant, at now: Int64
    ) -> LeaseOutcome {
        let outcome = register.execute(statement, by: node, clock: clock, timeline: timeline)
        while past.count > 1, past[1].time < now - Self.reach { past.removeFirst() }
        past.append((now, register))
        return outcome
    }

    /// One fenced transaction (L5).
    mutating func write(_ key: UInt64, _ epoch: Epoch, by leader: Int, _ name: NodeID, at now: Int64) -> WriteOutcome {
        guard register.admits(epoch, of: name) || mutant == .dropFence else { return .fenced }
        if requests[key] != nil, mutant != .dropIdempotency { return .duplicate }
        requests[key] = log.count
        log.append(Entry(key: key, epoch: epoch, leader: leader, committedAt: now))
        return .committed
    }

    func holds(_ key: UInt64) -> Bool { requests[key] != nil }

    /// A standby takes over that has what was committed up to `time`, and nothing later.
    mutating func promote(asOf time: Int64) -> Loss {
        timeline += 1
        var loss = Loss(writes: [], leaseCommits: 0, epochs: 0)
        while let entry = log.last, entry.committedAt > time {
            log.removeLast()
            requests[entry.key] = nil
            loss.writes.append(entry)
        }
        let newest = register.row?.epoch
        while past.count > 1, let last = past.last, last.time > time {
            past.removeLast()
            loss.leaseCommits += 1
        }
        if let last = past.last { register = last.register }
        if register.row?.epoch != newest { loss.epochs = 1 }
        return loss
    }
}
