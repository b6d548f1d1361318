import OrchestryModel

/// Rollouts: begun by a change of revision, followed until the old instances are gone, reverted when they stall.
extension Reconciler {
    /// A revert is answered by a new revision soon; a change that comes later is somebody's own.
    private static let revertAnswerWithin = Duration.seconds(10)

    mutating func beginRollout(of name: AppName, from previous: Int) {
        guard let app = apps[name], let application = app.application else { return }
        guard app.wanted > 0 || !app.instances.isEmpty else { return }
        let isRevert = app.revertAskedAt.map { now < $0 + Self.revertAnswerWithin } == true
        apps[name]?.revertAskedAt = nil
        let from = app.stableRevision ?? previous
        apps[name]?.rollout = RolloutProgress(from: from, to: application.revision, isRevert: isRevert, at: now)
        record(
            .rolloutStarted, name, "Rollout of revision \(application.revision) began",
            ["from": JSONValue(previous), "to": JSONValue(application.revision)])
    }

    /// A new leader goes on with a rollout that is under way; its deadline starts afresh.
    mutating func resumeRollout(of name: AppName) {
        guard let app = apps[name], let application = app.application, app.rollout == nil else { return }
        let old = app.instances.compactMap { instances[$0]?.status }.filter { $0.revision != application.revision }
        guard !old.isEmpty, app.wanted > 0 else { return }
        let serving = old.filter { $0.state == .ready }.map(\.revision).max()
        apps[name]?.rollout = RolloutProgress(
            from: serving ?? old.map(\.revision).max(), to: application.revision, isRevert: false, at: now)
    }

    mutating func followRollout(of name: AppName) {
        guard let app = apps[name], let application = app.application else { return }
        guard app.wanted > 0 else {
            apps[name]?.rollout = nil
            return
        }
        let alive = app.instances.compactMap { instances[$0] }.filter { $0.drain == nil }
        let ready = alive.count { $0.status.revision == application.revision && $0.status.state == .ready }
        let old = alive.count { $0.status.revision != application.revision }
        let isComplete = old == 0 && ready >= app.wanted
        if isComplete { apps[name]?.stableRevision = application.revision }
        guard var rollout = app.rollout else { return }
        if isComplete {
            record(
                .rolloutFinished, name, "Revision \(rollout.to) serves with \(ready) instances",
                ["to": JSONValue(rollout.to), "seconds": JSONValue((now - rollout.startedAt).inSeconds)])
            apps[name]?.rollout = nil
            return
        }
        rollout.observe(readyCurrent: ready, remainingOld: old, at: now)
        let deadline = rollout.lastProgressAt + .seconds(application.spec.rollout.progressDeadlineSeconds)
        let hasJustFailed = !rollout.hasFailed && now >= deadline
        if hasJustFailed { rollout.hasFailed = true }
        apps[name]?.rollout = rollout
        if hasJustFailed {
            let limit = application.spec.rollout.progressDeadlineSeconds
            fail(rollout, of: name, ready: ready, because: "made no progress for \(limit) s")
        }
    }

    /// A revision that was refused before its first instance goes at once, as if its deadline had passed.
    mutating func endRefusedRollout(of name: AppName) {
        guard let app = apps[name], let application = app.application, var rollout = app.rollout, !rollout.hasFailed,
            let review = application.imageReview, review.revision == application.revision, review.verdict == .refused
        else { return }
        rollout.hasFailed = true
        apps[name]?.rollout = rollout
        fail(rollout, of: name, ready: 0, because: "was refused: \(review.reason)")
    }

    private mutating func fail(_ rollout: RolloutProgress, of name: AppName, ready: Int, because cause: String) {
        guard let app = apps[name] else { return }
        let target = rollout.isRevert || rollout.from == rollout.to ? nil : rollout.from
        let reasons = explain(name).joined(separator: "; ")
        let consequence = target.map { "going back to revision \($0)" } ?? "nothing to go back to"
        record(
            .rolloutFailed, name,
            "Revision \(rollout.to) \(cause); \(consequence)",
            [
                "from": rollout.from.map { JSONValue($0) } ?? .null, "to": JSONValue(rollout.to),
                "ready": JSONValue(ready), "wanted": JSONValue(app.wanted), "why": .string(reasons),
            ])
        guard let target else { return }
        apps[name]?.revertAskedAt = now
        outputs.append(.revert(name, toRevision: target))
    }
}
