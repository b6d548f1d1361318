import OrchestryModel

/// One instance as its agent drives it: from an order to run it, through pulls, starts, probes, crashes and restarts,
/// until it is told to stop and its container is gone. Pure: no clock, I/O, randomness or logging.
///
/// An instance lives on one node with at most one container at a time; a restart is a new container under the same
/// identity. Engine actions are never given twice at once: `outstanding` is set until the shell has answered. While
/// the engine is lost none are given, and what it failed to do meanwhile is not held against the instance.
///
/// The shell sends `tick` right after making one. Everything a running container needs survives the agent: an adopted
/// container is probed first and keeps running whatever the probes say, because this agent has not seen it ready.
public struct InstanceLifecycle: Sendable {
    /// What a container is being got rid of for.
    enum Purpose: Hashable, Sendable { case restart, finish }

    enum Phase: Hashable, Sendable {
        /// Found exited: handled as an exit by the first event.
        case foundExited(ExistingContainer)
        case pulling
        case creating
        case running(containerID: String)
        /// SIGTERM was or will be sent; asked again at `retryAt`.
        case terminating(containerID: String, Purpose, graceSeconds: Int, retryAt: Instant)
        /// The exited container is being removed.
        case clearing(containerID: String, Purpose, notBefore: Instant)
        /// A release step has exited: its container is kept until the leader has heard of that.
        case ended(containerID: String)
        /// Between two attempts. `pull`: the next one begins with the image.
        case waiting(until: Instant, pull: Bool, engineFailure: Bool)
        case finished
    }

    /// What is known of the container that runs now.
    struct Run: Hashable, Sendable {
        var startedAt: Instant
        /// Found running, and not seen ready since.
        var adopted: Bool
        var successes = 0
        var wasReady = false
        /// Of the liveness check, in a row.
        var livenessFailures = 0
        var readySince: Instant?
        /// Was ready for `BackOff.forgivenAfter` on end.
        var forgiven = false
    }

    public internal(set) var assignment: Assignment
    /// As it should be reported now; `lastProbeAt` and `failures` change without a `statusChanged`.
    public internal(set) var status: InstanceStatus

    var phase: Phase
    var run: Run?
    var backOff = BackOff()
    /// When the next container may be started.
    var restartAt = Instant.zero
    /// Why the current container replaces an earlier one; nil for the first.
    var restartCause: String?
    var restartDetails: [String: JSONValue] = [:]
    /// Set when the instance must stop as soon as the outstanding start has an answer.
    var stopAfterStart: Int?
    var adoptionToReport = false
    /// What the engine last failed with; the same again is no news.
    var lastFailure: String?

    private var engineAvailable = true
    /// An engine action awaits its answer.
    private var outstanding = false
    private var announced: InstanceStatus?
    private var wakeSent: Instant?

    /// An instance that has no container yet. The first event must be `tick`; it gives `ensureImage`.
    public init(assignment: Assignment, wall: WallTime) {
        self.assignment = assignment
        phase = .pulling
        status = InstanceStatus(
            instance: assignment.instance, app: assignment.app, revision: assignment.revision, node: assignment.node,
            state: .pending, since: wall)
    }

    /// An instance whose container was found on the engine. The first event must be `tick`: a running one is then
    /// probed, an exited one handled as an exit.
    public init(adopting assignment: Assignment, container: ExistingContainer, wall: WallTime) {
        self.init(assignment: assignment, wall: wall)
        status.startedAt = container.startedAt
        if container.isRunning {
            phase = .running(containerID: container.containerID)
            status.state = .starting
            status.containerID = container.containerID
            status.endpoint = container.endpoint
            status.message = "found running; not probed yet"
            adoptionToReport = true
        } else {
            phase = .foundExited(container)
            status.message = "its container was found exited"
        }
    }

    /// - Returns: what to do, in order. After `finished` nothing more is ever returned.
    public mutating func handle(
        _ event: Event, at now: Instant, wall: WallTime, using generator: inout some RandomNumberGenerator
    ) -> [Action] {
        guard phase != .finished else { return [] }
        var actions: [Action] = []
        beginAdoption(at: now, wall: wall, &actions, using: &generator)
        switch event {
        case .imagePresent: imagePresent(wall)
        case .imageFailed(let reason):
            engineFailed(during: .pulling, "image: \(reason)", at: now, wall, &actions, using: &generator)
        case .containerStarted(let containerID, let endpoint):
            containerStarted(containerID, endpoint, at: now, wall, &actions)
        case .startFailed(let reason):
            engineFailed(during: .creating, "start: \(reason)", at: now, wall, &actions, using: &generator)
        case .probeSucceeded: probeSucceeded(at: now, wall)
        case .probeFailed(let reason): probeFailed(reason, at: now, wall, &actions)
        case .livenessSucceeded: run?.livenessFailures = 0
        case .livenessFailed(let reason): livenessFailed(reason, at: now, wall, &actions)
        case .containerExited(let containerID, let code, let outOfMemory, let lines):
            exited(
                containerID, Exit(code: code, outOfMemory: outOfMemory, lastLogLines: lines), at: now, wall, &actions,
                using: &generator)
        case .stopRequested(let graceSeconds): stopRequested(graceSeconds, at: now, wall, &actions)
        case .containerRemoved: containerRemoved(wall)
        case .removeFailed(let reason): removeFailed(reason, at: now)
        case .retryRequested: retryRequested(at: now)
        case .engineLost: engineAvailable = false
        case .engineBack:
            engineAvailable = true
            if case .waiting(_, let pull, true) = phase {
                phase = .waiting(until: now, pull: pull, engineFailure: false)
            }
        case .assignmentUpdated(let assignment): update(assignment, at: now, wall, &actions)
        case .tick: break
        }
        advance(at: now, wall, &actions)
        conclude(&actions)
        return actions
    }

    /// Gives the engine action the phase calls for, unless one is on its way or the engine is away.
    private mutating func advance(at now: Instant, _ wall: WallTime, _ actions: inout [Action]) {
        if case .waiting(let until, let pull, _) = phase, now >= until { phase = pull ? .pulling : .creating }
        if case .terminating(_, _, _, let retryAt) = phase, now >= retryAt { outstanding = false }
        guard engineAvailable, !outstanding else { return }
        switch phase {
        case .pulling:
            enter(.pulling, lastFailure.map { "trying again after: \($0)" } ?? "", wall)
            actions.append(.ensureImage)
        case .creating:
            enter(.starting, restartCause.map { "starting again after \($0)" } ?? "", wall)
            actions.append(.startContainer)
        case .terminating(let containerID, let purpose, let graceSeconds, _):
            // An engine that loses the request is asked again, well after SIGKILL was due.
            phase = .terminating(
                containerID: containerID, purpose, graceSeconds: graceSeconds,
                retryAt: now + .seconds(graceSeconds + 15))
            actions.append(.stopContainer(containerID: containerID, graceSeconds: graceSeconds))
        case .clearing(let containerID, _, let notBefore):
            guard now >= notBefore else { return }
            actions.append(.removeContainer(containerID: containerID))
        case .foundExited, .running, .waiting, .ended, .finished: return
        }
        outstanding = true
    }

    /// Adds what follows from the new state: the status if it changed, the wake, the end.
    private mutating func conclude(_ actions: inout [Action]) {
        var reported = status
        reported.lastProbeAt = nil  // Would make every probe a message.
        reported.failures = 0
        if reported != announced {
            announced = reported
            actions.append(.statusChanged(status))
        }
        if phase == .finished {
            actions.append(.finished)
        } else if let deadline = nextDeadline, deadline != wakeSent {
            wakeSent = deadline
            actions.append(.wake(at: deadline))
        }
    }

    private var nextDeadline: Instant? {
        switch phase {
        case .terminating(_, _, _, let retryAt): retryAt
        case .clearing(_, _, let notBefore): outstanding ? nil : notBefore
        case .waiting(let until, _, _): until
        case .foundExited, .pulling, .creating, .running, .ended, .finished: nil
        }
    }

    // MARK: For the extensions

    /// The shell answered: the next engine action may be given.
    mutating func answered() { outstanding = false }

    var isOutstanding: Bool { outstanding }
    var isEngineAvailable: Bool { engineAvailable }

    /// Makes the next `conclude` report the status even if nothing changed.
    mutating func announceAgain() { announced = nil }

    mutating func enter(_ state: InstanceState, _ message: String, _ wall: WallTime) {
        if status.state != state { status.since = wall }
        status.state = state
        status.message = message
    }
}
