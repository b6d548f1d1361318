import OrchestryModel

/// One app at a time: what is wanted, what is there, what to do about it.
extension Reconciler {
    mutating func change(_ application: Application) {
        let name = application.name
        let old = apps[name]?.application
        apps[name, default: AppRecord()].application = application
        apps[name]?.termination = application.spec.termination
        dirty.insert(name)
        guard let old else { return resumeRollout(of: name) }
        if old.reasonToHold != nil, application.reasonToHold == nil { apps[name]?.rollout?.startAgain(at: now) }
        if old.revision != application.revision {
            beginRollout(of: name, from: old.revision)
        } else if old.spec.health != application.spec.health || old.spec.liveness != application.spec.liveness
            || old.secrets != application.secrets
        {
            for id in apps[name]?.instances ?? [] where instances[id]?.status.revision == application.revision {
                instances[id]?.needsUpdate = true
            }
        }
    }

    mutating func delete(_ name: AppName) {
        guard apps[name] != nil else { return }
        apps[name]?.application = nil
        apps[name]?.rollout = nil
        dirty.insert(name)
    }

    /// Brings one app as far as it gets now.
    mutating func reconcile(_ name: AppName) {
        guard let app = apps[name] else { return }
        endHolds(of: app)
        repeatCommands(of: app)
        var members = members(of: app)
        let hold = noteHold(of: name)
        // Held back, an app keeps what it has: no rollout takes an instance that nothing could replace.
        if hold != nil { for index in members.indices { members[index].isCurrent = true } }
        let plan = ReplicaPlan(members, goal: goal(of: app))
        for id in plan.drain { startDrain(of: id, reasonToDrain(id, app), since: wall, isNews: true) }
        create(hold == nil ? plan.create : 0, of: name)
        if hold == nil { followRollout(of: name) } else { endRefusedRollout(of: name) }
    }

    /// Why no instance of the app may be made; recorded once for each reason.
    private mutating func noteHold(of name: AppName) -> String? {
        guard let app = apps[name] else { return nil }
        let hold = app.wanted > 0 ? app.application?.reasonToHold : nil
        guard hold != app.hold else { return hold }
        apps[name]?.hold = hold
        if let hold { record(.appHeld, name, "No instance is started: \(hold)", ["reason": .string(hold)]) }
        return hold
    }

    private func assignment(_ id: InstanceID, of application: Application, revision: Int, on node: NodeID) -> Assignment
    {
        Assignment(
            instance: id, revision: revision, node: node, spec: application.pinnedSpec, replicas: application.replicas,
            secrets: application.secrets)
    }

    func goal(of app: AppRecord) -> ReplicaPlan.Goal {
        let rollout = app.application?.spec.rollout ?? AppSpec.RolloutPolicy()
        return ReplicaPlan.Goal(wanted: app.wanted, surge: rollout.surge, unavailable: rollout.unavailable)
    }

    /// The app's instances that are not draining, as the plan sees them.
    func members(of app: AppRecord) -> [ReplicaPlan.Member] {
        let revision = app.application?.revision
        return app.instances.compactMap { id in
            guard let record = instances[id], record.drain == nil, let node = nodes[record.status.node] else {
                return nil
            }
            return ReplicaPlan.Member(
                id: id, node: record.status.node, health: health(of: record, in: app),
                isCurrent: record.status.revision == revision, isSilent: node.silentSince != nil,
                nodeLoad: placementNode(record.status.node, node).load,
                bornAt: record.status.startedAt?.milliseconds ?? .max)
        }
        .sorted { $0.id < $1.id }
    }

    func health(of record: InstanceRecord, in app: AppRecord) -> ReplicaPlan.Health {
        switch record.status.state {
        case .ready: return .ready
        case .unhealthy: return .unhealthy
        case .pending, .pulling, .starting, .crashLooping, .draining, .stopped:
            if record.status.restarts - record.restartsWhenReady >= 2 { return .stuck }
            if let node = nodes[record.status.node], node.isReporting, !node.engineAvailable { return .stuck }
            return patienceEnds(record, app).map { now >= $0 } == true ? .stuck : .coming
        }
    }

    /// When an instance that is not ready stops being expected to become so; nil for one that is ready.
    func patienceEnds(_ record: InstanceRecord, _ app: AppRecord) -> Instant? {
        guard let since = record.notReadySince else { return nil }
        guard let spec = app.application?.spec else { return since + settings.replaceAfter }
        // Pulling takes as long elsewhere.
        if record.status.state == .pulling {
            return since + max(settings.replaceAfter, .seconds(spec.rollout.progressDeadlineSeconds))
        }
        let probing = spec.health.initialDelaySeconds + spec.health.periodSeconds * Double(spec.health.failureThreshold)
        return since + settings.replaceAfter + .seconds(probing)
    }

    private func reasonToDrain(_ id: InstanceID, _ app: AppRecord) -> String {
        guard let application = app.application else { return "the app was deleted" }
        if application.status == .stopped { return "the app was stopped" }
        guard let record = instances[id] else { return "" }
        if record.status.revision != application.revision { return "replaced by revision \(application.revision)" }
        switch record.status.state {
        case .ready, .pending, .pulling, .starting, .draining, .stopped:
            return "\(application.replicas) replicas are wanted"
        case .unhealthy, .crashLooping: return "replaced: \(record.status.message)"
        }
    }

    /// A restarted agent had time enough to find a ready instance ready again. While its node is silent nothing is
    /// concluded from that: it counts as it last was.
    private mutating func endHolds(of app: AppRecord) {
        for id in app.instances {
            guard let record = instances[id], let held = record.held, now >= held.until else { continue }
            guard nodes[record.status.node]?.isReporting == true else { continue }
            apply(held.report, to: id, holding: false)
            persist(id)
        }
    }

    /// `run`, until the agent has spoken of the instance.
    private mutating func repeatCommands(of app: AppRecord) {
        for id in app.instances.sorted() {
            guard let record = instances[id], nodes[record.status.node]?.isReporting == true, record.drain == nil else {
                continue
            }
            if record.needsUpdate, record.isObserved, let application = app.application {
                instances[id]?.needsUpdate = false
                let node = record.status.node
                let update = assignment(id, of: application, revision: record.status.revision, on: node)
                outputs.append(.command(node, .run(update)))
            } else if !record.isObserved, let assignment = record.assignment,
                record.commandSentAt.map({ now >= $0 + settings.resendInterval }) != false
            {
                instances[id]?.commandSentAt = now
                outputs.append(.command(record.status.node, .run(assignment)))
            }
        }
    }

    // MARK: New instances

    private mutating func create(_ count: Int, of name: AppName) {
        guard count > 0, let application = apps[name]?.application else {
            apps[name]?.shortage = nil
            waitingForRoom.remove(name)
            return
        }
        var placement = Placement(placementNodes(for: name, revision: application.revision))
        for missing in stride(from: count, to: 0, by: -1) {
            guard let node = placement.place(application.spec.resources) else {
                return reportShortage(of: name, missing: missing, application.spec.resources)
            }
            create(application, on: node)
        }
        apps[name]?.shortage = nil
        waitingForRoom.remove(name)
    }

    private mutating func create(_ application: Application, on node: NodeID) {
        let id = newInstanceID(application.name, application.revision)
        let assignment = assignment(id, of: application, revision: application.revision, on: node)
        let status = InstanceStatus(
            instance: id, app: application.name, revision: application.revision, node: node, state: .pending,
            message: "its node has not answered yet", since: wall)
        add(status, assignment: assignment, wasRouted: false)
        instances[id]?.commandSentAt = now
        record(
            .instanceCreated, application.name, "\(id) was placed on \(node)",
            [
                "instance": .string(id.rawValue), "node": .string(node.rawValue),
                "revision": JSONValue(application.revision), "image": .string(assignment.spec.image),
            ])
        persist(id)
        outputs.append(.command(node, .run(assignment)))
    }

    private mutating func reportShortage(of name: AppName, missing: Int, _ resources: AppSpec.Resources) {
        let ready = nodes.values.count(where: \.canTakeInstances)
        let reason =
            ready == 0
            ? "no connected node has a working container engine"
            : "none of \(ready) nodes has \(resources.cpuMillicores)m CPU and "
                + "\(resources.memoryBytes >> 20) MiB of memory left to reserve"
        if apps[name]?.shortage == nil {
            record(
                .instanceFailed, name, "\(missing) instances can't be placed: \(reason)",
                ["missing": JSONValue(missing), "reason": "no_capacity"])
        }
        apps[name]?.shortage = reason
        waitingForRoom.insert(name)
    }

    private func placementNodes(for name: AppName, revision: Int) -> [Placement.Node] {
        var ofApp: [NodeID: (revision: Int, all: Int)] = [:]
        for id in apps[name]?.instances ?? [] {
            guard let record = instances[id], record.drain == nil else { continue }
            ofApp[record.status.node, default: (0, 0)].all += 1
            if record.status.revision == revision { ofApp[record.status.node, default: (0, 0)].revision += 1 }
        }
        return nodes.filter(\.value.canTakeInstances).map { id, record in
            var node = placementNode(id, record)
            node.ofRevision = ofApp[id]?.revision ?? 0
            node.ofApp = ofApp[id]?.all ?? 0
            return node
        }
    }

    func placementNode(_ id: NodeID, _ record: NodeRecord) -> Placement.Node {
        Placement.Node(
            id: id, capacityMillicores: record.capacityMillicores, capacityMemoryBytes: record.capacityMemoryBytes,
            reservedMillicores: record.reservedMillicores, reservedMemoryBytes: record.reservedMemoryBytes)
    }

    /// `<app>-<revision>-<6 of a-z0-9>`, not in use.
    private mutating func newInstanceID(_ app: AppName, _ revision: Int) -> InstanceID {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        while true {
            let suffix = String((0..<6).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] })
            let id = InstanceID(unchecked: "\(app)-\(revision)-\(suffix)")
            if instances[id] == nil, departed[id] == nil { return id }
        }
    }

    /// A deleted app leaves when its last instance has.
    mutating func removeIfGone(_ name: AppName) {
        guard let app = apps[name], app.application == nil, app.instances.isEmpty else { return }
        apps[name] = nil
        waitingForRoom.remove(name)
        if routes.removeValue(forKey: name) != nil { routesChanged = true }
    }

    // MARK: Time

    /// Finds out when the app needs another look though nothing is reported.
    mutating func scheduleWake(of name: AppName) {
        guard let app = apps[name] else { return }
        var due: [Instant] = []
        for id in app.instances {
            guard let record = instances[id] else { continue }
            if let drain = record.drain {
                due += drainDeadlines(record, drain, app)
                continue
            }
            if !record.isObserved, let sent = record.commandSentAt { due.append(sent + settings.resendInterval) }
            if let held = record.held { due.append(held.until) }
            if let end = patienceEnds(record, app) { due.append(end) }
        }
        if let rollout = app.rollout, !rollout.hasFailed, let application = app.application {
            due.append(rollout.lastProgressAt + .seconds(application.spec.rollout.progressDeadlineSeconds))
        }
        let earliest = due.filter { $0 > now }.min()
        guard earliest != app.wakeAt else { return }
        apps[name]?.wakeAt = earliest
        if let earliest { deadlines.insert(name, due: earliest) }
    }
}
