import OrchestryModel

/// Loading, and nodes that come and go.
extension Reconciler {
    mutating func load(
        _ applications: [Application], _ rows: [InstanceStatus], _ knownNodes: [NodeID], _ rollouts: [RolloutRecord]
    ) {
        isLoaded = true
        actBy = now + settings.inventoryWait
        for node in knownNodes { touch(node) }
        for application in applications {
            apps[application.name, default: AppRecord()].application = application
            apps[application.name]?.termination = application.spec.termination
            // Those reported before the spec was known.
            for id in apps[application.name]?.instances ?? [] { setResources(application.spec.resources, of: id) }
        }
        for row in rows { load(row) }
        for node in nodes.keys.sorted() {
            nodes[node]?.isKnown = knownNodes.contains(node)
            if nodes[node]?.isConnected == true { greet(node) }
        }
        let stored = Dictionary(rollouts.map { ($0.app, $0) }, uniquingKeysWith: { first, _ in first })
        for app in apps.keys.sorted() { resumeRollout(of: app, stored[app]) }
        dirty.formUnion(apps.keys)
    }

    /// An instance as an earlier leader last saw it. If its agent has spoken already, the agent is right, except that
    /// a drain goes on.
    private mutating func load(_ row: InstanceStatus) {
        touch(row.node)
        if row.state == .stopped, !row.hasKeptContainer {
            outputs.append(.forget(row.instance))
        } else if instances[row.instance] != nil {
            if row.state == .draining { startDrain(of: row.instance, row.message, since: row.since, isNews: false) }
        } else if nodes[row.node]?.hasInventory == true {
            outputs.append(.forget(row.instance))
        } else {
            add(row, assignment: nil, wasRouted: true)
            instances[row.instance]?.reportedAt = now - settings.absenceGrace
            instances[row.instance]?.persisted = row
            if row.state == .draining { startDrain(of: row.instance, row.message, since: row.since, isNews: false) }
        }
    }

    /// Makes sure the node has a record; a new one is silent until it reports.
    mutating func touch(_ node: NodeID) {
        if nodes[node] == nil { nodes[node] = NodeRecord(silentSince: now) }
    }

    mutating func connect(_ node: NodeID) {
        touch(node)
        let wasConnected = nodes[node]?.isConnected == true
        nodes[node]?.isConnected = true
        nodes[node]?.wasConnected = true
        if !wasConnected {
            nodes[node]?.connectedAt = now
            if isLoaded { greet(node) }
            for id in draining { instances[id]?.drain?.nodeConnected(at: now) }
            markDrainingDirty()
            markDirty(on: node)
        }
        if routingTable.version > .zero { publishTable(to: node) }
        if nodes[node]?.isReporting == true {
            nodes[node]?.silentSince = nil
        } else if !wasConnected {
            nodes[node]?.silentSince = now  // It has `deadAfter` from here to say what it runs.
        }
    }

    /// Records a node that this leader had not known, or had given up.
    private mutating func greet(_ node: NodeID) {
        guard let record = nodes[node], record.isLost || !record.isKnown else { return }
        self.record(
            .nodeJoined, nil, record.isLost ? "Node \(node) is back" : "Node \(node) joined",
            ["node": .string(node.rawValue)])
        nodes[node]?.isKnown = true
        nodes[node]?.isBack = record.isLost
        nodes[node]?.isLost = false
    }

    mutating func disconnect(_ node: NodeID) {
        guard let before = nodes[node], before.isConnected else { return }
        nodes[node]?.isConnected = false
        nodes[node]?.hasInventory = false
        nodes[node]?.acknowledged = .zero
        nodes[node]?.tableSentAt = nil
        if before.silentSince == nil || before.hasNothingToReport { nodes[node]?.silentSince = now }
        for id in draining { instances[id]?.drain?.disconnected(node) }
        markDrainingDirty()
        markDirty(on: node)
    }

    /// Gives up nodes that have been silent for too long: what ran there is placed anew.
    mutating func loseSilentNodes() {
        let limit = settings.deadAfter
        let lost = nodes.filter { $0.value.lost(after: limit).map { now >= $0 } == true }
        for node in lost.keys.sorted() {
            nodes[node]?.isLost = true
            let gone = nodes[node]?.instances.sorted() ?? []
            // A node nobody has seen under this leader, with nothing on it, is no news.
            if !gone.isEmpty || nodes[node]?.wasConnected == true {
                record(
                    .nodeLost, nil,
                    "Node \(node) has not been heard from for \(Int(limit.inSeconds)) s; "
                        + "its \(gone.count) instances are placed on other nodes",
                    ["node": .string(node.rawValue), "instances": .array(gone.map { .string($0.rawValue) })])
            }
            for id in gone { remove(id) }
        }
    }

    /// What a node really runs.
    mutating func take(_ inventory: Inventory) {
        let node = inventory.node
        touch(node)
        // Late mail of a node given up; it will send another when it is back.
        if nodes[node]?.isLost == true, nodes[node]?.isConnected == false { return }
        let before = nodes[node]
        nodes[node]?.hasInventory = true
        nodes[node]?.capacityMillicores = inventory.capacityMillicores
        nodes[node]?.capacityMemoryBytes = inventory.capacityMemoryBytes
        nodes[node]?.engineAvailable = inventory.engineAvailable
        if nodes[node]?.isConnected == true {
            nodes[node]?.silentSince = nil
            if isLoaded { greet(node) }
        }
        for report in inventory.instances where report.node == node { observe(report) }
        nodes[node]?.isBack = false
        let present = Set(inventory.instances.map(\.instance))
        for id in (nodes[node]?.instances ?? []).subtracting(present).sorted() { missing(id) }
        if before?.hasInventory != true || before?.engineAvailable != inventory.engineAvailable { markDirty(on: node) }
        if before?.capacityMillicores != inventory.capacityMillicores
            || before?.capacityMemoryBytes != inventory.capacityMemoryBytes
            || before?.canTakeInstances != nodes[node]?.canTakeInstances
        {
            roomChanged()
        }
    }

    /// An inventory without an instance that should be there.
    private mutating func missing(_ id: InstanceID) {
        guard let record = instances[id] else { return }
        // Never reported: the command to run it may still be on its way, and is repeated; unless `stop` came after it.
        let lastKnown = record.reportedAt ?? record.drain.flatMap { $0.stopSentAt == nil ? nil : $0.startedAt }
        guard let lastKnown, now >= lastKnown + settings.absenceGrace else { return }
        depart(id)
    }

    // MARK: Marks

    mutating func markDirty(on node: NodeID) {
        for id in nodes[node]?.instances ?? [] {
            if let app = instances[id]?.status.app { dirty.insert(app) }
        }
    }

    mutating func markDrainingDirty() {
        for id in draining {
            if let app = instances[id]?.status.app { dirty.insert(app) }
        }
    }

    mutating func roomChanged() { dirty.formUnion(waitingForRoom) }
}
