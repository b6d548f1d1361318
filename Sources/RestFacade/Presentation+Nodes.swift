import OrchestryModel

extension Presentation {
    /// A node as the leader sees it.
    package struct NodeFigures: Hashable, Sendable {
        package var id: NodeID
        /// nil: it has not introduced itself to this leader, and none before.
        package var info: NodeInfo?
        package var isConnected: Bool
        package var isLost: Bool
        package var engineAvailable: Bool
        package var capacityMillicores: Int
        package var capacityMemoryBytes: Int64
        package var reservedMillicores: Int
        package var reservedMemoryBytes: Int64
        package var instances: Int
        package var scheduling: NodeScheduling
        package init(
            id: NodeID, info: NodeInfo?, isConnected: Bool, isLost: Bool, engineAvailable: Bool,
            capacityMillicores: Int, capacityMemoryBytes: Int64, reservedMillicores: Int, reservedMemoryBytes: Int64,
            instances: Int, scheduling: NodeScheduling
        ) {
            self.id = id
            self.info = info
            self.isConnected = isConnected
            self.isLost = isLost
            self.engineAvailable = engineAvailable
            self.capacityMillicores = capacityMillicores
            self.capacityMemoryBytes = capacityMemoryBytes
            self.reservedMillicores = reservedMillicores
            self.reservedMemoryBytes = reservedMemoryBytes
            self.instances = instances
            self.scheduling = scheduling
        }

        /// `ready`, `no-engine`, `silent` or `lost`.
        var state: String {
            if isLost { return "lost" }
            if !isConnected { return "silent" }
            return engineAvailable ? "ready" : "no-engine"
        }
    }

    /// `GET /nodes`, sorted as given.
    package static func nodes(_ nodes: [NodeFigures]) -> JSONValue { ["nodes": .array(nodes.map(node))] }

    private static func node(_ node: NodeFigures) -> JSONValue {
        var members = scheduling(node.scheduling)
        members["state"] = .string(node.state)
        members["role"] = .string(node.info?.role == .worker ? "worker" : "controller")
        members["hostname"] = JSONValue(node.info?.host)
        members["api_url"] = JSONValue(node.info?.apiURL)
        members["instances"] = JSONValue(node.instances)
        members["capacity"] = [
            "cpu_millicores": JSONValue(node.capacityMillicores), "memory_bytes": .int(node.capacityMemoryBytes),
        ]
        members["reserved"] = [
            "cpu_millicores": JSONValue(node.reservedMillicores), "memory_bytes": .int(node.reservedMemoryBytes),
        ]
        return .object(members)
    }

    private static func scheduling(_ scheduling: NodeScheduling) -> [String: JSONValue] {
        [
            "node_id": .string(scheduling.node.rawValue), "cordoned": .bool(scheduling.isCordoned),
            "draining": .bool(scheduling.isDraining),
            "drain_seconds_left": scheduling.drainSecondsLeft.map { JSONValue($0) } ?? .null,
        ]
    }

    /// The answer to cordon, uncordon and drain.
    package static func nodeScheduled(_ entry: NodeScheduling) -> JSONValue {
        var members = scheduling(entry)
        members["status"] = entry.isDraining ? "draining" : entry.isCordoned ? "cordoned" : "uncordoned"
        return .object(members)
    }

    package static func rebalancing(maxMoves: Int) -> JSONValue {
        ["status": "rebalancing", "max_moves": JSONValue(maxMoves)]
    }
}
