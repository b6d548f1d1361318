import OrchestryModel

/// Sends one write after the other, each until it is acknowledged, through a node chosen anew for each attempt.
struct SimulatedClient: Sendable {
    /// The idempotency key; a new one for each write.
    var key: UInt64 = 0
    var isWaiting = false
    /// Counts attempts and pauses: a timer of an earlier one is void.
    var turn: UInt32 = 0
}

/// A write on its way: a client's request, then a leader's transaction.
struct SimulatedWrite: Hashable, Sendable {
    var client: Int
    var key: UInt64
    /// The node the client asked.
    var front: Int
    /// Of the leader that carries it out.
    var epoch = Epoch.none
    /// How often that leader has sent the transaction, or the front node has waited for a leader.
    var tries = 0
}
