import Leadership
import OrchestryModel

/// One node of the simulated cluster: its clock goes on while the process is down.
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
    var storeLink = StoreLink.open
    /// By node index: messages to that node are lost.
    var cutTo: [Bool]
}
