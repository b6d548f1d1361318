import OrchestryModel

/// What others ask: status pages, the autoscaler, `orchestry why`.
extension Reconciler {
    /// What the autoscaler needs to know of an app.
    public struct ReplicaView: Hashable, Sendable {
        /// Ready instances that are not draining, with the wall-clock second since which they are.
        public var ready: [InstanceID: Int64]
        /// Instances on their way to ready, of the current revision.
        public var starting: Int
        public var rolloutInProgress: Bool
        public init(ready: [InstanceID: Int64], starting: Int, rolloutInProgress: Bool) {
            self.ready = ready
            self.starting = starting
            self.rolloutInProgress = rolloutInProgress
        }
    }

    /// A node as the leader sees it.
    public struct NodeView: Hashable, Sendable {
        public var id: NodeID
        public var isConnected: Bool
        /// Given up: silent for longer than `deadAfter`.
        public var isLost: Bool
        /// False as well while it has not reported yet.
        public var engineAvailable: Bool
        public var capacityMillicores: Int
        public var capacityMemoryBytes: Int64
        public var reservedMillicores: Int
        public var reservedMemoryBytes: Int64
        /// Draining ones included.
        public var instances: Int
        /// The newest table of this epoch its proxy serves.
        public var acknowledged: RoutingTable.Version
        /// As people set it.
        public var scheduling: NodeScheduling
    }

    /// Sorted by id; one that leaves service shows as draining.
    public func instances(of app: AppName) -> [InstanceStatus] {
        (apps[app]?.instances ?? []).compactMap { instances[$0]?.shown }.sorted { $0.instance < $1.instance }
    }

    /// Ready instances that are not draining, of any revision.
    public func readyCount(of app: AppName) -> Int {
        (apps[app]?.instances ?? []).count { instances[$0]?.shown.state == .ready }
    }

    public func replicaView(of app: AppName) -> ReplicaView {
        var view = ReplicaView(ready: [:], starting: 0, rolloutInProgress: apps[app]?.rollout != nil)
        guard let record = apps[app] else { return view }
        for id in record.instances {
            guard let instance = instances[id], instance.drain == nil, !id.isReleaseStep else { continue }
            if instance.status.state == .ready {
                view.ready[id] = instance.status.since.wholeSecond
            } else if record.application?.isCurrent(instance.status.revision) == true,
                health(of: instance, in: record) == .coming
            {
                view.starting += 1
            }
        }
        return view
    }

    /// How many instances of this spec the cluster could hold: those there are, and those that still fit.
    /// - Returns: nil while not known: the leader is not acting yet, or no node has reported.
    public func capacityLimit(for spec: AppSpec) -> Int? {
        guard isActing, nodes.values.contains(where: \.isReporting) else { return nil }
        let existing = (apps[spec.name]?.instances ?? []).count { instances[$0]?.drain == nil && !$0.isReleaseStep }
        let room = nodes.reduce(0) { sum, node in
            node.value.isOpen ? sum + placementNode(node.key, node.value).room(for: spec.resources) : sum
        }
        return existing + room
    }

    /// Sorted by id.
    public var nodeViews: [NodeView] {
        nodes.keys.sorted().compactMap { id in
            nodes[id].map { node in
                NodeView(
                    id: id, isConnected: node.isConnected, isLost: node.isLost, engineAvailable: node.canTakeInstances,
                    capacityMillicores: node.capacityMillicores, capacityMemoryBytes: node.capacityMemoryBytes,
                    reservedMillicores: node.reservedMillicores, reservedMemoryBytes: node.reservedMemoryBytes,
                    instances: node.instances.count, acknowledged: node.acknowledged, scheduling: scheduling(of: id))
            }
        }
    }

    /// Why the app does not run as wanted, in sentences without a full stop; empty when it does.
    public func explain(_ name: AppName) -> [String] {
        guard isLoaded else { return ["the leader is still reading the desired state"] }
        guard let app = apps[name], let application = app.application else { return ["there is no app '\(name)'"] }
        var reasons: [String] = []
        if !isActing {
            let awaited = nodes.filter { !$0.value.isReporting }.keys.sorted().map(\.rawValue)
            reasons.append("the new leader waits to hear what runs on \(awaited.joined(separator: ", "))")
        }
        if application.status == .stopped { reasons.append("the app is stopped") }
        if let words = rolloutWords(name) { reasons.append(words) }
        if application.status == .running, let hold = application.reasonToHold {
            reasons.append("no instance is started: \(hold)")
        }
        if let shortage = app.shortage { reasons.append("instances can't be placed: \(shortage)") }
        for status in instances(of: name) where status.state != .ready && !status.hasKeptContainer {
            let why = status.message.isEmpty ? "" : ": \(status.message)"
            reasons.append("\(status.instance) on \(status.node) is \(status.state.label)\(why)")
        }
        for node in Set(app.instances.compactMap { instances[$0]?.status.node }).sorted() {
            guard let since = nodes[node]?.silentSince else { continue }
            reasons.append(
                "node \(node) is silent for \(Int((now - since).inSeconds)) s; its instances count as they last were "
                    + "until \(Int(settings.deadAfter.inSeconds)) s have passed")
        }
        return reasons
    }
}
