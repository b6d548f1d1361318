import Autoscaling
import Logging
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

extension LeaderTerm {
    /// Each second, a third of a second after the full one: by then every node's sample of the last second is here.
    func evaluateEachSecond() async {
        while !Task.isCancelled {
            let wall = surroundings.clock.wall()
            let next = (wall.wholeSecond + 1) * 1000 + ScalingState.evaluationMilliseconds
            do { try await Task.sleep(for: .milliseconds(next - wall.milliseconds)) } catch { return }
            guard surroundings.isActive(epoch) else { continue }
            let second = surroundings.clock.wall().wholeSecond
            for name in applications.keys.sorted() {
                guard let application = applications[name], application.status == .running else { continue }
                let evaluation = evaluate(application, at: second)
                if evaluation.shouldScale { await scale(name, by: evaluation) }
            }
            await surroundings.keepRecords(surroundings.scaling.takeRecords())
        }
    }

    /// A follower keeps about a minute of every app, since it knows no policies: for longer windows the rest is read from
    /// its cache.
    func warmLongWindows() async {
        let long = applications.values.filter { $0.spec.scaling.windowSeconds > Autoscaler.followerWindowSeconds }
        guard let longest = long.map(\.spec.scaling.windowSeconds).max() else { return }
        let names = Set(long.map(\.name))
        let wall = surroundings.clock.wall()
        let samples = await surroundings.pastSamples(wall.wholeSecond - Int64(longest)).filter {
            names.contains($0.app)
        }
        for application in long {
            surroundings.scaling.retain(application.name, windowSeconds: application.spec.scaling.windowSeconds)
        }
        surroundings.scaling.record(samples, at: wall)
    }

    func replicaState(of application: Application, at second: Int64) -> ReplicaState {
        let control = application.control?.active(at: second)
        let view = reconciler.replicaView(of: application.name)
        return ReplicaState(
            desired: application.replicas, ready: view.ready, starting: view.starting,
            rolloutInProgress: view.rolloutInProgress, capacityLimit: reconciler.capacityLimit(for: application.spec),
            pauseOut: control?.pauseOut != nil, pauseIn: control?.pauseIn != nil, fixed: control?.fixed,
            schedule: scheduleClocks[application.name, default: ScheduleClock()].bounds(
                application.spec.scaling.schedules, at: second, offset: TimeZones.offset),
            lastScaledSecond: application.lastScaledAt?.wholeSecond, activation: activation(of: application))
    }

    private func evaluate(_ application: Application, at second: Int64) -> Evaluation {
        let (evaluation, observed) = surroundings.scaling.evaluate(
            application.name, policy: application.spec.scaling, state: replicaState(of: application, at: second),
            at: second)
        accumulate(observed, app: application.name, replicas: application.replicas)
        return evaluation
    }

    /// Carries out a decision: in the outbox first, then in PostgreSQL if it answers, then in effect. Without
    /// PostgreSQL the decision stands all the same (design L2, unanimous) and is flushed later.
    func scale(_ name: AppName, by evaluation: Evaluation) async {
        await writeLock.withLock { await self.carryOut(evaluation, app: name) }
    }

    /// Under the write lock.
    private func carryOut(_ evaluation: Evaluation, app name: AppName) async {
        // What PostgreSQL has must not be overwritten unseen; if it can't be asked, it is not written to either.
        var problem: StoreError?
        do throws(StoreError) { try await settle() } catch { problem = error }
        guard var application = applications[name], application.status == .running,
            application.replicas == evaluation.current, surroundings.isActive(epoch)
        else { return }
        let wall = surroundings.clock.wall()
        application.replicas = evaluation.wanted
        application.lastScaledAt = wall
        let decision = ScalingDecision(
            node: surroundings.me.id, epoch: epoch, time: wall, app: name, fromReplicas: evaluation.current,
            toReplicas: evaluation.wanted, reason: evaluation.reason, triggeredBy: "autoscaler",
            metrics: observed(application).json, explanation: evaluation.explanation)
        do throws(StoreError) {
            if let problem { throw problem }
            try await surroundings.store.write(
                [.saveApplication(application)], epoch: epoch, leader: surroundings.me.id, turn: nextTurn())
        } catch {
            if error.isFenced {
                surroundings.fenced(epoch)
                return
            }
            unsaved.insert(name)
            logger.warning(
                "Scaling without PostgreSQL; it is told when it returns",
                metadata: ["app": "\(name)", "error": "\(error)"])
        }
        await surroundings.recordDecision(decision)
        applications[name] = application
        surroundings.scaling.noteScaled(
            name, from: evaluation.current, to: evaluation.wanted, at: wall.wholeSecond)
        logger.info(
            "Scaled",
            metadata: [
                "app": "\(name)", "from": "\(evaluation.current)", "to": "\(evaluation.wanted)",
                "reason": "\(evaluation.reason)",
            ])
        surroundings.record(
            .scaled, name, evaluation.reason,
            ["from": JSONValue(evaluation.current), "to": JSONValue(evaluation.wanted)])
        reconcile(.applicationChanged(application))
    }

    /// Tells PostgreSQL the replica counts it missed.
    func saveUnsaved() async {
        guard !unsaved.isEmpty else { return }
        await writeLock.withLock {
            do {
                try await settle()
                let changes = unsaved.sorted().compactMap { applications[$0].map(StateChange.saveApplication) }
                try await surroundings.store.write(
                    changes, epoch: epoch, leader: surroundings.me.id, turn: nextTurn())
                unsaved.removeAll()
            } catch {
                logger.debug("Replica counts are not stored yet", metadata: ["error": "\(error)"])
            }
        }
    }

    /// `POST /apps/{name}/simulateMetrics`: one synthetic second, and at once an evaluation if asked for.
    func simulate(_ metrics: SimulatedMetrics, app name: AppName) async throws -> ControlResponse {
        guard let application = applications[name] else { throw Problem.appNotFound(name) }
        guard application.status == .running else {
            throw Problem(
                status: 404, code: "app-not-running", title: "The app is not running",
                detail: "App \(name) is not running. Start it with `orchestry up \(name)`.")
        }
        let second = surroundings.clock.wall().wholeSecond
        surroundings.scaling.inject(metrics, app: name, second: second - 1)
        let state = replicaState(of: application, at: second)
        let added = Presentation.ObservedMetrics(
            rps: metrics.rps, p95LatencyMilliseconds: metrics.p95LatencyMs,
            activeConnections: Double(metrics.activeConnections), cpuPercent: metrics.cpuPercent,
            memoryPercent: metrics.memoryPercent, healthyReplicas: metrics.healthyReplicas ?? state.ready.count,
            totalReplicas: application.replicas)
        guard metrics.evaluate else {
            return ControlResponse(
                body: Presentation.simulated(app: name, added: added, evaluation: nil, scaledFrom: nil))
        }
        let evaluation = evaluate(application, at: second)
        if evaluation.shouldScale { await carryOut(evaluation, app: name) }
        let factors = evaluation.factors.compactMap { factor in factor.factor.map { (factor.metric.rawValue, $0) } }
        return ControlResponse(
            body: Presentation.simulated(
                app: name, added: added,
                evaluation: Presentation.EvaluationOutcome(
                    shouldScale: evaluation.shouldScale, targetReplicas: evaluation.wanted, reason: evaluation.reason,
                    factors: Dictionary(factors, uniquingKeysWith: { first, _ in first })),
                scaledFrom: evaluation.shouldScale ? evaluation.current : nil))
    }
}
