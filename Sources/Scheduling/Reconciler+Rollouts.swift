import OrchestryModel

/// Rollouts: begun by a change of revision, followed until the old instances are gone, reverted when they stall or their
/// canary is worse.
extension Reconciler {
    /// - Parameter order: what the shell has stored of it; nil: a plain deployment.
    mutating func beginRollout(of name: AppName, from old: Application, _ order: RolloutRecord?) {
        guard let app = apps[name], let application = app.application else { return }
        if let running = app.rollout {
            let isAbort = order?.origin == .abort
            end(
                running, of: name, isAbort ? .aborted : .superseded,
                isAbort ? order?.reason ?? "" : "revision \(application.revision) came first")
        }
        guard app.wanted > 0 || !app.instances.isEmpty else {
            apps[name]?.lastRollout = nil
            // Stored when the app still ran.
            guard var order else { return }
            // Its next start is what runs the release command then.
            if application.spec.rollout.release != nil, order.origin == .deploy { order.phase = .release }
            end(RolloutProgress(order, at: now), of: name, .superseded, Self.whyUnserved(application))
            return
        }
        var record =
            order
            ?? RolloutRecord(
                app: name, revision: application.revision, from: origin(of: app, old), startedAt: wall)
        if record.previousSpec == nil, record.from == old.revision {
            (record.previousSpec, record.previousSecrets) = (old.pinnedSpec, old.secrets)
        } else if record.previousSpec == nil, let earlier = app.rollout?.record, record.from == earlier.from {
            (record.previousSpec, record.previousSecrets) = (earlier.previousSpec, earlier.previousSecrets)
        }
        let needsRelease = application.spec.rollout.release != nil && record.origin == .deploy
        record.phase = needsRelease ? .release : phaseAfterRelease(of: app, record.origin)
        apps[name]?.rollout = RolloutProgress(record, at: now)
        save(record)
        self.record(
            .rolloutStarted, name, "Rollout of revision \(application.revision) began",
            [
                "from": JSONValue(old.revision), "to": JSONValue(application.revision),
                "origin": .string(record.origin.rawValue), "phase": .string(record.phase.rawValue),
                "restores": record.restores.map { JSONValue($0) } ?? .null,
            ])
    }

    /// Why there is nothing to replace.
    private static func whyUnserved(_ application: Application) -> String {
        application.isIdle ? "the app is idle: its next start takes this revision" : "the app was stopped"
    }

    /// Where nothing serves there is nothing to compare a canary with.
    func phaseAfterRelease(of app: AppRecord, _ origin: RolloutRecord.Origin) -> RolloutRecord.Phase {
        let serves = serving(app).contains { $0.status.state == .ready }
        return app.application?.spec.rollout.strategy == .canary && origin == .deploy && serves ? .canary : .rolling
    }

    /// The app's instances that are not draining, its release step apart.
    func serving(_ app: AppRecord) -> [InstanceRecord] {
        app.instances.filter { !$0.isReleaseStep }.compactMap { instances[$0] }.filter { $0.drain == nil }
    }

    /// What a deployment goes back to: a revision that has not served yet is no place to go.
    private func origin(of app: AppRecord, _ old: Application) -> Int? {
        if let stable = app.stableRevision { return stable }
        return app.rollout == nil ? old.revision : app.rollout?.record.from
    }

    /// A new leader goes on with a rollout that is under way; its deadline starts afresh, a canary is watched anew.
    mutating func resumeRollout(of name: AppName, _ stored: RolloutRecord?) {
        guard let app = apps[name], let application = app.application, app.rollout == nil else { return }
        let stored = stored.flatMap { $0.revision == application.revision ? $0 : nil }
        if let stored {
            apps[name]?.lastRollout = stored
            guard stored.endedAt == nil else { return startAnew(name) }
        }
        let old = app.instances.compactMap { instances[$0]?.status }.filter { !application.isCurrent($0.revision) }
        if let stored {
            apps[name]?.rollout = RolloutProgress(stored, at: now)
            // Its leader may have died before it went back.
            if stored.state == .failed, let target = wayBack(of: stored) {
                outputs.append(.revert(name, toRevision: target, reason: stored.reason))
            }
        } else if !old.isEmpty, app.wanted > 0 {
            // Its record was lost: what served before is what most likely works.
            let serving = old.filter { $0.state == .ready }.map(\.revision).max()
            let record = RolloutRecord(
                app: name, revision: application.revision, from: serving ?? old.map(\.revision).max(), startedAt: wall)
            apps[name]?.rollout = RolloutProgress(record, at: now)
            save(record)
        }
    }

    mutating func pauseRollout(of name: AppName, _ isPaused: Bool) {
        guard var rollout = apps[name]?.rollout, rollout.record.isPaused != isPaused else { return }
        rollout.record.isPaused = isPaused
        rollout.restartDeadline(at: now)
        apps[name]?.rollout = rollout
        save(rollout.record)
        dirty.insert(name)
    }

    mutating func followRollout(of name: AppName) {
        guard let app = apps[name], let application = app.application else { return }
        guard app.wanted > 0 else {
            if let rollout = app.rollout { end(rollout, of: name, .superseded, Self.whyUnserved(application)) }
            return
        }
        let alive = serving(app)
        let current = alive.filter { application.isCurrent($0.status.revision) }
        let ready = current.count { isProven($0, application) }
        let old = alive.count - current.count
        let isComplete = old == 0 && ready >= app.wanted
        if isComplete { apps[name]?.stableRevision = application.revision }
        guard var rollout = app.rollout else { return }
        if isComplete {
            record(
                .rolloutFinished, name, "Revision \(application.revision) serves with \(ready) instances",
                ["to": JSONValue(application.revision), "seconds": JSONValue((now - rollout.startedAt).inSeconds)])
            return end(rollout, of: name, .succeeded, rollout.record.reason)
        }
        rollout.observe(readyCurrent: ready, remainingOld: old, at: now)
        apps[name]?.rollout = rollout
        if rollout.record.phase == .canary, watchCanary(of: name, ready: ready) { return }
        guard let rollout = apps[name]?.rollout, let deadline = rollout.deadline(application.spec.rollout),
            now >= deadline
        else { return }
        let limit = application.spec.rollout.progressDeadlineSeconds
        if let canary = rollout.canary {
            fail(
                name, .rolloutFailed,
                "was not judged: its canary had \(canary.new.requests) of \(canary.policy.minRequests) requests in "
                    + "\(canary.policy.intervalSeconds + limit) s, too few to judge it", canary.figures)
        } else {
            fail(name, .rolloutFailed, "made no progress for \(limit) s", .null)
        }
    }

    /// A revision that was refused before its first instance goes at once, as if its deadline had passed.
    mutating func endRefusedRollout(of name: AppName) {
        guard let app = apps[name], let application = app.application, app.rollout?.hasFailed == false,
            let review = application.imageReview, review.revision == application.revision, review.verdict == .refused
        else { return }
        fail(name, .rolloutFailed, "was refused: \(review.reason)", .null)
    }

    /// - Returns: whether the rollout took another turn.
    private mutating func watchCanary(of name: AppName, ready: Int) -> Bool {
        guard let app = apps[name], var rollout = app.rollout, let policy = app.application?.spec.rollout.canary,
            rollout.record.state == .running
        else {
            // The spec says `rolling` by now.
            if apps[name]?.rollout?.record.state == .running { apps[name]?.rollout?.record.phase = .rolling }
            return false
        }
        let count = goal(of: app).canaryCount
        guard let canary = rollout.canary else {
            guard ready >= count else { return false }
            rollout.canary = CanaryEvaluator(policy: policy, startedAt: now)
            apps[name]?.rollout = rollout
            record(
                .canaryStarted, name,
                "\(count) of revision \(rollout.record.revision) gets \(policy.weightPercent)% of the requests for "
                    + "\(policy.intervalSeconds) s",
                ["to": JSONValue(rollout.record.revision), "instances": JSONValue(count)])
            return false
        }
        switch canary.verdict(at: now) {
        case .undecided: return false
        case .failed(let reason):
            fail(name, .canaryFailed, "canary: \(reason)", canary.figures)
            return true
        case .passed:
            guard !rollout.record.isPaused, ready >= count else { return false }
            rollout.canary = nil
            rollout.canaryFigures = canary.figures
            rollout.record.phase = .rolling
            rollout.restartDeadline(at: now)
            apps[name]?.rollout = rollout
            save(rollout.record)
            record(
                .canaryPassed, name,
                "Revision \(rollout.record.revision) does as well as the old one; the rest follows",
                ["to": JSONValue(rollout.record.revision), "figures": canary.figures])
            return true
        }
    }

    /// Feeds the canaries that are watched.
    mutating func measure(_ traffic: [InstanceTraffic]) {
        for seen in traffic {
            guard let instance = instances[seen.instance], instance.drain == nil else { continue }
            let name = instance.status.app
            guard let application = apps[name]?.application, apps[name]?.rollout?.canary != nil else { continue }
            apps[name]?.rollout?.canary?.add(seen, isNew: application.isCurrent(instance.status.revision))
            dirty.insert(name)
        }
    }

    /// Whether the traffic of its instances should be told.
    public func watchesTraffic(of app: AppName) -> Bool { apps[app]?.rollout?.canary != nil }

    /// - Parameter output: the last lines of its release command; nil: there was none.
    mutating func fail(
        _ name: AppName, _ kind: EventKind, _ reason: String, _ figures: JSONValue, output: String? = nil
    ) {
        guard let app = apps[name], let application = app.application, var rollout = app.rollout else { return }
        let target = wayBack(of: rollout.record)
        let ready = app.instances.count {
            instances[$0].map { application.isCurrent($0.status.revision) && $0.shown.state == .ready } == true
        }
        let consequence = target.map { "going back to revision \($0)" } ?? "nothing to go back to"
        let reason = "revision \(rollout.record.revision) \(reason)"
        var details: [String: JSONValue] = [
            "from": rollout.record.from.map { JSONValue($0) } ?? .null, "to": JSONValue(rollout.record.revision),
            "ready": JSONValue(ready), "wanted": JSONValue(app.wanted),
            "why": .string(explain(name).joined(separator: "; ")), "figures": figures,
        ]
        details["output"] = output.map { .string($0) }
        record(kind, name, "\(reason.prefix(1).uppercased())\(reason.dropFirst()); \(consequence)", details)
        rollout.record.state = .failed
        rollout.record.reason = reason
        rollout.canaryFigures = figures == .null ? nil : figures
        // Without a way back the comparison is over: it stays as it is until somebody decides.
        rollout.canary = nil
        apps[name]?.rollout = rollout
        save(rollout.record)
        if let target { outputs.append(.revert(name, toRevision: target, reason: reason)) }
    }

    /// A way back that fails is not followed by another.
    private func wayBack(of record: RolloutRecord) -> Int? {
        switch record.origin {
        case .automatic, .abort: nil
        case .deploy, .rollback: record.from == record.revision ? nil : record.from
        }
    }

    mutating func end(
        _ rollout: RolloutProgress, of name: AppName, _ state: RolloutRecord.State, _ reason: String
    ) {
        var record = rollout.record
        // What failed stays failed, whatever comes next; but it may recover.
        if record.state == .running || state == .succeeded {
            record.state = state
            record.reason = reason
        }
        record.isPaused = false
        record.endedAt = wall
        apps[name]?.rollout = nil
        save(record)
    }

    mutating func save(_ record: RolloutRecord) {
        apps[record.app]?.lastRollout = record
        outputs.append(.saveRollout(record))
    }
}
