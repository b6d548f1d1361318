import OrchestryModel

/// An app on its way to a revision.
struct RolloutProgress: Hashable, Sendable {
    /// As stored, or about to be.
    var record: RolloutRecord
    let startedAt: Instant
    private(set) var lastProgressAt: Instant
    private(set) var readyCurrent = 0
    private(set) var remainingOld = Int.max
    /// Watching the first new instances; nil before they are ready, and once the comparison is over.
    var canary: CanaryEvaluator?
    /// What the canary came to, for status pages.
    var canaryFigures: JSONValue?
    /// It failed, and somebody may still have to go back.
    var hasFailed: Bool { record.state == .failed }

    init(_ record: RolloutRecord, at now: Instant) {
        self.record = record
        startedAt = now
        lastProgressAt = now
    }

    /// How many instances of the app are watched as canary.
    static func canaryCount(wanted: Int, surge: Int, policy: AppSpec.RolloutPolicy.Canary?) -> Int {
        let share = ((policy?.weightPercent ?? 0) * wanted + 99) / 100
        return max(1, min(surge, share))
    }

    /// Another new instance that is proven, or an old one less, is progress.
    mutating func observe(readyCurrent: Int, remainingOld: Int, at now: Instant) {
        if readyCurrent > self.readyCurrent || remainingOld < self.remainingOld { lastProgressAt = now }
        self.readyCurrent = max(self.readyCurrent, readyCurrent)
        self.remainingOld = min(self.remainingOld, remainingOld)
    }

    /// The deadline starts afresh: after a pause, or with another phase.
    mutating func restartDeadline(at now: Instant) { lastProgressAt = now }

    /// When it has failed unless something moves first; nil: it is not running, or paused.
    func deadline(_ policy: AppSpec.RolloutPolicy) -> Instant? {
        if record.state == .running, record.phase == .release {
            return lastProgressAt + .seconds(policy.release?.timeoutSeconds ?? policy.progressDeadlineSeconds)
        }
        guard record.state == .running, !record.isPaused else { return nil }
        return max(lastProgressAt, canary?.endsAt ?? lastProgressAt) + .seconds(policy.progressDeadlineSeconds)
    }
}
