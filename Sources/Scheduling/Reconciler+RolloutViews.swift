import OrchestryModel

/// What others ask of rollouts.
extension Reconciler {
    /// A rollout as status pages show it.
    public struct RolloutView: Hashable, Sendable {
        public var record: RolloutRecord
        /// Under way, or failed and waiting for the way back.
        public var isActive: Bool
        public var wanted: Int
        /// Instances of the revision that are not draining, those that count, and those of other revisions.
        public var updated: Int
        public var ready: Int
        public var old: Int
        /// What the canary has seen so far, or came to; null: there was none.
        public var canary: JSONValue
    }

    /// nil: the app's present revision never needed a rollout.
    public func rolloutView(of name: AppName) -> RolloutView? {
        guard let app = apps[name], let application = app.application,
            let record = app.rollout?.record ?? app.lastRollout, record.revision == application.revision
        else { return nil }
        let alive = serving(app)
        let current = alive.filter { application.isCurrent($0.status.revision) }
        return RolloutView(
            record: record, isActive: app.rollout != nil, wanted: app.wanted, updated: current.count,
            ready: current.count { isProven($0, application) }, old: alive.count - current.count,
            canary: app.rollout?.canary?.figures ?? app.rollout?.canaryFigures ?? .null)
    }

    /// What a rollback of the rollout under way, or of the present revision, would go back to; nil: not known here.
    public func revisionBefore(_ name: AppName) -> Int? {
        apps[name]?.rollout?.record.from ?? apps[name]?.lastRollout?.from
    }

    /// The revision that serves, or served last, with all instances; nil: not known here.
    public func stableRevision(of name: AppName) -> Int? { apps[name]?.stableRevision }

    /// One sentence without a full stop on the rollout; nil: nothing worth saying.
    func rolloutWords(_ name: AppName) -> String? {
        guard let view = rolloutView(of: name) else { return nil }
        let record = view.record
        let what =
            record.restores.map { "revision \(record.revision) (the content of \($0))" }
            ?? "revision \(record.revision)"
        guard view.isActive else {
            let because = record.reason.isEmpty ? "" : ": \(record.reason)"
            switch (record.state, record.origin) {
            case (.succeeded, .automatic): return "\(what) was rolled back to by itself\(because)"
            case (.failed, _): return "\(what) failed\(because)"
            default: return nil
            }
        }
        if record.state == .failed { return "the rollout of \(what) failed: \(record.reason)" }
        if record.phase == .release { return "\(what) waits for its release command to end" }
        var words = "\(what) is being rolled out: \(view.ready) of \(view.wanted) instances are ready"
        if record.phase == .canary { words += ", its canary is compared with the old revision" }
        if record.isPaused { words += "; paused: `orchestry rollout resume \(name)` goes on" }
        if record.origin == .automatic { words += "; it goes back by itself: \(record.reason)" }
        return words
    }
}
