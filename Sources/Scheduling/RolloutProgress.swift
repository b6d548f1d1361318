import OrchestryModel

/// An app on its way to a revision.
struct RolloutProgress: Hashable, Sendable {
    /// What to go back to when it fails; nil: nothing known to have worked.
    let from: Int?
    let to: Int
    let startedAt: Instant
    /// It was itself the way back from a failed rollout: failing, it is not reverted again.
    let isRevert: Bool
    private(set) var lastProgressAt: Instant
    private(set) var readyCurrent = 0
    private(set) var remainingOld = Int.max
    var hasFailed = false

    init(from: Int?, to: Int, isRevert: Bool, at now: Instant) {
        self.from = from
        self.to = to
        self.isRevert = isRevert
        startedAt = now
        lastProgressAt = now
    }

    /// The deadline counts from now: what held it back is over.
    mutating func startAgain(at now: Instant) { lastProgressAt = now }

    /// Another new instance that is ready, or an old one less, is progress.
    mutating func observe(readyCurrent: Int, remainingOld: Int, at now: Instant) {
        if readyCurrent > self.readyCurrent || remainingOld < self.remainingOld { lastProgressAt = now }
        self.readyCurrent = max(self.readyCurrent, readyCurrent)
        self.remainingOld = min(self.remainingOld, remainingOld)
    }
}
