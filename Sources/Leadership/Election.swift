import OrchestryModel

/// Decides whether this node may act as leader, and what it says to the other voters and to PostgreSQL for that.
/// Pure: no clock, I/O, randomness or logging. Rules L1–L9 are in proto-spec/lease.md.
///
/// Safety: at most one voter is active at any instant, whatever happens to messages, nodes and PostgreSQL, as long as
/// - every clock's rate (PostgreSQL's too) stays within `settings.drift` of true time and no clock goes back,
/// - PostgreSQL loses no committed row, except by the promotion of a standby, which L9 makes up for,
/// - `now` is read after the input arrived and before the outputs leave, and outputs are carried out in order.
///
/// The shell calls `handle` for each input and `.tick` no later than `nextDeadline`, and asks `activity(at:)` with a
/// fresh reading of the clock immediately before every act as leader.
public struct Election: Sendable {
    public enum Input: Hashable, Sendable {
        case tick
        case received(ElectionMessage, from: NodeID)
        case leaseReply(id: UInt64, LeaseOutcome)
        /// How fresh this node's metrics are; higher is fresher (L8).
        case freshness(Int64)
        /// The same of another voter, as it last said, on the same scale. Without it that voter counts as equally fresh.
        case peerFreshness(Int64, of: NodeID)
        /// L5: an agent has seen this epoch. A leader of a lower one would lead in vain.
        case epochSeen(Epoch)
        /// L7, then never lead again. It goes on voting.
        case leave
        /// L7; it may lead again once the others had their chance.
        case stepDown
    }

    /// To be carried out in the order given.
    public enum Output: Hashable, Sendable {
        case send(ElectionMessage, to: NodeID)
        /// To be answered by `.leaseReply` with the same id, at any time or never.
        case lease(LeaseRequest)
        /// Also when only the mode changed.
        case activated(Epoch, ActivityMode)
        case deactivated(Epoch, DeactivationReason)
        /// The leader this node follows or is, and its epoch; nil with the highest epoch seen: it knows none now.
        case leaderChanged(NodeID?, Epoch)
    }

    /// A rule left out on purpose, to show that the simulator notices.
    public enum Mutation: String, CaseIterable, Hashable, Sendable {
        case none
        /// L1: a voter acknowledges another leader while its promise to the first runs.
        case ackUnderPromise
        /// L6: no wait after a start.
        case dropAmnesiaWait
        /// L4: the solo claim is kept while quorum is asked for.
        case keepSoloWhileAsking
        /// L2: an acknowledgement counts from its receipt, not from the heartbeat's send.
        case countFromReceipt
    }

    enum Role: Hashable, Sendable {
        case follower
        case candidate(Campaign)
        case leader(Tenure)
    }

    /// L1: what an acknowledged heartbeat granted.
    struct Promise: Hashable, Sendable {
        var leader: NodeID
        var epoch: Epoch
        var until: Instant
    }

    struct SentRequest: Hashable, Sendable {
        var request: LeaseRequest
        var sentAt: Instant
        var timedOut = false
    }

    struct Followed: Hashable, Sendable {
        var node: NodeID
        var epoch: Epoch
    }

    public let me: NodeID
    /// Sorted, this node included.
    public let voters: [NodeID]
    /// The highest epoch seen in any message or row.
    public internal(set) var highestEpoch = Epoch.none

    let myIndex: Int
    let timing: Timing
    let mutation: Mutation
    /// L6: before this it neither acknowledges, votes nor acquires.
    let readyAt: Instant
    var random: SplitMix64
    var role = Role.follower
    var promise: Promise?
    /// The candidate that got this node's vote last; until then others get none, and it does not stand itself.
    var voteHold: (candidate: NodeID, until: Instant)?
    /// By voter index: the highest epoch that voter is known to have given up.
    var endedEpochs: [Epoch]
    var freshness: [Int64?]
    /// Not before this does it stand for election.
    var campaignAt: Instant
    /// Not before this does it try PostgreSQL again, after it could not reach it.
    var storeBackoffUntil: Instant
    var round: UInt32
    /// The leader heard last: when it falls silent it is not waited for.
    var lastLeader: NodeID?
    var isLeaving = false
    var sent: [SentRequest] = []
    var lastRequestID: UInt64 = 0
    var reportedActivity: (epoch: Epoch, mode: ActivityMode)?
    var reportedLeader: Followed?
    var latest: Instant

    /// - Parameters:
    ///   - voters: one, three or five different nodes, `me` among them; checked by the caller's configuration.
    ///   - settings: without `violations()`.
    ///   - seed: different on each node; decides jitter only.
    public init(
        me: NodeID, voters: [NodeID], settings: LeadershipSettings, now: Instant, seed: UInt64,
        mutation: Mutation = .none
    ) {
        let sorted = voters.sorted()
        guard let index = sorted.firstIndex(of: me), [1, 3, 5].contains(Set(sorted).count),
            Set(sorted).count == sorted.count
        else {
            // Carrying on would count majorities wrongly.
            preconditionFailure("voters must be 1, 3 or 5 nodes with \(me), got \(sorted)")  // Validated before.
        }
        precondition(settings.violations().isEmpty, "unusable settings: \(settings.violations())")
        self.me = me
        self.voters = sorted
        self.mutation = mutation
        myIndex = index
        timing = Timing(settings)
        readyAt = mutation == .dropAmnesiaWait ? now : now.after(timing.promise)
        random = SplitMix64(seed: seed)
        endedEpochs = Array(repeating: .none, count: sorted.count)
        freshness = Array(repeating: nil, count: sorted.count)
        campaignAt = readyAt
        storeBackoffUntil = readyAt
        // Late replies to an earlier incarnation should not count as votes.
        round = UInt32(truncatingIfNeeded: random.next())
        latest = now
        campaignAt = readyAt.after(stagger())
    }

    /// The one door. `now` before an earlier one counts as that one.
    public mutating func handle(_ input: Input, at now: Instant) -> [Output] {
        let now = max(now, latest)
        latest = now
        var outputs: [Output] = []
        // First of all: after a late wake-up nothing may happen on grounds that ended meanwhile.
        expire(at: now)
        report(at: now, &outputs)
        switch input {
        case .tick: break
        case .received(let message, let sender):
            if let index = voters.firstIndex(of: sender), index != myIndex {
                receive(message, from: index, at: now, &outputs)
            }
        case .leaseReply(let id, let outcome): answered(id, outcome, at: now, &outputs)
        case .freshness(let value): setFreshness(value, of: myIndex, at: now)
        case .peerFreshness(let value, let node):
            if let index = voters.firstIndex(of: node) { setFreshness(value, of: index, at: now) }
        case .epochSeen(let epoch): observe(epoch, announce: true, at: now, &outputs)
        case .leave:
            isLeaving = true
            giveUp(.left, at: now, &outputs)
        case .stepDown: giveUp(.steppedDown, at: now, &outputs)
        }
        runTimers(at: now, &outputs)
        report(at: now, &outputs)
        return outputs
    }

    /// The shell calls `.tick` no later than this. After `handle(_, at: now)` it is later than `now`.
    public var nextDeadline: Instant {
        // Nothing may be due on a node that is leaving; an hour keeps the arithmetic of the shell safe.
        var deadline = latest.after(3_600_000_000_000)
        if let promise { deadline = min(deadline, promise.until) }
        for entry in sent where !entry.timedOut { deadline = min(deadline, entry.sentAt.after(timing.requestTimeout)) }
        switch role {
        case .follower: if !isLeaving { deadline = min(deadline, campaignAt) }
        case .candidate(let campaign): deadline = min(deadline, self.deadline(of: campaign))
        case .leader(let tenure): deadline = min(deadline, self.deadline(of: tenure))
        }
        return deadline
    }

    /// L2, by a fresh reading of this node's clock. To be asked immediately before every act as leader.
    public func activity(at now: Instant) -> Activity {
        guard case .leader(let tenure) = role, highestEpoch <= tenure.epoch else { return .inactive }
        let bound = promise.map { $0.leader != me && now < $0.until } ?? false
        return tenure.activity(at: now, bound: bound)
    }

    /// Whose leadership this node is promised to (its own too), as of the last input. Nil once the promise expired.
    public var leader: (node: NodeID, epoch: Epoch)? { promise.map { ($0.leader, $0.epoch) } }

    public var state: ClusterView.State {
        switch role {
        case .follower: .follower
        case .candidate: .candidate
        case .leader: .leader
        }
    }
}
