import Leadership
import OrchestryModel

/// One node of the simulated cluster: its clock and its containers go on while the process is down.
struct SimulatedNode: Sendable {
    let id: NodeID
    var clock: SimulatedClock
    /// Nil: crashed.
    var election: Election?
    /// Counts starts: answers to statements of an earlier process never arrive.
    var incarnation: UInt32 = 0
    /// True time until which the process is frozen; what arrives waits.
    var pausedUntil: Int64 = 0
    /// True time of the tick that counts; nil: none in the queue.
    var tickAt: Int64?
    /// Which tick that is. Others in the queue are void.
    var tickNumber: UInt64 = 0
    /// What its outputs said last.
    var reported: (epoch: Epoch, mode: ActivityMode)?
    /// Counts terms as leader: work of an earlier one is void.
    var term: UInt32 = 0
    var agent = SimulatedAgent()
    var storeLink = StoreLink.open
    /// What is held up on a stalled link to PostgreSQL.
    var stalled: [SimulatedCluster.Event] = []
    /// By node index: messages to that node are lost.
    var cutTo: [Bool]
    /// By node index: the latest arrival of what is on its way to that node.
    var lastArrival: [Int64]
}
