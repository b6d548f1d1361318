import OrchestryModel
import PostgresStore
import RestFacade

/// What people tell the autoscaler: a count for a time, pauses; and schedules' time zones.
extension LeaderTerm {
    func planFixed(
        _ current: Application, at replicas: Int, forSeconds seconds: Int, _ request: ControlRequest
    ) -> Plan {
        let wall = surroundings.clock.wall()
        let until = wall.wholeSecond + Int64(seconds)
        var application = current
        var control = current.control?.active(at: wall.wholeSecond) ?? ScalingControl()
        control.fixed = ScalingControl.Override(replicas: replicas, untilSecond: until, by: request.actor)
        application.control = control
        application.replicas = replicas
        application.status = .running
        application.updatedAt = wall
        var changes: [StateChange] = []
        if current.replicas != replicas {
            application.lastScaledAt = wall
            changes.append(
                .recordDecision(
                    ScalingDecision(
                        node: surroundings.me.id, epoch: epoch, time: wall, app: current.name,
                        fromReplicas: current.replicas, toReplicas: replicas,
                        reason: "Fixed for \(seconds) s by \(request.actor)", triggeredBy: "manual")))
        }
        return Plan(
            response: ControlResponse(body: Presentation.scaled(current.name, replicas: replicas, until: until)),
            changes: [
                .saveApplication(application),
                event(
                    .scaleRequested, current.name,
                    "App \(current.name) was fixed by hand for \(seconds) s: \(current.replicas) → \(replicas)", request
                ),
            ] + changes, application: application, scaled: (current.replicas, replicas))
    }

    func planAutoscale(_ current: Application, _ change: AutoscaleChange, _ request: ControlRequest) -> Plan {
        let wall = surroundings.clock.wall()
        let control = change.applied(
            to: current.control ?? ScalingControl(), at: wall.wholeSecond, by: request.actor)
        var application = current
        application.control = control.isEmpty ? nil : control
        application.updatedAt = wall
        let direction =
            switch change.direction {
            case .out: "scale-out"
            case .in: "scale-in"
            case .both: "autoscaling"
            }
        let length = change.forSeconds.map { " for \($0) s" } ?? ""
        let isPause = change.action == .pause
        return Plan(
            response: ControlResponse(body: Presentation.autoscaleChanged(current.name, control: control)),
            changes: [
                .saveApplication(application),
                event(
                    isPause ? .autoscalePaused : .autoscaleResumed, current.name,
                    "\(direction) of \(current.name) was \(isPause ? "paused" : "resumed")\(length)", request),
            ], application: application)
    }

    /// A schedule in a zone that this node does not know would silently never hold.
    func refuseUnknownZones(of policy: ScalingPolicy, at path: String) throws {
        let violations = (policy.schedules ?? []).enumerated().compactMap { index, schedule in
            TimeZones.exists(schedule.timeZone)
                ? nil
                : Violation(
                    "\(path).schedules[\(index)].timeZone",
                    "must be a time zone of the IANA database such as Europe/Berlin, got \"\(schedule.timeZone)\"")
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
    }

    /// What people have told the autoscaler and still holds, in sentences.
    func controlWords(of application: Application) -> [String] {
        let second = surroundings.clock.wall().wholeSecond
        guard let control = application.control?.active(at: second) else { return [] }
        var words: [String] = []
        if let fixed = control.fixed {
            words.append("\(fixed.by) fixed \(fixed.replicas) replicas for another \(fixed.untilSecond - second) s.")
        }
        for (name, pause) in [("out", control.pauseOut), ("in", control.pauseIn)] {
            guard let pause else { continue }
            let end = pause.untilSecond.map { "for another \($0 - second) s" } ?? "until it is resumed"
            words.append("\(pause.by) paused scale-\(name) \(end).")
        }
        return words
    }
}
