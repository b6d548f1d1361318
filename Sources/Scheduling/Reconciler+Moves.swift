import OrchestryModel

/// Moves for an even load, as somebody asked for them.
struct Balancing: Hashable, Sendable {
    var atOnce: Int
    var moved = 0
}

/// Instances that change nodes: nodes that are drained, and moves for an even load. A move is a replacement: another
/// instance is made elsewhere, and when that is ready this one leaves by the same drain as in a rollout.
extension Reconciler {
    mutating func schedule(_ entry: NodeScheduling) {
        touch(entry.node)
        let before = nodes[entry.node]
        nodes[entry.node]?.isCordoned = entry.isCordoned
        nodes[entry.node]?.isDraining = entry.isCordoned && entry.isDraining
        nodes[entry.node]?.drainDeadline =
            entry.isCordoned && entry.isDraining ? entry.drainSecondsLeft.map { now + .seconds(max(0, $0)) } : nil
        if nodes[entry.node]?.isDraining != true { forgetMoves(from: entry.node) }
        if before?.isCordoned != entry.isCordoned { roomChanged() }
    }

    func scheduling(of id: NodeID) -> NodeScheduling {
        guard let node = nodes[id] else { return NodeScheduling(node: id) }
        return NodeScheduling(
            node: id, isCordoned: node.isCordoned, isDraining: node.isDraining,
            drainSecondsLeft: node.drainDeadline.map { max(0, ($0 - now).inSeconds) })
    }

    private mutating func forgetMoves(from node: NodeID) {
        for id in (nodes[node]?.instances ?? []).sorted() {
            guard let record = instances[id], record.movingSince != nil, record.drain == nil, !record.movesForBalance
            else { continue }
            instances[id]?.movingSince = nil
            dirty.insert(record.status.app)
        }
    }

    mutating func rebalance(atOnce: Int) {
        guard balancing == nil else {
            balancing?.atOnce = max(1, atOnce)
            return
        }
        balancing = Balancing(atOnce: max(1, atOnce))
    }

    /// Whether a rebalancing is under way, and how many moves it has begun.
    public var balancingMoves: Int? { balancing?.moved }

    /// Chooses what moves next. One instance of a drained node at a time; one whose replacement does not come holds up
    /// no other for longer than `replaceAfter`.
    mutating func planMoves() {
        for node in nodes.keys.sorted() where nodes[node]?.isDraining == true { planDrain(of: node) }
        if balancing != nil { planBalance() }
    }

    private func isUnderWay(_ record: InstanceRecord) -> Bool {
        guard let since = record.movingSince else { return false }
        return record.drain != nil || now < since + settings.replaceAfter
    }

    private mutating func planDrain(of node: NodeID) {
        let all = (nodes[node]?.instances ?? []).sorted()
        if all.isEmpty {
            // Nothing is known of a silent node that has not reported; it may still run something.
            guard nodes[node]?.isReporting == true || nodes[node]?.isLost == true else { return }
            nodes[node]?.isDraining = false
            nodes[node]?.drainDeadline = nil
            record(.nodeDrained, nil, "Node \(node) is empty and stays cordoned", ["node": .string(node.rawValue)])
            outputs.append(.nodeDrained(node))
            return
        }
        guard !all.contains(where: { instances[$0].map(isUnderWay) == true }) else { return }
        let next = all.first { id in
            // A release step comes to its end by itself.
            instances[id].map { $0.movingSince == nil && $0.drain == nil && !id.isReleaseStep } == true
        }
        if let next { move(next, forBalance: false) }
    }

    private mutating func move(_ id: InstanceID, forBalance: Bool) {
        guard let app = instances[id]?.status.app else { return }
        instances[id]?.movingSince = now
        instances[id]?.movesForBalance = forBalance
        dirty.insert(app)
    }

    private mutating func planBalance() {
        guard var balancing else { return }
        var underWay = instances.values.count { $0.movesForBalance && isUnderWay($0) }
        // Every move brings the cluster nearer to an even load; the limit is for what is not foreseen.
        let limit = instances.count * 2
        while underWay < balancing.atOnce, balancing.moved < limit, let id = nextBalancingMove() {
            move(id, forBalance: true)
            underWay += 1
            balancing.moved += 1
        }
        self.balancing = balancing
        // An app that waits for its rollout may still be moved: it is looked at again when that is over.
        guard underWay == 0 else { return }
        self.balancing = nil
        record(
            .rebalanceFinished, nil, "Rebalancing ended after \(balancing.moved) moves",
            ["moves": JSONValue(balancing.moved)])
    }

    private func nextBalancingMove() -> InstanceID? {
        var counts: [AppName: [NodeID: Int]] = [:]
        var movable: [Rebalancer.Movable] = []
        var coming: [NodeID: AppSpec.Resources] = [:]
        for (id, record) in instances where record.drain == nil && !id.isReleaseStep {
            let name = record.status.app
            guard let app = apps[name] else { continue }
            // One that is moving counts as gone: its replacement is, or will be, counted elsewhere.
            if record.movingSince != nil {
                coming[record.status.node] = record.resources
                continue
            }
            counts[name, default: [:]][record.status.node, default: 0] += 1
            let isSettled = app.rollout == nil && record.status.state == .ready && readyCount(of: name) >= app.wanted
            // One move of an app at a time: where its replacement comes to lie decides about the next.
            let isMoving = app.instances.contains { instances[$0]?.movingSince != nil }
            guard isSettled, !isMoving, nodes[record.status.node]?.isOpen == true else { continue }
            movable.append(
                Rebalancer.Movable(id: id, app: name, node: record.status.node, resources: record.resources))
        }
        let open = nodes.filter(\.value.isOpen).map { id, node in
            var node = placementNode(id, node)
            if let leaving = coming[id] {
                node.reservedMillicores -= leaving.cpuMillicores
                node.reservedMemoryBytes -= leaving.memoryBytes
            }
            return node
        }
        return Rebalancer.next(open, movable, counts: counts)
    }

    /// Past its deadline, what is left on a drained node leaves at once, by the usual way out.
    mutating func endDrainsOfNodes() {
        for node in nodes.keys.sorted() {
            guard nodes[node]?.isDraining == true, let deadline = nodes[node]?.drainDeadline, now >= deadline else {
                continue
            }
            nodes[node]?.drainDeadline = nil
            for id in (nodes[node]?.instances ?? []).sorted() where instances[id]?.drain == nil {
                startDrain(
                    of: id, "node \(node) is drained, and its deadline has passed", since: wall, isNews: true)
            }
        }
    }
}
