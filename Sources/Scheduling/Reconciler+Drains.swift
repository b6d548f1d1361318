import OrchestryModel

/// Taking instances out of service. See `Drain` for the steps.
extension Reconciler {
    /// - Parameter isNews: false when an earlier leader began it and recorded so.
    mutating func startDrain(of id: InstanceID, _ reason: String, since: WallTime, isNews: Bool) {
        guard let record = instances[id], record.drain == nil else { return }
        // Nobody ever sent requests to it: nobody has to stop.
        instances[id]?.drain = Drain(
            reason: reason, since: since, startedAt: now,
            isStopping: !record.wasRouted && record.status.state != .ready)
        draining.insert(id)
        dirty.insert(record.status.app)
        persist(id)
        guard isNews else { return }
        self.record(
            .instanceDraining, record.status.app, "\(id) leaves service: \(reason)",
            [
                "instance": .string(id.rawValue), "node": .string(record.status.node.rawValue),
                "revision": JSONValue(record.status.revision), "reason": .string(reason),
            ])
    }

    mutating func acknowledge(_ version: RoutingTable.Version, by node: NodeID) {
        guard version.epoch == epoch, nodes[node]?.isConnected == true else { return }
        let before = nodes[node]?.acknowledged ?? .zero
        nodes[node]?.acknowledged = max(before, version)
        guard !draining.isEmpty else { return }
        for id in draining { instances[id]?.drain?.acknowledged(version, by: node, at: now) }
        markDrainingDirty()
    }

    mutating func count(_ inFlight: [InstanceID: UInt64], from node: NodeID) {
        guard !draining.isEmpty, nodes[node]?.isConnected == true else { return }
        for id in draining {
            instances[id]?.drain?.reported(
                inFlight: inFlight[id] ?? 0, by: node, at: now, lag: settings.reportLag)
        }
        markDrainingDirty()
    }

    /// Moves the app's drains on as far as acknowledgements, reports and time allow; sends `stop` where it is due.
    mutating func advanceDrains(of name: AppName) {
        guard let app = apps[name] else { return }
        let leaving = app.instances.filter { instances[$0]?.drain != nil }
        guard !leaving.isEmpty else { return }
        let connected = nodes.filter(\.value.isConnected)
        let acknowledged = connected.mapValues(\.acknowledged)
        let names = connected.keys.sorted()
        for id in leaving.sorted() {
            guard let record = instances[id], var drain = record.drain else { continue }
            if drain.awaitsTable { drain.leave(in: routingTable.version, acknowledged: acknowledged, at: now) }
            let mayBeTold = nodes[record.status.node]?.isReporting == true
            let late = drain.advance(
                connected: names, mayBeTold: mayBeTold, drainSeconds: app.termination.drainSeconds,
                ackTimeout: settings.ackTimeout, at: now)
            let isDue = drain.stopSentAt.map { now >= $0 + settings.resendInterval } ?? true
            if drain.isStopping, mayBeTold, isDue {
                drain.stopSentAt = now
                outputs.append(
                    .command(record.status.node, .stop(id, graceSeconds: app.termination.gracePeriodSeconds)))
            }
            instances[id]?.drain = drain
            if !late.isEmpty { reportLate(late, holdingUp: id, of: name) }
        }
    }

    private mutating func reportLate(_ late: [NodeID], holdingUp id: InstanceID, of name: AppName) {
        let who = late.map(\.rawValue)
        record(
            .proxyRejected, name,
            "\(id) waits to be stopped: no word from the proxy of \(who.joined(separator: ", ")) "
                + "that it left routing, for \(Int(settings.ackTimeout.inSeconds)) s",
            [
                "instance": .string(id.rawValue), "nodes": .array(who.map(JSONValue.string)),
                "version": .string(routingTable.version.description),
            ])
    }

    func drainDeadlines(_ record: InstanceRecord, _ drain: Drain, _ app: AppRecord) -> [Instant] {
        if drain.isStopping {
            let mayBeTold = nodes[record.status.node]?.isReporting == true
            return mayBeTold ? [drain.stopSentAt.map { $0 + settings.resendInterval } ?? now] : []
        }
        let end = drain.deadline(drainSeconds: app.termination.drainSeconds, ackTimeout: settings.ackTimeout)
        return drain.lateNodesReported ? [end] : [end, drain.startedAt + settings.ackTimeout]
    }
}
