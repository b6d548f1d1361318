import OrchestryModel

/// Chooses nodes for new instances: where the app has fewest, then where least is reserved; never over capacity.
package struct Placement: Sendable {
    package struct Node: Hashable, Sendable {
        package var id: NodeID
        package var capacityMillicores: Int
        package var capacityMemoryBytes: Int64
        package var reservedMillicores: Int
        package var reservedMemoryBytes: Int64
        /// The app's instances of the revision to be placed, and all of them, not counting draining ones.
        package var ofRevision: Int
        package var ofApp: Int

        package init(
            id: NodeID, capacityMillicores: Int, capacityMemoryBytes: Int64, reservedMillicores: Int = 0,
            reservedMemoryBytes: Int64 = 0, ofRevision: Int = 0, ofApp: Int = 0
        ) {
            self.id = id
            self.capacityMillicores = capacityMillicores
            self.capacityMemoryBytes = capacityMemoryBytes
            self.reservedMillicores = reservedMillicores
            self.reservedMemoryBytes = reservedMemoryBytes
            self.ofRevision = ofRevision
            self.ofApp = ofApp
        }

        /// The larger of the reserved shares of CPU and memory; 1 for a node without capacity.
        package var load: Double {
            guard capacityMillicores > 0, capacityMemoryBytes > 0 else { return 1 }
            return max(
                Double(reservedMillicores) / Double(capacityMillicores),
                Double(reservedMemoryBytes) / Double(capacityMemoryBytes))
        }

        /// How many more instances of this size fit.
        package func room(for resources: AppSpec.Resources) -> Int {
            let freeMillicores = capacityMillicores - reservedMillicores
            let freeMemory = capacityMemoryBytes - reservedMemoryBytes
            guard freeMillicores >= 0, freeMemory >= 0 else { return 0 }
            let byCPU = freeMillicores / max(1, resources.cpuMillicores)
            return min(byCPU, Int(clamping: freeMemory / max(1, resources.memoryBytes)))
        }
    }

    package private(set) var nodes: [Node]

    /// - Parameter nodes: those that may take instances now; order does not matter.
    package init(_ nodes: [Node]) { self.nodes = nodes.sorted { $0.id < $1.id } }

    /// Reserves room for one instance.
    /// - Returns: nil when it fits nowhere.
    package mutating func place(_ resources: AppSpec.Resources) -> NodeID? {
        var best: Int?
        for index in nodes.indices where nodes[index].room(for: resources) > 0 {
            guard let known = best else {
                best = index
                continue
            }
            if isBetter(nodes[index], than: nodes[known], for: resources) { best = index }
        }
        guard let best else { return nil }
        nodes[best].reservedMillicores += resources.cpuMillicores
        nodes[best].reservedMemoryBytes += resources.memoryBytes
        nodes[best].ofRevision += 1
        nodes[best].ofApp += 1
        return nodes[best].id
    }

    private func isBetter(_ left: Node, than right: Node, for resources: AppSpec.Resources) -> Bool {
        if left.ofRevision != right.ofRevision { return left.ofRevision < right.ofRevision }
        if left.ofApp != right.ofApp { return left.ofApp < right.ofApp }
        func after(_ node: Node) -> Double {
            var node = node
            node.reservedMillicores += resources.cpuMillicores
            node.reservedMemoryBytes += resources.memoryBytes
            return node.load
        }
        return after(left) < after(right)  // Equal: the first by name stays.
    }
}
