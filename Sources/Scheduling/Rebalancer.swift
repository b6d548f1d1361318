import OrchestryModel

/// Finds moves that spread instances more evenly. Each makes the sum of squares of an app's instances per node, or else
/// of the nodes' loads, smaller: they come to an end.
package struct Rebalancer: Sendable {
    package struct Movable: Hashable, Sendable {
        package var id: InstanceID
        package var app: AppName
        package var node: NodeID
        package var resources: AppSpec.Resources
        package init(id: InstanceID, app: AppName, node: NodeID, resources: AppSpec.Resources) {
            self.id = id
            self.app = app
            self.node = node
            self.resources = resources
        }
    }

    /// Loads that differ by less than this share of a node are even enough.
    package static let tolerance = 0.2

    /// - Parameters:
    ///   - nodes: those that may take instances; `ofApp` is not used.
    ///   - instances: ready ones that may be moved, of all nodes.
    ///   - counts: instances of each app by node, those on their way included.
    /// - Returns: the instance whose replacement will come to lie on a better node; nil: none.
    package static func next(
        _ nodes: [Placement.Node], _ instances: [Movable], counts: [AppName: [NodeID: Int]]
    ) -> InstanceID? {
        let sorted = instances.sorted { ($0.app, $0.id) < ($1.app, $1.id) }
        func count(_ app: AppName, _ node: NodeID) -> Int { counts[app]?[node] ?? 0 }
        // First an app that crowds one node while another has two less of it.
        var best: (id: InstanceID, gain: Int)?
        for instance in sorted {
            let fewest = nodes.filter { $0.id != instance.node && $0.room(for: instance.resources) > 0 }
                .map { count(instance.app, $0.id) }.min()
            guard let fewest else { continue }
            let gain = count(instance.app, instance.node) - fewest
            if gain >= 2, gain > best?.gain ?? 0 { best = (instance.id, gain) }
        }
        if let best { return best.id }
        // Then the fullest node, if another is much emptier, without crowding.
        let byLoad = nodes.sorted { ($0.load, $0.id) < ($1.load, $1.id) }
        guard let emptiest = byLoad.first, let fullest = byLoad.last, fullest.load - emptiest.load > tolerance else {
            return nil
        }
        return sorted.first { instance in
            guard instance.node == fullest.id, emptiest.room(for: instance.resources) > 0,
                count(instance.app, emptiest.id) < count(instance.app, fullest.id)
            else { return false }
            var after = emptiest
            after.reservedMillicores += instance.resources.cpuMillicores
            after.reservedMemoryBytes += instance.resources.memoryBytes
            return after.load < fullest.load
        }?.id
    }
}
