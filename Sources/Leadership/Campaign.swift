import OrchestryModel

/// One node's attempt to become leader, from its first vote request until it holds the lease or gives way.
struct Campaign: Hashable, Sendable {
    /// Votes count only for the round they were asked in.
    var round: UInt32
    var roundEndsAt: Instant
    /// By voter index; its own is true from the start.
    var granted: [Bool]
    /// By voter index: when to ask (again); nil: no need.
    var askAt: [Instant?]
    /// Nanoseconds until a voter that refused is asked again: short in the first round, when the others' promises to a
    /// silent leader end any moment.
    var askAgain: Int64
    /// The `acquire` that waits for its answer.
    var request: UInt64?
    /// Until when that `acquire` keeps this node from voting for others: PostgreSQL may not answer this node at all.
    var requestHoldsUntil: Instant
    /// When to try to acquire whatever the votes, in case the lease has expired.
    var acquireAt: Instant
    /// PostgreSQL refused although a majority had granted (the lease is solo, or was not yet released).
    var refusedDespiteVotes = false
    /// Nanoseconds until the next attempt after a refusal; doubles up to `Timing.acquireRetry`.
    var retry: Int64

    var votes: Int { granted.count { $0 } }
}
