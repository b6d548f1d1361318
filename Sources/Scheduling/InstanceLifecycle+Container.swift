import OrchestryModel

/// Starting, exiting, stopping and removing containers.
extension InstanceLifecycle {
    struct Exit: Hashable, Sendable {
        var code: Int
        var outOfMemory: Bool
        var lastLogLines: [String]

        var words: String { "exit code \(code)" + (outOfMemory ? ", out of memory" : "") }
        var details: [String: JSONValue] {
            [
                "exitCode": JSONValue(code), "outOfMemory": .bool(outOfMemory),
                "lastLogLines": .array(lastLogLines.map(JSONValue.string)),
            ]
        }
    }

    /// The first event of an adopted instance: reports it and starts probing, or handles the exit nobody saw.
    mutating func beginAdoption(
        at now: Instant, wall: WallTime, _ actions: inout [Action], using generator: inout some RandomNumberGenerator
    ) {
        if case .foundExited(let container) = phase {
            phase = .running(containerID: container.containerID)
            // Whether it had been ready is not known; nobody is helped by making a long-lived app wait.
            run = Run(startedAt: now, adopted: true, wasReady: true)
            exited(
                nil,
                Exit(
                    code: container.exitCode ?? -1, outOfMemory: container.outOfMemory,
                    lastLogLines: container.lastLogLines), at: now, wall, &actions, using: &generator)
        } else if adoptionToReport {
            adoptionToReport = false
            let age = Duration.milliseconds(max(0, wall.milliseconds - (status.startedAt ?? wall).milliseconds))
            run = Run(startedAt: now - age, adopted: true)
            record(.instanceAdopted, "\(assignment.instance) was found running and is kept", &actions)
            beginProbing(at: now, wall, &actions)
        }
    }

    mutating func imagePresent(_ wall: WallTime) {
        guard phase == .pulling, isOutstanding else { return }
        answered()
        phase = .creating
        enter(.starting, "", wall)
    }

    mutating func containerStarted(
        _ containerID: String, _ endpoint: Endpoint?, at now: Instant, _ wall: WallTime, _ actions: inout [Action]
    ) {
        switch phase {
        case .pulling, .creating, .waiting: break
        case .foundExited, .running, .terminating, .clearing, .ended, .finished: return
        }
        answered()
        status.containerID = containerID
        status.endpoint = endpoint
        status.startedAt = wall
        status.failures = 0
        lastFailure = nil
        run = Run(startedAt: now, adopted: false)
        if let graceSeconds = stopAfterStart {
            enter(.draining, "stopping", wall)
            phase = .terminating(containerID: containerID, .finish, graceSeconds: graceSeconds, retryAt: now)
            return
        }
        phase = .running(containerID: containerID)
        if let cause = restartCause {
            status.restarts += 1
            var details = restartDetails
            details["restarts"] = JSONValue(status.restarts)
            record(
                .instanceRestarted, "\(assignment.instance) was restarted after \(cause)", &actions, details: details)
        }
        // A later container is a restart whatever ended this one.
        restartCause = "its container ended"
        restartDetails = [:]
        enter(.starting, "not probed yet", wall)
        beginProbing(at: now, wall, &actions)
    }

    /// The engine could not fetch the image or start a container.
    mutating func engineFailed(
        during step: Phase, _ reason: String, at now: Instant, _ wall: WallTime, _ actions: inout [Action],
        using generator: inout some RandomNumberGenerator
    ) {
        guard phase == step, isOutstanding else { return }
        answered()
        if stopAfterStart != nil { return finish(wall) }
        // The engine's absence is not the instance's failure; `engineBack` goes on from here.
        guard isEngineAvailable else {
            status.message = "waiting for the container engine"
            return
        }
        let delay = backOff.delay(wasReady: false, using: &generator)
        phase = .waiting(until: now + delay, pull: true, engineFailure: true)
        let isNews = lastFailure != reason
        lastFailure = reason
        let message = "\(reason); next attempt in \(Self.words(delay))"
        enter(step == .pulling ? .pulling : .crashLooping, message, wall)
        if isNews {
            record(.instanceFailed, "\(assignment.instance) can't be started: \(reason)", &actions)
        }
    }

    mutating func exited(
        _ containerID: String?, _ exit: Exit, at now: Instant, _ wall: WallTime, _ actions: inout [Action],
        using generator: inout some RandomNumberGenerator
    ) {
        switch phase {
        case .running(let current):
            guard containerID == nil || containerID == current else { return }
            if assignment.instance.isReleaseStep { return end(current, exit, wall, &actions) }
            var details = exit.details
            details["restarts"] = JSONValue(status.restarts)
            record(.instanceExited, "\(assignment.instance) exited: \(exit.words)", &actions, details: details)
            actions.append(.stopProbing)
            restartCause = exit.words
            restartDetails = ["exitCode": JSONValue(exit.code), "outOfMemory": .bool(exit.outOfMemory)]
            clear(current, exit, at: now, wall, using: &generator)
        case .terminating(let current, .restart, _, _):
            guard containerID == nil || containerID == current else { return }
            restartDetails.merge(exit.details) { _, new in new }
            clear(current, exit, at: now, wall, using: &generator)
        case .terminating(let current, .finish, _, _):
            guard containerID == nil || containerID == current else { return }
            answered()
            status.exitCode = exit.code
            status.outOfMemory = exit.outOfMemory
            phase = .clearing(containerID: current, .finish, notBefore: now)
        case .foundExited, .pulling, .creating, .clearing, .waiting, .ended, .finished: break
        }
    }

    /// A release step is not run again. Its container says how it ended, also to an agent that comes after this one.
    private mutating func end(_ containerID: String, _ exit: Exit, _ wall: WallTime, _ actions: inout [Action]) {
        if run?.adopted == false {
            record(.instanceExited, "\(assignment.instance) ended: \(exit.words)", &actions, details: exit.details)
        }
        run = nil
        status.containerID = containerID
        status.exitCode = exit.code
        status.outOfMemory = exit.outOfMemory
        status.endpoint = nil
        phase = .ended(containerID: containerID)
        enter(.stopped, Self.tail(of: exit.lastLogLines), wall)
    }

    /// The end of an output, about 2,000 bytes: a status holds not much more.
    static func tail(of lines: [String]) -> String {
        String(decoding: lines.joined(separator: "\n").utf8.suffix(2_000), as: UTF8.self)
    }

    /// An exited container is removed, and another started when the back-off allows.
    private mutating func clear(
        _ containerID: String, _ exit: Exit, at now: Instant, _ wall: WallTime,
        using generator: inout some RandomNumberGenerator
    ) {
        answered()
        noteNotReady(at: now)
        if run?.forgiven == true { backOff.reset() }
        let delay = backOff.delay(wasReady: run?.wasReady == true, using: &generator)
        run = nil
        restartAt = now + delay
        status.exitCode = exit.code
        status.outOfMemory = exit.outOfMemory
        status.containerID = nil
        status.endpoint = nil
        status.failures = 0
        phase = .clearing(containerID: containerID, .restart, notBefore: now)
        let cause = restartCause ?? exit.words
        if delay == .zero {
            enter(.starting, "restarting after \(cause)", wall)
        } else {
            enter(.crashLooping, "\(cause); next attempt in \(Self.words(delay))", wall)
        }
    }

    mutating func stopRequested(
        _ graceSeconds: Int, at now: Instant, _ wall: WallTime, _ actions: inout [Action]
    ) {
        announceAgain()  // A repeated order means that the leader has not heard.
        switch phase {
        case .pulling, .waiting: finish(wall)
        case .creating:
            if isOutstanding { stopAfterStart = graceSeconds } else { finish(wall) }
        case .running(let containerID):
            actions.append(.stopProbing)
            enter(.draining, "stopping", wall)
            phase = .terminating(containerID: containerID, .finish, graceSeconds: graceSeconds, retryAt: now)
        case .terminating(let containerID, .restart, let grace, let retryAt):
            enter(.draining, "stopping", wall)
            phase = .terminating(containerID: containerID, .finish, graceSeconds: grace, retryAt: retryAt)
        case .clearing(let containerID, .restart, let notBefore):
            enter(.draining, "stopping", wall)
            phase = .clearing(containerID: containerID, .finish, notBefore: notBefore)
        case .ended(let containerID):
            enter(.draining, "stopping", wall)
            phase = .clearing(containerID: containerID, .finish, notBefore: now)
        case .terminating(_, .finish, _, _), .clearing(_, .finish, _), .foundExited, .finished: break
        }
    }

    mutating func containerRemoved(_ wall: WallTime) {
        guard case .clearing(_, let purpose, _) = phase else { return }
        answered()
        switch purpose {
        case .finish: finish(wall)
        case .restart: phase = .waiting(until: restartAt, pull: false, engineFailure: false)
        }
    }

    mutating func removeFailed(_ reason: String, at now: Instant) {
        let again = now + .seconds(2)
        switch phase {
        case .clearing(let containerID, let purpose, _):
            phase = .clearing(containerID: containerID, purpose, notBefore: again)
        case .terminating(let containerID, let purpose, let graceSeconds, _):
            // Stays outstanding until then, so that a failing engine is not asked in a loop.
            phase = .terminating(containerID: containerID, purpose, graceSeconds: graceSeconds, retryAt: again)
            return status.message = "can't be stopped yet: \(reason)"
        case .foundExited, .pulling, .creating, .running, .waiting, .ended, .finished: return
        }
        answered()
        status.message = "its container can't be removed yet: \(reason)"
    }

    mutating func retryRequested(at now: Instant) {
        restartAt = min(restartAt, now)
        if case .waiting(_, let pull, _) = phase {
            phase = .waiting(until: now, pull: pull, engineFailure: false)
        }
    }

    mutating func finish(_ wall: WallTime) {
        phase = .finished
        status.containerID = nil
        status.endpoint = nil
        enter(.stopped, "", wall)
    }

    // MARK: Words

    func record(
        _ kind: EventKind, _ message: String, _ actions: inout [Action], details: [String: JSONValue] = [:]
    ) {
        var facts = details
        facts["instance"] = .string(assignment.instance.rawValue)
        facts["node"] = .string(assignment.node.rawValue)
        facts["revision"] = JSONValue(assignment.revision)
        actions.append(.record(kind, message: message, details: .object(facts)))
    }

    /// A wait in tenths of a second: "0.9 s".
    static func words(_ delay: Duration) -> String {
        let tenths = (delay.inNanoseconds + 50_000_000) / 100_000_000
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
