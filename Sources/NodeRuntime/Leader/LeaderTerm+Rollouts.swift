import Logging
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

/// Rollouts as people steer them, and the way back from one that failed.
extension LeaderTerm {
    /// What is stored of the rollout that a new spec of a running app begins; nil: nothing runs that could be replaced.
    func deployment(of application: Application, over current: Application) -> RolloutRecord? {
        guard current.status == .running else { return nil }
        let running = reconciler.rolloutView(of: current.name).flatMap { $0.isActive ? $0.record : nil }
        // A revision that has not served yet is nothing to go back to.
        let from = running == nil ? current.revision : running?.from
        return RolloutRecord(
            app: current.name, revision: application.revision, from: from, startedAt: surroundings.clock.wall(),
            previousSpec: from == current.revision ? current.pinnedSpec : running?.previousSpec,
            previousSecrets: from == current.revision ? current.secrets : running?.previousSecrets ?? [])
    }

    // MARK: Going back

    private struct WayBack {
        var application: Application
        var rollout: RolloutRecord?
        var changes: [StateChange]
    }

    /// What decides whether instances of two revisions are alike.
    private struct Content: Equatable {
        let spec: AppSpec
        let secrets: [SecretName: Int]
        let digest: String?

        init(_ spec: AppSpec, _ secrets: [SealedSecret], _ digest: String?) {
            self.spec = spec
            let used = secrets.filter { spec.environmentSecrets.contains($0.name) }
            self.secrets = Dictionary(used.map { ($0.name, $0.version) }, uniquingKeysWith: { first, _ in first })
            self.digest = digest
        }

        init(_ current: Application) {
            self.init(
                current.spec, current.secrets,
                current.imageReview?.revision == current.revision ? current.imageReview?.digest : nil)
        }

        init(_ stored: StoredRevision) { self.init(stored.spec, stored.secrets, stored.imageDigest) }

        static func == (left: Self, right: Self) -> Bool {
            !AppSpec.needsNewRevision(from: left.spec, to: right.spec) && left.secrets == right.secrets
                && left.digest == right.digest
        }
    }

    /// A new revision with what containers are made from (spec, secrets in their versions, image by digest), and their
    /// health checks, in an earlier one; all else (labels, scaling and replicas, routing, termination, rollout policy)
    /// stays as it is.
    /// - Parameter isProven: whether that revision served: what was found out about its image then holds.
    /// - Returns: nil when that is what the app is made from already.
    private func goBack(
        _ current: Application, to stored: StoredRevision, among all: [StoredRevision],
        _ origin: RolloutRecord.Origin, _ reason: String, isProven: Bool = true
    ) throws -> WayBack? {
        let wall = surroundings.clock.wall()
        let document = Self.document(current.document, withContainerOf: stored.document)
        let spec = try AppSpec.parse(flat: document, name: current.name)
        let secrets = currentSecrets(of: spec, keeping: stored.secrets)
        let digest = isProven ? stored.imageDigest : nil
        let content = Content(spec, secrets, digest)
        guard content != Content(current) else { return nil }
        var application = current
        application.revision = max(current.revision, all.map(\.revision).max() ?? 0) + 1
        application.spec = spec
        application.document = document
        application.updatedAt = wall
        application.secrets = secrets
        application.imageReview =
            isProven ? ImageReview(revision: application.revision, verdict: .accepted, digest: digest) : nil
        application.equalRevisions = Set(all.filter { Content($0) == content }.map(\.revision))
        let isSettled = reconciler.rolloutView(of: current.name)?.isActive != true
        let from = origin == .rollback && isSettled ? current.revision : nil
        let rollout = RolloutRecord(
            app: current.name, revision: application.revision, from: from, origin: origin, restores: stored.revision,
            reason: reason, startedAt: wall, previousSpec: from == nil ? nil : current.pinnedSpec,
            previousSecrets: from == nil ? [] : current.secrets)
        var changes: [StateChange] = [
            .saveApplication(application),
            .saveRevision(
                current.name, revision: application.revision, document: document, spec: spec, secrets: secrets,
                imageDigest: digest, at: wall),
        ]
        if current.status == .running { changes.append(.saveRollout(rollout)) }
        return WayBack(
            application: application, rollout: current.status == .running ? rollout : nil, changes: changes)
    }

    private static func document(_ current: JSONValue, withContainerOf old: JSONValue) -> JSONValue {
        let kept = ["routing", "termination", "rollout", "scaling", "labels"]
        var members = (old.objectValue ?? [:]).filter { !kept.contains($0.key) }
        for key in kept { members[key] = current[key] }
        return .object(members)
    }

    func planRollback(_ current: Application, to wish: Int?, _ request: ControlRequest) async throws -> Plan {
        let name = current.name
        let all = try await surroundings.store.revisions(of: name)
        let target: StoredRevision?
        if let wish {
            guard let found = all.first(where: { $0.revision == wish }) else {
                throw Problem(
                    status: 404, code: "revision-not-found", title: "No such revision",
                    detail: "App \(name) has no revision \(wish). `orchestry revisions \(name)` shows those there are.")
            }
            target = found
        } else {
            target = try await lastThatWorked(current, among: all)
        }
        guard let target else {
            throw Problem(
                status: 409, code: "nothing-to-roll-back-to", title: "There is nothing to go back to",
                detail: "App \(name) has no earlier revision with other content that worked. "
                    + "`orchestry revisions \(name)` shows those there are.")
        }
        let words = "rollback to revision \(target.revision) asked for by \(request.actor)"
        // One that failed may have failed because its image was refused.
        let hasFailed = try await surroundings.store.rollouts(of: name).contains {
            $0.revision == target.revision && $0.state == .failed
        }
        guard let way = try goBack(current, to: target, among: all, .rollback, words, isProven: !hasFailed) else {
            return Plan(
                response: ControlResponse(
                    body: Presentation.rolledBack(name, revision: current.revision, to: target.revision, changed: false)
                ))
        }
        return Plan(
            response: ControlResponse(
                body: Presentation.rolledBack(
                    name, revision: way.application.revision, to: target.revision, changed: true)),
            changes: way.changes + [
                event(
                    .rolledBack, name,
                    "App \(name) goes back to the content of revision \(target.revision), as revision "
                        + "\(way.application.revision)", request,
                    ["to": JSONValue(target.revision), "revision": JSONValue(way.application.revision)])
            ], application: way.application, rollout: way.rollout)
    }

    /// Where the rollout under way came from, else the newest earlier revision of other content that did not fail.
    private func lastThatWorked(
        _ current: Application, among all: [StoredRevision]
    ) async throws -> StoredRevision? {
        let view = reconciler.rolloutView(of: current.name)
        if let view, view.isActive, let from = view.record.from { return all.first { $0.revision == from } }
        let bad = Set(
            try await surroundings.store.rollouts(of: current.name).filter {
                $0.state == .failed || $0.state == .aborted
            }.map(\.revision))
        return all.first {
            $0.revision < current.revision && !bad.contains($0.revision)
                && Content($0) != Content(current)
        }
    }

    /// A rollout failed: the app goes back to what served before, as a new revision of the same content. Tried until it
    /// is stored, or the app has another revision, or this node no longer leads.
    func revert(_ name: AppName, to revision: Int, because reason: String) async {
        let failed = applications[name]?.revision
        while !Task.isCancelled {
            let isDone = await writeLock.withLock {
                await self.tryToRevert(name, from: failed, to: revision, because: reason)
            }
            if isDone { return }
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
        }
    }

    private func tryToRevert(_ name: AppName, from failed: Int?, to revision: Int, because reason: String) async -> Bool
    {
        guard surroundings.isActive(epoch) else { return false }
        do {
            try await settle()
            guard let current = applications[name], current.revision == failed else { return true }
            let all = try await surroundings.store.revisions(of: name)
            guard let stored = all.first(where: { $0.revision == revision }),
                let way = try goBack(current, to: stored, among: all, .automatic, reason)
            else {
                logger.error("The revision to go back to is not stored", metadata: ["app": "\(name)"])
                return true
            }
            let event = Event(
                node: surroundings.me.id, time: surroundings.clock.wall(), app: name, kind: .rolledBack,
                message: "App \(name) goes back to the content of revision \(revision), as revision "
                    + "\(way.application.revision): \(reason)",
                details: [
                    "actor": "rollout", "to": JSONValue(revision), "revision": JSONValue(way.application.revision),
                    "reason": .string(reason),
                ])
            isInDoubt = true
            try await surroundings.store.write(
                way.changes + [.recordEvent(event)], epoch: epoch, leader: surroundings.me.id, turn: nextTurn())
            isInDoubt = false
            // Meanwhile the autoscaler can't have changed it: it holds the same lock.
            take(way.application, replacing: nil, rollout: way.rollout)
            return true
        } catch let error as StoreError {
            logger.error(
                "The rollback could not be stored; trying again", metadata: ["app": "\(name)", "error": "\(error)"])
            if error.isFenced { surroundings.fenced(epoch) }
            return error.isFenced
        } catch {
            logger.error(
                "The revision to go back to breaks a rule of this release",
                metadata: ["app": "\(name)", "error": "\(error)"])
            return true
        }
    }

    // MARK: Pause, resume, abort

    private func activeRollout(_ name: AppName) throws -> RolloutRecord {
        guard let view = reconciler.rolloutView(of: name), view.isActive else {
            throw Problem(
                status: 409, code: "no-rollout", title: "No rollout is under way",
                detail: "No rollout of app \(name) is under way. `orchestry rollout status \(name)` shows the last one."
            )
        }
        return view.record
    }

    func planPause(_ current: Application, _ isPaused: Bool, _ request: ControlRequest) throws -> Plan {
        let name = current.name
        var record = try activeRollout(name)
        guard record.state == .running else {
            throw Problem(
                status: 409, code: "rollout-failed", title: "The rollout has failed",
                detail: "Revision \(record.revision) of app \(name) has failed: \(record.reason). "
                    + "`orchestry rollback \(name)` goes back, registering another spec goes on.")
        }
        let isNews = record.isPaused != isPaused
        record.isPaused = isPaused
        let response = ControlResponse(
            body: Presentation.rolloutSteered(
                name, revision: record.revision, isNews ? (isPaused ? "paused" : "resumed") : "no_change"))
        guard isNews else { return Plan(response: response) }
        return Plan(
            response: response,
            changes: [
                .saveRollout(record), .pauseRollout(name, revision: record.revision, isPaused),
                event(
                    isPaused ? .rolloutPaused : .rolloutResumed, name,
                    "The rollout of revision \(record.revision) was \(isPaused ? "paused" : "resumed")", request,
                    ["revision": JSONValue(record.revision)]),
            ], inputs: [.rolloutPaused(name, isPaused)])
    }

    func planAbort(_ current: Application, _ request: ControlRequest) async throws -> Plan {
        let name = current.name
        let record = try activeRollout(name)
        let all = try await surroundings.store.revisions(of: name)
        let reason = "aborted by \(request.actor)"
        guard let from = record.from, let stored = all.first(where: { $0.revision == from }),
            let way = try goBack(current, to: stored, among: all, .abort, reason)
        else {
            throw Problem(
                status: 409, code: "nothing-to-roll-back-to", title: "There is nothing to go back to",
                detail: "Nothing is known to have worked before revision \(record.revision) of app \(name). "
                    + "`orchestry rollback \(name) --to N` goes to a revision you name.")
        }
        return Plan(
            response: ControlResponse(
                body: Presentation.rolledBack(name, revision: way.application.revision, to: from, changed: true)),
            changes: way.changes + [
                event(
                    .rolloutAborted, name,
                    "The rollout of revision \(record.revision) was aborted; app \(name) goes back to the content of "
                        + "revision \(from), as revision \(way.application.revision)", request,
                    ["from": JSONValue(record.revision), "to": JSONValue(from)])
            ], application: way.application, rollout: way.rollout)
    }

    // MARK: Reads

    func rolloutStatus(of application: Application) -> ControlResponse {
        ControlResponse(
            body: Presentation.rollout(
                application.name, revision: application.revision,
                shown: reconciler.rolloutView(of: application.name).map(Presentation.RolloutFigures.init)))
    }

    func revisions(of application: Application) async throws -> ControlResponse {
        let rollouts = Dictionary(
            try await surroundings.store.rollouts(of: application.name).map { ($0.revision, $0) },
            uniquingKeysWith: { first, _ in first })
        return ControlResponse(
            body: Presentation.revisions(
                application.name,
                try await surroundings.store.revisions(of: application.name).map { stored in
                    Presentation.revision(
                        stored.revision, image: stored.spec.image, createdAt: stored.createdAt,
                        isCurrent: stored.revision == application.revision, rollout: rollouts[stored.revision])
                }))
    }
}

extension Presentation.RolloutFigures {
    init(_ view: Reconciler.RolloutView) {
        self.init(
            record: view.record, isActive: view.isActive, wanted: view.wanted, updated: view.updated,
            ready: view.ready, old: view.old, canary: view.canary)
    }
}
