import OrchestryModel

/// One app at a time: what is wanted, what is there, what to do about it.
extension Reconciler {
    mutating func change(_ application: Application, _ rollout: RolloutRecord?) {
        let name = application.name
        let old = apps[name]?.application
        let oldWanted = apps[name]?.wanted ?? 0
        apps[name, default: AppRecord()].application = application
        apps[name]?.termination = application.spec.termination
        dirty.insert(name)
        guard let old else { return resumeRollout(of: name, rollout) }
        if old.reasonToHold != nil, application.reasonToHold == nil { apps[name]?.rollout?.restartDeadline(at: now) }
        if old.revision != application.revision {
            beginRollout(of: name, from: old, rollout)
        } else if oldWanted == 0 {
            startAnew(name)
        }
        guard
            old.revision != application.revision || old.spec.health != application.spec.health
                || old.spec.liveness != application.spec.liveness || old.secrets != application.secrets
        else { return }
        for id in apps[name]?.instances ?? [] {
            if let revision = instances[id]?.status.revision, application.isCurrent(revision) {
                instances[id]?.needsUpdate = true
            }
        }
    }

    mutating func delete(_ name: AppName) {
        guard apps[name] != nil else { return }
        apps[name]?.application = nil
        apps[name]?.rollout = nil
        apps[name]?.lastRollout = nil
        dirty.insert(name)
    }

    /// Brings one app as far as it gets now.
    mutating func reconcile(_ name: AppName) {
        guard let known = apps[name] else { return }
        endHolds(of: known)
        repeatCommands(of: known)
        let hold = noteHold(of: name)
        if hold == nil { followRelease(of: name) }
        guard let app = apps[name] else { return }
        let waits = hold != nil || app.isReleasing
        var members = members(of: app)
        var goal = goal(of: app)
        // Held back, an app keeps what it has: no rollout takes an instance that nothing could replace. What is missing is
        // made of the revision before.
        if waits {
            for index in members.indices { members[index].isCurrent = true }
            goal.hold = .none
        }
        var plan = ReplicaPlan(members, goal: goal)
        if waits { (plan.create, plan.createPrevious) = (0, goal.canMakePrevious ? plan.create : 0) }
        for id in plan.drain { startDrain(of: id, reasonToDrain(id, app), since: wall, isNews: true) }
        create(plan, of: name)
        if hold != nil { endRefusedRollout(of: name) } else if !waits { followRollout(of: name) }
        endReleases(of: name)
        // A canary that has passed makes another plan at once; that happens once in a rollout.
        if let rollout = apps[name]?.rollout, app.rollout?.record.phase == .canary, rollout.record.phase == .rolling {
            reconcile(name)
        }
    }

    /// Why no instance of the app's revision may be made; recorded once for each reason.
    private mutating func noteHold(of name: AppName) -> String? {
        guard let app = apps[name] else { return nil }
        let hold = app.wanted > 0 ? app.application?.reasonToHold : nil
        guard hold != app.hold else { return hold }
        apps[name]?.hold = hold
        if let hold { record(.appHeld, name, "No instance is started: \(hold)", ["reason": .string(hold)]) }
        return hold
    }

    func goal(of app: AppRecord) -> ReplicaPlan.Goal {
        let policy = app.application?.spec.rollout ?? AppSpec.RolloutPolicy()
        var goal = ReplicaPlan.Goal(
            wanted: app.wanted, surge: policy.surge.resolved(of: app.wanted, roundingUp: true),
            unavailable: policy.unavailable.resolved(of: app.wanted, roundingUp: false))
        guard let rollout = app.rollout else { return goal }
        goal.canMakePrevious = rollout.record.previousSpec != nil
        if rollout.record.phase == .canary {
            goal.hold = .canary(
                RolloutProgress.canaryCount(wanted: app.wanted, surge: goal.surge, policy: policy.canary))
        } else if rollout.record.isPaused {
            goal.hold = .paused
        }
        return goal
    }

    /// The app's instances that are not draining, as the plan sees them.
    func members(of app: AppRecord) -> [ReplicaPlan.Member] {
        app.instances.filter { !$0.isReleaseStep }.compactMap { id in
            guard let record = instances[id], record.drain == nil, let node = nodes[record.status.node] else {
                return nil
            }
            var member = ReplicaPlan.Member(
                id: id, node: record.status.node, health: health(of: record, in: app),
                isCurrent: app.application?.isCurrent(record.status.revision) == true,
                isSilent: node.silentSince != nil, nodeLoad: placementNode(record.status.node, node).load,
                bornAt: record.status.startedAt?.milliseconds ?? .max)
            member.isPrevious = record.status.revision == app.rollout?.record.from
            member.isProven = app.application.map { isProven(record, $0) } ?? true
            member.isMoving = record.movingSince != nil
            member.isUnwelcome = node.isCordoned || record.isStale
            return member
        }
        .sorted { $0.id < $1.id }
    }

    /// Ready for as long as a rollout asks of a new instance.
    func isProven(_ record: InstanceRecord, _ application: Application) -> Bool {
        guard record.status.state == .ready, let since = record.readySince else { return false }
        return now >= since + .seconds(application.spec.rollout.minHealthySeconds)
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
        if application.isIdle { return "nobody asks for the app" }
        guard let record = instances[id] else { return "" }
        if !application.isCurrent(record.status.revision) { return "replaced by revision \(application.revision)" }
        if record.movingSince != nil { return "moved from node \(record.status.node)" }
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
                let revision = record.status.revision
                guard application.isCurrent(revision) else { continue }
                let update = Recipe(of: application, as: revision).assignment(id, on: record.status.node)
                outputs.append(.command(record.status.node, .run(update)))
            } else if !record.isObserved, let assignment = record.assignment,
                record.commandSentAt.map({ now >= $0 + settings.resendInterval }) != false
            {
                instances[id]?.commandSentAt = now
                outputs.append(.command(record.status.node, .run(assignment)))
            }
        }
    }

    // MARK: New instances

    private mutating func create(_ plan: ReplicaPlan, of name: AppName) {
        guard plan.create + plan.createPrevious > 0, let application = apps[name]?.application else {
            apps[name]?.waitsForNodesSince = nil
            if apps[name]?.isReleaseShort != true { endShortage(of: name) }
            return
        }
        guard !waitForNodes(name) else { return }
        if let rollout = apps[name]?.rollout?.record, let previous = Recipe(before: rollout, of: application) {
            guard create(plan.createPrevious, of: application, previous) else { return }
        }
        guard create(plan.create, of: application, Recipe(of: application, as: application.revision)) else { return }
        endShortage(of: name)
    }

    mutating func endShortage(of name: AppName) {
        apps[name]?.shortage = nil
        apps[name]?.isReleaseShort = false
        waitingForRoom.remove(name)
    }

    /// A node that has just connected may have more room than those that have spoken: right after a change of leader that
    /// is the leader's own alone.
    mutating func waitForNodes(_ name: AppName) -> Bool {
        let since = apps[name]?.waitsForNodesSince ?? now
        guard now < since + settings.placementWait, nodes.values.contains(where: isAwaited) else {
            apps[name]?.waitsForNodesSince = nil
            return false
        }
        apps[name]?.waitsForNodesSince = since
        waitingForRoom.insert(name)
        return true
    }

    private func isAwaited(_ node: NodeRecord) -> Bool {
        node.isConnected && !node.hasInventory && node.connectedAt.map { now < $0 + settings.placementWait } == true
    }

    /// - Returns: whether there was room for all.
    private mutating func create(_ count: Int, of application: Application, _ recipe: Recipe) -> Bool {
        guard count > 0 else { return true }
        var placement = Placement(placementNodes(for: application, revision: recipe.revision))
        for missing in stride(from: count, to: 0, by: -1) {
            guard let node = placement.place(recipe.spec.resources) else {
                reportShortage(of: application.name, missing: missing, recipe.spec.resources)
                return false
            }
            create(newInstanceID(application.name, recipe.revision), by: recipe, on: node)
        }
        return true
    }

    mutating func create(_ id: InstanceID, by recipe: Recipe, on node: NodeID) {
        let assignment = recipe.assignment(id, on: node)
        let app = assignment.app
        let status = InstanceStatus(
            instance: id, app: app, revision: recipe.revision, node: node, state: .pending,
            message: "its node has not answered yet", since: wall)
        add(status, assignment: assignment, wasRouted: false)
        instances[id]?.commandSentAt = now
        record(
            .instanceCreated, app, "\(id) was placed on \(node)",
            [
                "instance": .string(id.rawValue), "node": .string(node.rawValue),
                "revision": JSONValue(recipe.revision), "image": .string(recipe.spec.image),
            ])
        persist(id)
        outputs.append(.command(node, .run(assignment)))
    }

    mutating func reportShortage(of name: AppName, missing: Int, _ resources: AppSpec.Resources) {
        let open = nodes.values.count(where: \.isOpen)
        let reason =
            open == 0
            ? nodes.values.contains(where: \.canTakeInstances)
                ? "every node with a working container engine is cordoned"
                : "no connected node has a working container engine"
            : "none of \(open) nodes has \(resources.cpuMillicores)m CPU and "
                + "\(resources.memoryBytes >> 20) MiB of memory left to reserve"
        if apps[name]?.shortage == nil {
            record(
                .instanceFailed, name, "\(missing) instances can't be placed: \(reason)",
                ["missing": JSONValue(missing), "reason": "no_capacity"])
        }
        apps[name]?.shortage = reason
        waitingForRoom.insert(name)
    }

    func placementNodes(for application: Application, revision: Int) -> [Placement.Node] {
        var ofApp: [NodeID: (revision: Int, all: Int)] = [:]
        let isNew = revision == application.revision
        for id in apps[application.name]?.instances ?? [] {
            guard let record = instances[id], record.drain == nil, !id.isReleaseStep else { continue }
            ofApp[record.status.node, default: (0, 0)].all += 1
            let isAlike =
                isNew ? application.isCurrent(record.status.revision) : record.status.revision == revision
            if isAlike { ofApp[record.status.node, default: (0, 0)].revision += 1 }
        }
        return nodes.filter(\.value.isOpen).map { id, record in
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
    mutating func newInstanceID(_ app: AppName, _ revision: Int, isReleaseStep: Bool = false) -> InstanceID {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        while true {
            let suffix = String((0..<6).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] })
            let id = InstanceID(unchecked: "\(app)-\(revision)-\(isReleaseStep ? "r-" : "")\(suffix)")
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
            if let since = record.movingSince { due.append(since + settings.replaceAfter) }
            if app.rollout != nil, let since = record.readySince, let policy = app.application?.spec.rollout {
                due.append(since + .seconds(policy.minHealthySeconds))
            }
        }
        if let rollout = app.rollout, let application = app.application {
            if let deadline = rollout.deadline(application.spec.rollout) { due.append(deadline) }
            if let canary = rollout.canary { due.append(canary.endsAt) }
        }
        if let since = app.waitsForNodesSince {
            due.append(since + settings.placementWait)
            due += nodes.values.filter(isAwaited).compactMap { $0.connectedAt.map { $0 + settings.placementWait } }
        }
        let earliest = due.filter { $0 > now }.min()
        guard earliest != app.wakeAt else { return }
        apps[name]?.wakeAt = earliest
        if let earliest { deadlines.insert(name, due: earliest) }
    }
}
