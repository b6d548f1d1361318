import OrchestryModel

/// Probes: from starting to ready, to unhealthy and back, and the restart of what stays unhealthy.
extension InstanceLifecycle {
    /// An unhealthy instance is restarted after this many times its failure threshold of further failures.
    static let livenessFactor = 3

    private var health: AppSpec.HealthCheck { assignment.spec.health }

    mutating func beginProbing(at now: Instant, _ wall: WallTime, _ actions: inout [Action]) {
        if assignment.instance.isReleaseStep { return status.message = "runs the release command" }
        if health.kind == .none { becomeReady(at: now, wall) }
        if health.kind != .none || assignment.spec.liveness != nil { actions.append(.startProbing(status.endpoint)) }
    }

    /// The liveness check replaces a container that can't be helped, whether it was ready or not.
    mutating func livenessFailed(_ reason: String, at now: Instant, _ wall: WallTime, _ actions: inout [Action]) {
        guard case .running(let containerID) = phase, let current = run, let check = assignment.spec.liveness,
            now >= current.startedAt + .seconds(check.initialDelaySeconds)
        else { return }
        run?.livenessFailures += 1
        let failures = current.livenessFailures + 1
        guard failures >= check.failureThreshold else { return }
        noteNotReady(at: now)
        enter(.unhealthy, "restarting: fails its liveness check: \(reason)", wall)
        restart(
            containerID, "\(failures) failed liveness probes in a row (\(reason))", failures, reason, at: now, &actions)
    }

    private mutating func restart(
        _ containerID: String, _ cause: String, _ failures: Int, _ reason: String, at now: Instant,
        _ actions: inout [Action]
    ) {
        restartCause = cause
        restartDetails = ["failures": JSONValue(failures), "reason": .string(reason)]
        actions.append(.stopProbing)
        phase = .terminating(
            containerID: containerID, .restart, graceSeconds: assignment.spec.termination.gracePeriodSeconds,
            retryAt: now)
    }

    mutating func probeSucceeded(at now: Instant, _ wall: WallTime) {
        guard case .running = phase, run != nil else { return }
        status.lastProbeAt = wall
        status.failures = 0
        run?.successes += 1
        if status.state != .ready, run.map({ $0.successes >= health.successThreshold }) == true {
            becomeReady(at: now, wall)
        }
    }

    mutating func probeFailed(_ reason: String, at now: Instant, _ wall: WallTime, _ actions: inout [Action]) {
        guard case .running(let containerID) = phase, let current = run else { return }
        status.lastProbeAt = wall
        run?.successes = 0
        guard now >= current.startedAt + .seconds(health.initialDelaySeconds) else {
            if status.state != .ready { status.message = "not ready yet: \(reason)" }
            return
        }
        status.failures += 1
        switch status.state {
        case .ready:
            guard status.failures >= health.failureThreshold else { return }
            noteNotReady(at: now)
            enter(.unhealthy, "fails its health check: \(reason)", wall)
        case .unhealthy:
            status.message = "fails its health check: \(reason)"
            // Never an adopted one that this agent has not seen ready: the leader replaces it instead. And where there is
            // a liveness check, that one decides.
            guard current.wasReady, assignment.spec.liveness == nil,
                status.failures >= health.failureThreshold * (1 + Self.livenessFactor)
            else { return }
            status.message = "restarting after \(status.failures) failed probes in a row: \(reason)"
            restart(
                containerID, "\(status.failures) failed probes in a row (\(reason))", status.failures, reason, at: now,
                &actions)
        case .starting:
            let isFailing = status.failures >= health.failureThreshold
            if current.adopted, isFailing {
                // It may have been ready under the last agent and be routed to: say so at once.
                enter(.unhealthy, "fails its health check since it was found: \(reason)", wall)
            } else {
                status.message = (isFailing ? "still fails its health check: " : "not ready yet: ") + reason
            }
        case .pending, .pulling, .draining, .stopped, .crashLooping: break
        }
    }

    private mutating func becomeReady(at now: Instant, _ wall: WallTime) {
        run?.wasReady = true
        run?.adopted = false
        run?.readySince = now
        status.failures = 0
        enter(.ready, "", wall)
    }

    /// Ends the current spell of health, and remembers whether it was long enough to forgive earlier crashes.
    mutating func noteNotReady(at now: Instant) {
        guard let since = run?.readySince else { return }
        if now - since >= BackOff.forgivenAfter { run?.forgiven = true }
        run?.readySince = nil
    }

    /// Takes over terms that need no new container.
    mutating func update(_ new: Assignment, at now: Instant, _ wall: WallTime, _ actions: inout [Action]) {
        announceAgain()  // The leader repeats an order when it has not heard of the instance.
        guard new.instance == assignment.instance, new.revision == assignment.revision else { return }
        let old = assignment
        assignment = new
        guard case .running = phase,
            old.spec.health != new.spec.health || old.spec.liveness != new.spec.liveness
        else { return }
        run?.livenessFailures = 0
        if new.spec.health.kind == .none, status.state != .ready { becomeReady(at: now, wall) }
        let isProbed = new.spec.health.kind != .none || new.spec.liveness != nil
        actions.append(isProbed ? .startProbing(status.endpoint) : .stopProbing)
    }
}
