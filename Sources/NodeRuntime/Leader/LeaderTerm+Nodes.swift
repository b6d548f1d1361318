import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

/// Nodes as people steer them.
extension LeaderTerm {
    func planScheduling(_ scheduling: NodeScheduling, _ request: ControlRequest) throws -> Plan {
        let id = scheduling.node
        guard let view = reconciler.nodeViews.first(where: { $0.id == id }) else { throw Problem.nodeNotFound(id) }
        let now = view.scheduling
        let response = ControlResponse(body: Presentation.nodeScheduled(scheduling))
        // A drain that is asked for again gets the new deadline; asked to be cordoned, it goes on.
        if !scheduling.isDraining, scheduling.isCordoned == now.isCordoned { return Plan(response: response) }
        let (kind, message): (EventKind, String) =
            if scheduling.isDraining {
                (
                    .nodeDraining,
                    "Node \(id) is drained: its \(view.instances) instances move, within "
                        + "\(Int(scheduling.drainSecondsLeft ?? 0)) s"
                )
            } else if scheduling.isCordoned {
                (.nodeCordoned, "Node \(id) was cordoned: it takes no new instances")
            } else {
                (.nodeUncordoned, "Node \(id) was uncordoned: it takes instances again")
            }
        var changes: [StateChange] = []
        // Its row may not be written yet.
        if let info = nodeInfos[id] { changes.append(.saveNode(info, seenAt: surroundings.clock.wall())) }
        changes += [.saveScheduling(scheduling), event(kind, nil, message, request, ["node": .string(id.rawValue)])]
        writer.forgetDrained(id)
        return Plan(response: response, changes: changes, inputs: [.scheduling(scheduling)])
    }

    func planRebalance(_ maxMoves: Int, _ request: ControlRequest) -> Plan {
        Plan(
            response: ControlResponse(body: Presentation.rebalancing(maxMoves: maxMoves)),
            changes: [
                event(
                    .rebalanceStarted, nil, "Instances are spread evenly, at most \(maxMoves) moves at once", request,
                    ["maxMoves": JSONValue(maxMoves)])
            ], inputs: [.rebalance(atOnce: maxMoves)])
    }

    func listNodes() -> ControlResponse {
        ControlResponse(
            body: Presentation.nodes(
                reconciler.nodeViews.map { view in
                    Presentation.NodeFigures(
                        id: view.id, info: nodeInfos[view.id], isConnected: view.isConnected, isLost: view.isLost,
                        engineAvailable: view.engineAvailable, capacityMillicores: view.capacityMillicores,
                        capacityMemoryBytes: view.capacityMemoryBytes, reservedMillicores: view.reservedMillicores,
                        reservedMemoryBytes: view.reservedMemoryBytes, instances: view.instances,
                        scheduling: view.scheduling)
                }))
    }
}
