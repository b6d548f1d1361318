import AccessControl
import Autoscaling
import Logging
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

extension LeaderTerm {
    /// Carries out what a client asked.
    /// - Returns: nil when this node does not lead (any more): the caller finds the next leader and asks there, with the
    ///   same idempotency key.
    func perform(_ request: ControlRequest) async -> ControlResponse? {
        await untilLoaded()
        guard isLoaded, surroundings.isActive(epoch) else { return nil }
        if let problem = refusal(of: request) { return ControlResponse(problem) }
        guard request.operation.isWrite else { return await read(request) }
        return await writeLock.withLock { await self.write(request) }
    }

    /// What a write does once it is durable.
    struct Plan {
        var response: ControlResponse
        var changes: [StateChange] = []
        var application: Application?
        /// Changed along with it, by a secret that they use.
        var others: [Application] = []
        /// nil: removed.
        var secrets: [SecretName: SecretSummary?] = [:]
        /// nil: revoked.
        var tokens: [TokenName: APIToken?] = [:]
        var deleted: AppName?
        var retried: AppName?
        var scaled: (from: Int, to: Int)?
        /// Of the application's new revision.
        var rollout: RolloutRecord?
        /// What else the reconciler is told.
        var inputs: [Reconciler.Input] = []
        /// For the audit trail, beside those of the application.
        var differences: [DocumentDifference.Change] = []
        /// It changed more than the plan says: PostgreSQL has it all.
        var readsAgain = false
    }

    private func write(_ request: ControlRequest) async -> ControlResponse? {
        do {
            switch request.operation {
            case .stepDown:
                noteCarriedOut(.stepDownRequested, "\(surroundings.me.id) was asked to give up its lease", request)
                surroundings.stepDown()
                return ControlResponse(body: Presentation.steppedDown(surroundings.me.id, epoch: epoch))
            case .simulateMetrics(let name, let metrics):
                let answer = try await simulate(metrics, app: name)
                noteCarriedOut(.metricsSimulated, "Metrics of \(name) were made up", request)
                return answer
            default:
                try await settle()
                if let problem = refusal(of: request) { throw problem }
                return try await commit(try await planOnce(request), request: request)
            }
        } catch let earlier as EarlierAnswer {
            return earlier.response
        } catch let problem as Problem {
            return ControlResponse(problem)
        } catch let error as ValidationError {
            return ControlResponse(.invalid(error))
        } catch let error as StoreError {
            return answer(to: error)
        } catch {
            logger.error("A write failed unexpectedly", metadata: ["error": "\(error)"])
            return ControlResponse(.storeUnavailable("\(error)"))
        }
    }

    /// nil: fenced off, so somebody else leads.
    private func answer(to error: StoreError) -> ControlResponse? {
        if error.isFenced {
            surroundings.fenced(epoch)
            return nil
        }
        logger.warning("A write could not be stored", metadata: ["error": "\(error)"])
        return ControlResponse(
            .storeUnavailable("Nothing was changed, or the same request will say what was: \(error)"))
    }

    // MARK: Idempotency

    /// Thrown instead of an error that would hide it: the answer that this request has had before.
    private struct EarlierAnswer: Error {
        var response: ControlResponse
    }

    /// What can't be done may have been done already: an app that is to be stopped has been stopped by the attempt whose
    /// answer was lost with its leader.
    private func planOnce(_ request: ControlRequest) async throws -> Plan {
        do {
            return try await plan(request)
        } catch let error where error is Problem || error is ValidationError {
            if let answer = try await earlierAnswer(to: request) { throw EarlierAnswer(response: answer) }
            throw error
        }
    }

    /// nil: nothing was carried out under this key.
    /// - Throws: `Problem` when the key belongs to another request.
    private func earlierAnswer(to request: ControlRequest) async throws -> ControlResponse? {
        guard let stored = try await surroundings.store.storedRequest(request.idempotencyKey) else { return nil }
        let isSame: Bool
        do {
            isSame = try RequestFingerprint.mayBeSame(
                stored.fingerprint, as: request.operation, keys: surroundings.secretKeys)
        } catch {
            throw Problem.secretsUnusable(error)
        }
        guard isSame, Self.isSameCaller(stored.actor, request.actor) else {
            throw Problem(
                status: 422, code: "idempotency-key-reused", title: "The idempotency key belongs to another request",
                detail: "The key '\(request.idempotencyKey)' was used for another request within the last day, and "
                    + "nothing was changed now. Use a new key for a new request.")
        }
        return stored.response
    }

    /// A key belongs to who used it first. Nobody is told apart where nobody says who they are: a client that tries
    /// several nodes may come from several addresses.
    private static func isSameCaller(_ earlier: String, _ actor: String) -> Bool {
        let isAnonymous = { (name: String) in name.hasPrefix("anonymous") }
        return earlier == actor || isAnonymous(earlier) && isAnonymous(actor)
    }

    // MARK: Planning

    func existing(_ name: AppName) throws -> Application {
        guard let application = applications[name] else { throw Problem.appNotFound(name) }
        return application
    }

    func event(
        _ kind: EventKind, _ app: AppName?, _ message: String, _ request: ControlRequest,
        _ details: [String: JSONValue] = [:]
    ) -> StateChange {
        var details = details
        details["actor"] = .string(request.actor)
        details["request"] = .string(request.idempotencyKey)
        return .recordEvent(
            Event(
                node: surroundings.me.id, time: surroundings.clock.wall(), app: app, kind: kind, message: message,
                details: .object(details)))
    }

    private func plan(_ request: ControlRequest) async throws -> Plan {
        switch request.operation {
        case .register(let document, let condition):
            return try await planRegister(document, condition, request)
        case .start(let name): return planStart(try existing(name), request)
        case .stop(let name): return try planStop(try existing(name), request)
        case .delete(let name):
            _ = try existing(name)
            return Plan(
                response: ControlResponse(body: Presentation.deleted(name)),
                changes: [
                    event(.appDeleted, name, "App \(name) was deleted", request),
                    .deleteApplication(name, at: surroundings.clock.wall()),
                ], deleted: name)
        case .scale(let name, let replicas, let seconds?):
            return planFixed(try existing(name), at: replicas, forSeconds: seconds, request)
        case .scale(let name, let replicas, nil): return planScale(try existing(name), to: replicas, request)
        case .autoscale(let name, let change): return planAutoscale(try existing(name), change, request)
        case .setPolicy(let name, let policy, let condition):
            let current = try existing(name)
            try condition?.check(current, name: name)
            return try planPolicy(current, policy, request)
        case .retry(let name): return planRetry(try existing(name), request)
        case .setSecret(let sealed): return try await planSecret(sealed, request)
        case .createToken(let wanted): return try await planToken(wanted, request)
        case .revokeToken(let name): return try planRevocation(of: name, request)
        case .removeSecret(let name, let force): return try planRemoval(of: name, force: force, request)
        case .rollback(let name, let revision): return try await planRollback(try existing(name), to: revision, request)
        case .pauseRollout(let name): return try planPause(try existing(name), true, request)
        case .resumeRollout(let name): return try planPause(try existing(name), false, request)
        case .abortRollout(let name): return try await planAbort(try existing(name), request)
        case .cordonNode(let node):
            return try planScheduling(NodeScheduling(node: node, isCordoned: true), request)
        case .uncordonNode(let node): return try planScheduling(NodeScheduling(node: node), request)
        case .drainNode(let node, let seconds):
            return try planScheduling(
                NodeScheduling(node: node, isCordoned: true, isDraining: true, drainSecondsLeft: Double(seconds)),
                request)
        case .rebalance(let maxMoves): return planRebalance(maxMoves, request)
        case .restore(let checksum, let merge): return try await planRestore(checksum, merge: merge, request)
        case .changeSettings(let changes): return try await planSettings(changes, request)
        default: preconditionFailure("planned a read: \(request.operation)")  // `perform` sends reads elsewhere.
        }
    }

    // MARK: Committing

    /// How long a write whose answer does not come is asked about again, while its client waits.
    private static let commitPatience = Duration.seconds(5)

    /// One fenced transaction with the answer in it: whoever sends the same key again gets that answer.
    private func commit(_ plan: Plan, request: ControlRequest) async throws -> ControlResponse? {
        guard surroundings.isActive(epoch) else { return nil }
        let fingerprint: String
        do {
            fingerprint = try RequestFingerprint.of(request.operation, keys: surroundings.secretKeys)
        } catch {
            throw Problem.secretsUnusable(error)
        }
        let changes =
            plan.changes + [
                .completeRequest(
                    key: request.idempotencyKey, response: plan.response, actor: request.actor,
                    at: surroundings.clock.wall(), fingerprint: fingerprint),
                auditChange(plan, request),
            ]
        var attempt = 0
        let turn = nextTurn()
        let begun = surroundings.clock.now()
        while true {
            attempt += 1
            do {
                try await surroundings.store.write(changes, epoch: epoch, leader: surroundings.me.id, turn: turn)
                break
            } catch {
                if error.isDuplicateRequest {
                    // Ours of an earlier attempt, or the client's own of an earlier time: the answer given then stands,
                    // and what was done is in PostgreSQL. It need not be what was planned now.
                    try await settle()
                    return try await earlierAnswer(to: request) ?? plan.response
                }
                // Whether or not the last attempt did nothing: an earlier one may have, or may still.
                isInDoubt = true
                let waited = surroundings.clock.now() - begun
                guard error.isOutcomeUnknown || error.isRolledBack, attempt < 4, waited < Self.commitPatience else {
                    throw error
                }
                // The next leader finds out, by the same key.
                guard surroundings.isActive(epoch) else { return nil }
                logger.warning("A write was not stored, or perhaps; asking again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(50 * attempt))  // Cancelled: the next attempt fails by itself.
            }
        }
        isInDoubt = false
        for (name, summary) in plan.secrets { secrets[name] = summary }
        for (name, token) in plan.tokens { tokens[name] = token }
        for input in plan.inputs { reconcile(input) }
        if let application = plan.application {
            take(application, replacing: plan.scaled?.from, rollout: plan.rollout)
        }
        for application in plan.others { take(application, replacing: nil) }
        if let name = plan.deleted { drop(name) }
        if let name = plan.retried { retry(name) }
        if plan.readsAgain { await readAgain() }
        return plan.response
    }

    /// Puts what is durable into effect.
    /// - Parameters:
    ///   - replicas: what it had before, where that counts as scaling.
    ///   - rollout: of its revision, where that is new.
    func take(_ application: Application, replacing replicas: Int?, rollout: RolloutRecord? = nil) {
        applications[application.name] = application
        reconcile(.applicationChanged(application, rollout: rollout))
        guard let replicas, replicas != application.replicas else { return }
        surroundings.scaling.noteScaled(
            application.name, from: replicas, to: application.replicas,
            at: surroundings.clock.wall().wholeSecond)
    }

    func drop(_ name: AppName) {
        applications[name] = nil
        surroundings.scaling.forget(name, at: surroundings.clock.wall().wholeSecond)
        scheduleClocks[name] = nil
        scraper.forget(name)
        forgetMetrics(of: name)
        reconcile(.applicationDeleted(name))
    }
}

extension LeaderTerm {
    /// Stores a node's events and decisions, each once.
    /// - Returns: the highest sequences PostgreSQL now has of those sent; nil: nothing was stored, try again later.
    func ingest(
        _ events: [Event], _ decisions: [ScalingDecision], from node: NodeID
    ) async -> (events: Int64, decisions: Int64)? {
        guard isLoaded, surroundings.isActive(epoch) else { return nil }
        var changes: [StateChange] = []
        if !events.isEmpty { changes.append(.appendEvents(node: node, events)) }
        if !decisions.isEmpty { changes.append(.appendDecisions(node: node, decisions)) }
        do {
            try await surroundings.store.write(changes, epoch: epoch, leader: surroundings.me.id)
            return (events.last?.sequence ?? 0, decisions.last?.sequence ?? 0)
        } catch {
            if error.isFenced { surroundings.fenced(epoch) }
            logger.log(
                level: error.isRetryable ? .debug : .error, "Events are not stored yet; their outbox keeps them",
                metadata: ["from": "\(node)", "error": "\(error)"])
            return nil
        }
    }
}
