import OrchestryModel

/// What is known of instances: records made, reports taken in, records removed.
extension Reconciler {
    mutating func add(_ status: InstanceStatus, assignment: Assignment?, wasRouted: Bool) {
        lastOrder += 1
        let spec = assignment?.spec ?? apps[status.app]?.application?.spec
        let resources = spec?.resources ?? AppSpec.Resources()
        instances[status.instance] = InstanceRecord(
            status: status, resources: resources, assignment: assignment,
            wasRouted: wasRouted && !status.instance.isReleaseStep,
            notReadySince: status.state == .ready ? nil : now, readySince: status.state == .ready ? now : nil,
            restartsWhenReady: status.restarts, order: lastOrder)
        apps[status.app, default: AppRecord()].instances.insert(status.instance)
        touch(status.node)
        nodes[status.node]?.instances.insert(status.instance)
        nodes[status.node]?.reservedMillicores += resources.cpuMillicores
        nodes[status.node]?.reservedMemoryBytes += resources.memoryBytes
        dirty.insert(status.app)
    }

    /// Corrects what an instance was taken to reserve.
    mutating func setResources(_ resources: AppSpec.Resources, of id: InstanceID) {
        guard let record = instances[id] else { return }
        nodes[record.status.node]?.reservedMillicores += resources.cpuMillicores - record.resources.cpuMillicores
        nodes[record.status.node]?.reservedMemoryBytes += resources.memoryBytes - record.resources.memoryBytes
        instances[id]?.resources = resources
    }

    /// Drops all knowledge of an instance.
    mutating func remove(_ id: InstanceID) {
        guard let record = instances.removeValue(forKey: id) else { return }
        draining.remove(id)
        apps[record.status.app]?.instances.remove(id)
        nodes[record.status.node]?.instances.remove(id)
        nodes[record.status.node]?.reservedMillicores -= record.resources.cpuMillicores
        nodes[record.status.node]?.reservedMemoryBytes -= record.resources.memoryBytes
        outputs.append(.forget(id))
        dirty.insert(record.status.app)
        roomChanged()
    }

    /// It no longer exists on its node: as ordered, or for no reason known here.
    mutating func depart(_ id: InstanceID) {
        guard let record = instances[id] else { return }
        let facts: [String: JSONValue] = [
            "instance": .string(id.rawValue), "node": .string(record.status.node.rawValue),
            "revision": JSONValue(record.status.revision),
        ]
        if record.drain != nil || record.status.state == .stopped {
            self.record(.instanceStopped, record.status.app, "\(id) was stopped", facts)
        } else {
            self.record(
                .instanceFailed, record.status.app, "\(id) has disappeared from node \(record.status.node)", facts)
        }
        remove(id)
    }

    /// Takes in what an agent says of one instance.
    mutating func observe(_ report: InstanceStatus) {
        let id = report.instance
        guard report.state != .stopped || report.hasKeptContainer else {
            departed[id] = now + settings.resendInterval + settings.absenceGrace
            instances[id]?.status.state = .stopped
            return depart(id)
        }
        guard let old = instances[id] else {
            guard departed[id] == nil, nodes[report.node]?.isLost != true else { return }
            add(report, assignment: nil, wasRouted: true)
            instances[id]?.isStale = nodes[report.node]?.isBack == true
            instances[id]?.reportedAt = now
            adoptDrain(of: id, report)
            return persist(id)
        }
        guard old.status.node == report.node else { return }  // Ids are unique; somebody is confused, and not us.
        instances[id]?.reportedAt = now
        instances[id]?.assignment = nil
        instances[id]?.wasRouted = old.wasRouted || old.status.state == .ready
        apply(report, to: id, holding: true)
        adoptDrain(of: id, report)
        persist(id)
    }

    /// An agent that is stopping an instance obeys an earlier leader: the drain is at its end.
    private mutating func adoptDrain(of id: InstanceID, _ report: InstanceStatus) {
        guard report.state == .draining else { return }
        if instances[id]?.drain == nil { startDrain(of: id, report.message, since: report.since, isNews: false) }
        instances[id]?.drain?.isStopping = true
    }

    /// - Parameter holding: whether a restarted agent that has yet to probe a ready instance is given time to.
    mutating func apply(_ report: InstanceStatus, to id: InstanceID, holding: Bool) {
        guard let old = instances[id] else { return }
        var new = report
        let isSameContainer = report.containerID != nil && report.containerID == old.status.containerID
        if isSameContainer, old.status.state == .ready {
            if holding, report.state == .starting {
                new.state = .ready
                new.message = ""
                new.endpoint = report.endpoint ?? old.status.endpoint
                instances[id]?.held = (report, old.held?.until ?? now + settings.adoptionGrace)
                dirty.insert(new.app)
            } else {
                instances[id]?.held = nil
            }
            if new.state == .ready { new.since = min(new.since, old.status.since) }
        } else {
            instances[id]?.held = nil
        }
        // What proves nothing about routing or placement is no reason to look at the app again.
        var comparable = new
        comparable.lastProbeAt = old.status.lastProbeAt
        comparable.failures = old.status.failures
        instances[id]?.status = new
        if comparable != old.status || !old.isObserved { dirty.insert(new.app) }
        noteTransition(of: id, from: old.status, to: new, isDraining: old.drain != nil)
    }

    private mutating func noteTransition(
        of id: InstanceID, from old: InstanceStatus, to new: InstanceStatus, isDraining: Bool
    ) {
        let facts: [String: JSONValue] = [
            "instance": .string(id.rawValue), "node": .string(new.node.rawValue), "revision": JSONValue(new.revision),
        ]
        if new.state == .ready {
            instances[id]?.notReadySince = nil
            if instances[id]?.readySince == nil { instances[id]?.readySince = now }
            instances[id]?.restartsWhenReady = new.restarts
            if old.state != .ready, !isDraining {
                let where_ = new.endpoint.map { " at \($0)" } ?? ""
                record(.instanceReady, new.app, "\(id) is ready on \(new.node)\(where_)", facts)
            }
        } else if old.state == .ready {
            instances[id]?.notReadySince = now
            instances[id]?.readySince = nil
        }
        if new.state == .unhealthy, old.state != .unhealthy, !isDraining {
            record(.instanceUnhealthy, new.app, "\(id) \(new.message)", facts)
        }
    }

    mutating func retry(_ app: AppName) {
        retryRelease(of: app)
        for id in (apps[app]?.instances ?? []).sorted() where !id.isReleaseStep {
            guard let record = instances[id], record.status.state != .ready, record.drain == nil else { continue }
            // Given another chance, it is not called stuck at once again.
            instances[id]?.notReadySince = now
            instances[id]?.restartsWhenReady = record.status.restarts
            if nodes[record.status.node]?.isConnected == true {
                outputs.append(.command(record.status.node, .retry(id)))
            }
        }
        dirty.insert(app)
    }
}
