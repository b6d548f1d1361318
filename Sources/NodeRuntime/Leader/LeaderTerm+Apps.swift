import DockerEngine
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

/// What clients ask of one app: whether it may be done, and what is then to be stored.
extension LeaderTerm {
    func planRegister(
        _ document: JSONValue, _ condition: SpecCondition?, _ request: ControlRequest
    ) async throws -> Plan {
        let (spec, flat) = try AppSpec.parse(document)
        try condition?.check(applications[spec.name], name: spec.name)
        try checkRegistration(of: spec, among: applications, request)
        let wall = surroundings.clock.wall()
        let (application, isNewRevision) = try await registration(of: spec, flat, over: applications[spec.name])
        let known = applications[spec.name] != nil
        var changes: [StateChange] = [
            .saveApplication(application),
            event(
                known ? .appUpdated : .appRegistered, spec.name,
                "App \(spec.name) was \(known ? "updated" : "registered") (revision \(application.revision), image \(spec.image))",
                request),
        ]
        let rollout = isNewRevision ? applications[spec.name].flatMap { deployment(of: application, over: $0) } : nil
        if let rollout { changes.insert(.saveRollout(rollout), at: 1) }
        if isNewRevision {
            changes.insert(
                .saveRevision(
                    spec.name, revision: application.revision, document: flat, spec: spec,
                    secrets: application.secrets, at: wall), at: 1)
        }
        return Plan(
            response: ControlResponse(body: Presentation.registered(spec.name, revision: application.revision)),
            changes: changes, application: application, rollout: rollout)
    }

    func planStart(_ current: Application, _ request: ControlRequest) -> Plan {
        var application = current
        // What is on its way out is not taken back: an instance that drains, stops.
        let running = reconciler.instances(of: current.name).count { $0.state != .stopped && $0.state != .draining }
        if current.status == .running && current.replicas > 0 {
            return Plan(
                response: ControlResponse(
                    body: Presentation.started(current.name, replicas: current.replicas, adopted: 0, started: 0)))
        }
        application.status = .running
        application.replicas = current.spec.scaling.leastAwake
        application.updatedAt = surroundings.clock.wall()
        let adopted = min(running, application.replicas)
        return Plan(
            response: ControlResponse(
                body: Presentation.started(
                    current.name, replicas: application.replicas, adopted: adopted,
                    started: application.replicas - adopted)),
            changes: [
                .saveApplication(application),
                event(
                    .appStarted, current.name, "App \(current.name) was started with \(application.replicas) replicas",
                    request),
            ], application: application, scaled: (0, application.replicas))
    }

    func planStop(_ current: Application, _ request: ControlRequest) throws -> Plan {
        guard current.status == .running else {
            throw Problem(
                status: 400, code: "app-not-running", title: "The app is not running",
                detail: "App \(current.name) is not running, so there is nothing to stop.")
        }
        var application = current
        application.status = .stopped
        application.replicas = 0
        application.control?.fixed = nil
        application.updatedAt = surroundings.clock.wall()
        let running = reconciler.instances(of: current.name).filter { $0.state != .stopped }.count
        return Plan(
            response: ControlResponse(body: Presentation.stopped(current.name, containersStopped: running)),
            changes: [
                .saveApplication(application),
                event(.appStopped, current.name, "App \(current.name) was stopped", request),
            ], application: application, scaled: (current.replicas, 0))
    }

    func planScale(_ current: Application, to replicas: Int, _ request: ControlRequest) -> Plan {
        let second = surroundings.clock.wall().wholeSecond
        let isAlike = current.replicas == replicas && (current.status == .running) == (replicas > 0)
        if isAlike, current.control?.active(at: second).fixed == nil {
            return Plan(response: ControlResponse(body: Presentation.scaleNoChange(current.name, replicas: replicas)))
        }
        let wall = surroundings.clock.wall()
        var application = current
        application.replicas = replicas
        application.control?.fixed = nil
        application.status = replicas > 0 ? .running : .stopped
        application.updatedAt = wall
        application.lastScaledAt = wall
        let decision = ScalingDecision(
            node: surroundings.me.id, epoch: epoch, time: wall, app: current.name, fromReplicas: current.replicas,
            toReplicas: replicas, reason: "Manual scaling by \(request.actor)", triggeredBy: "manual")
        return Plan(
            response: ControlResponse(body: Presentation.scaled(current.name, replicas: replicas)),
            changes: [
                .saveApplication(application),
                event(
                    .scaleRequested, current.name,
                    "App \(current.name) was scaled by hand: \(current.replicas) → \(replicas)",
                    request),
                .recordDecision(decision),
            ], application: application, scaled: (current.replicas, replicas))
    }

    func planRetry(_ current: Application, _ request: ControlRequest) -> Plan {
        let waiting = reconciler.instances(of: current.name).filter {
            switch $0.state {
            case .pending, .pulling, .starting, .unhealthy, .crashLooping: true
            case .ready, .draining, .stopped: false
            }
        }
        guard !waiting.isEmpty || current.imageReview?.verdict == .refused else {
            return Plan(response: ControlResponse(body: Presentation.retried(current.name, instances: [])))
        }
        return Plan(
            response: ControlResponse(
                body: Presentation.retried(current.name, instances: waiting.map(\.instance))),
            changes: [
                event(.appRetried, current.name, "\(waiting.count) instances of \(current.name) try again now", request)
            ],
            retried: current.name)
    }

    /// Also what was refused: another look may find otherwise.
    func retry(_ name: AppName) {
        if var application = applications[name], application.imageReview?.verdict == .refused {
            application.imageReview = nil
            reconcile(.applicationChanged(application))
        }
        reconcile(.retry(name))
    }

    func planPolicy(_ current: Application, _ policy: JSONValue, _ request: ControlRequest) throws -> Plan {
        var application = current
        let merged = try ScalingPolicy.parse(policy, merging: current.document["scaling"] ?? [:])
        try refuseUnknownZones(of: merged.policy, at: "policy")
        if merged.policy.minReplicas == 0, current.spec.kind != .http {
            throw ValidationError([Violation("policy.minReplicas", ScalingPolicy.zeroNeedsHTTP)])
        }
        application.spec.scaling = merged.policy
        if case .object(var members) = application.document {
            members["scaling"] = merged.scaling
            application.document = .object(members)
        }
        application.updatedAt = surroundings.clock.wall()
        return Plan(
            response: ControlResponse(body: Presentation.policyUpdated(current.name, posted: policy)),
            changes: [
                .saveApplication(application),
                event(.policyUpdated, current.name, "The scaling policy of \(current.name) was changed", request),
            ], application: application)
    }
}
