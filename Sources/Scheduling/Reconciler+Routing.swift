import OrchestryModel

/// The routing table: rebuilt app by app, published when it differs, repeated to nodes that do not acknowledge.
extension Reconciler {
    /// Where the app's requests go now; nil for what is not routed.
    private func route(of name: AppName) -> RoutingTable.Route? {
        guard let app = apps[name] else { return nil }
        // A deleted app answers 503 under its old name until its instances are gone.
        guard let spec = app.application?.spec else {
            guard var last = routes[name] else { return nil }
            last.targets = []
            return last
        }
        guard spec.kind == .http else { return nil }
        var targets = app.instances.sorted().compactMap { id -> RoutingTable.Target? in
            guard let record = instances[id], record.drain == nil, record.status.state == .ready else { return nil }
            return record.status.endpoint.map { RoutingTable.Target(instance: id, endpoint: $0) }
        }
        weigh(&targets, of: app)
        let secrets = (app.application?.secrets ?? []).filter { spec.routingSecrets.contains($0.name) }
        return RoutingTable.Route(
            app: name, routing: spec.routing, targets: targets, secrets: secrets.sorted { $0.name < $1.name },
            activation: app.application.flatMap(activation))
    }

    /// Requests wait for an instance that will come: not while a person has the say, nor when the app is down.
    private func activation(of application: Application) -> RoutingTable.Activation? {
        guard let zero = application.spec.scaling.scaleToZero else { return nil }
        return RoutingTable.Activation(
            holds: application.status == .running && application.spec.scaling.mode == .auto,
            holdSeconds: zero.holdSeconds, holdLimit: zero.holdLimit)
    }

    /// While a canary is watched, or waits for the way back, it gets its share and no more.
    private func weigh(_ targets: inout [RoutingTable.Target], of app: AppRecord) {
        guard let application = app.application, app.rollout?.record.phase == .canary,
            let percent = application.spec.rollout.canary?.weightPercent
        else { return }
        let isNew = targets.map { target in
            instances[target.instance].map { application.isCurrent($0.status.revision) } == true
        }
        let new = isNew.count { $0 }
        guard new > 0, new < targets.count else { return }
        let weights = CanaryWeights.weights(percent: percent, new: new, old: targets.count - new)
        for index in targets.indices { targets[index].weight = isNew[index] ? weights.new : weights.old }
    }

    mutating func updateRoute(of name: AppName) {
        let new = route(of: name)
        for target in new?.targets ?? [] { instances[target.instance]?.wasRouted = true }
        guard new != routes[name] else { return }
        routes[name] = new
        routesChanged = true
    }

    mutating func publishIfChanged() {
        guard routesChanged else { return }
        routesChanged = false
        routingTable = RoutingTable(
            version: RoutingTable.Version(epoch: epoch, number: routingTable.version.number + 1),
            routes: routes.values.sorted { $0.app < $1.app })
        outputs.append(.publish(routingTable))
        for node in nodes.keys where nodes[node]?.isConnected == true { nodes[node]?.tableSentAt = now }
    }

    mutating func publishTable(to node: NodeID) {
        nodes[node]?.tableSentAt = now
        outputs.append(.publishTo(node, routingTable))
    }

    /// When the table is due to be sent again; nil for a node that has it, or can't be reached.
    func tableDue(_ node: NodeRecord) -> Instant? {
        guard node.isConnected, node.acknowledged < routingTable.version else { return nil }
        return node.tableSentAt.map { $0 + settings.ackTimeout }
    }

    mutating func republishToLaggards() {
        let late = nodes.filter { tableDue($0.value).map { now >= $0 } == true }
        for node in late.keys.sorted() { publishTable(to: node) }
    }
}
