import OrchestryModel
import Scheduling

/// A host of the model: an agent made of real `InstanceLifecycle`s, a container engine and a proxy.
struct FakeNode {
    struct Container {
        var instance: InstanceID
        var assignment: Assignment
        var endpoint: Endpoint
        var startedAt: Instant
        var isRunning = true
        /// Answers probes from here on; nil: never.
        var healthyFrom: Instant?
        /// Hangs until then.
        var hangsUntil: Instant?
        func isHealthy(at now: Instant) -> Bool {
            guard isRunning, let healthyFrom, now >= healthyFrom else { return false }
            return hangsUntil.map { now >= $0 } ?? true
        }
    }
    struct Managed {
        var lifecycle: InstanceLifecycle
        var probing = false
    }

    let id: NodeID
    /// The agent's process runs.
    var isUp = true
    /// Rises with each start of the agent: answers to an earlier one are lost.
    var incarnation = 0
    /// Rises with each change of the connection to the leader: mail of an earlier one is lost.
    var connection = 0
    var isConnected = false
    var instances: [InstanceID: Managed] = [:]
    var containers: [String: Container] = [:]
    var highestEpoch = Epoch.none
    /// What its proxy serves; survives the agent.
    var table = RoutingTable.empty
    /// Requests in flight through its proxy.
    var inFlight: [InstanceID: UInt64] = [:]
    var comesBackAt: Instant?
    var reconnectsAt: Instant?

    init(id: NodeID) { self.id = id }

    var inventory: Inventory {
        Inventory(
            node: id, highestEpoch: highestEpoch, capacityMillicores: 4_000, capacityMemoryBytes: 8 << 30,
            engineAvailable: true,
            instances: instances.values.map(\.lifecycle.status).sorted { $0.instance < $1.instance })
    }

    func container(of instance: InstanceID) -> Container? {
        instances[instance]?.lifecycle.status.containerID.flatMap { containers[$0] }
    }
}
