import Leadership
import OrchestryModel
import Testing

/// How a worker learns who leads.
struct LeaderTrackerTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        /// What a wrong rule would do.
        var wrong: String
        var inputs: [(at: Int, input: LeaderTracker.Input)]
        /// Of the last input.
        var outputs: [LeaderTracker.Output]
        var leader: NodeID?
        var testDescription: String { name }

        static func beat(_ epoch: UInt64, _ node: NodeID) -> LeaderTracker.Input {
            .heartbeat(Epoch(epoch), from: node)
        }
        static func changed(_ node: NodeID?, _ epoch: UInt64) -> LeaderTracker.Output {
            .leaderChanged(node, Epoch(epoch))
        }

        static let rows: [Row] = [
            Row(
                name: "the first heartbeat names the leader", wrong: "a wait", inputs: [(0, beat(3, nodeA))],
                outputs: [changed(nodeA, 3)], leader: nodeA),
            Row(
                name: "the next one is no news", wrong: "an inventory each second",
                inputs: [(0, beat(3, nodeA)), (1_000, beat(3, nodeA))], outputs: [], leader: nodeA),
            Row(
                name: "a higher epoch wins at once", wrong: "reports go to the old leader until it is silent",
                inputs: [(0, beat(3, nodeA)), (10, beat(4, nodeB))], outputs: [changed(nodeB, 4)], leader: nodeB),
            Row(
                name: "the same node's next epoch is news", wrong: "the new term gets no inventory",
                inputs: [(0, beat(3, nodeA)), (10, beat(5, nodeA))], outputs: [changed(nodeA, 5)], leader: nodeA),
            Row(
                name: "a lower epoch is told so", wrong: "a leader of the past is followed",
                inputs: [(0, beat(4, nodeB)), (10, beat(3, nodeA))], outputs: [.refuse(nodeA, highest: Epoch(4))],
                leader: nodeB),
            Row(
                name: "also when the higher one has fallen silent", wrong: "a leader of the past is followed",
                inputs: [(0, beat(4, nodeB)), (9_000, beat(3, nodeA))],
                outputs: [.refuse(nodeA, highest: Epoch(4)), changed(nil, 4)], leader: nil),
            Row(
                name: "an epoch has one leader", wrong: "reports go to and fro",
                inputs: [(0, beat(4, nodeB)), (10, beat(4, nodeA))], outputs: [], leader: nodeB),
            Row(
                name: "silence ends it", wrong: "reports go to a dead node",
                inputs: [(0, beat(3, nodeA)), (1_000, beat(3, nodeA)), (4_000, .tick)], outputs: [changed(nil, 3)],
                leader: nil),
            Row(
                name: "two lost heartbeats don't", wrong: "a loss on the way looks like a change of leader",
                inputs: [(0, beat(3, nodeA)), (2_999, .tick)], outputs: [], leader: nodeA),
            Row(
                name: "after silence the same one is news", wrong: "it gets no inventory",
                inputs: [(0, beat(3, nodeA)), (3_000, .tick), (3_100, beat(3, nodeA))], outputs: [changed(nodeA, 3)],
                leader: nodeA),
            Row(
                name: "a lost connection ends it at once", wrong: "requests wait for a dead node",
                inputs: [(0, beat(3, nodeA)), (10, .disconnected(nodeA))], outputs: [changed(nil, 3)], leader: nil),
            Row(
                name: "another's lost connection does not", wrong: "any node's death stops the worker's reports",
                inputs: [(0, beat(3, nodeA)), (10, .disconnected(nodeB))], outputs: [], leader: nodeA),
            Row(
                name: "L5 an order of a later epoch ends it", wrong: "reports go to a leader of the past",
                inputs: [(0, beat(3, nodeA)), (10, .epochSeen(Epoch(4)))], outputs: [changed(nil, 4)], leader: nil),
            Row(
                name: "L5 an epoch its containers carry is not led below",
                wrong: "after the loss of PostgreSQL's memory the worker obeys nobody and nobody learns why",
                inputs: [(0, .epochSeen(Epoch(7))), (10, beat(3, nodeA))], outputs: [.refuse(nodeA, highest: Epoch(7))],
                leader: nil),
            Row(
                name: "L5 an order of the epoch itself changes nothing", wrong: "each inventory unsettles it",
                inputs: [(0, beat(3, nodeA)), (10, .epochSeen(Epoch(3)))], outputs: [], leader: nodeA),
        ]
    }

    @Test(arguments: Row.rows) func `what is heard`(_ row: Row) {
        var tracker = LeaderTracker(silenceLimit: .seconds(3))
        var outputs: [LeaderTracker.Output] = []
        for (time, input) in row.inputs { outputs = tracker.handle(input, at: at(time)) }
        #expect(outputs == row.outputs, "wrong would be: \(row.wrong)")
        #expect(tracker.leader?.node == row.leader)
    }

    @Test func `its deadline is when the leader has been silent too long`() {
        var tracker = LeaderTracker(silenceLimit: .seconds(3))
        #expect(tracker.nextDeadline == nil)
        _ = tracker.handle(.heartbeat(Epoch(1), from: nodeA), at: at(500))
        #expect(tracker.nextDeadline == at(3_500))
        #expect(tracker.handle(.tick, at: at(3_500)) == [.leaderChanged(nil, Epoch(1))])
        #expect(tracker.nextDeadline == nil)
    }

    @Test func `a worker's word counts for nothing in an election`() {
        let worker = NodeID(unchecked: "worker-1")
        // A voter neither answers nor learns from it.
        var voter = ElectionHarness()
        voter.run(to: 300)
        for (offset, message) in [
            ElectionMessage.heartbeat(epoch: Epoch(9), sentAt: 1), .heartbeatAck(epoch: Epoch(9), sentAt: 1),
            .voteRequest(round: 1), .voteReply(round: 1, granted: true, highestEpoch: Epoch(9)),
            .released(epoch: Epoch(9)),
        ].enumerated() {
            let before = voter.election.nextDeadline
            #expect(voter.hear(message, from: worker, 310 + offset).isEmpty, "\(message)")
            #expect(voter.election.highestEpoch == .none && voter.election.leader == nil)
            #expect(voter.election.nextDeadline == before, "\(message)")
        }
        // A candidate is not elected by it: this is `win`, but for who grants.
        var candidate = ElectionHarness()
        candidate.run(to: 589)
        candidate.hear(
            .voteReply(round: candidate.lastRound ?? 0, granted: true, highestEpoch: .none), from: worker, 590)
        let isElected = candidate.statements().contains { if case .acquire(true, _) = $0 { true } else { false } }
        #expect(!isElected)
        // A leader with its own promise and the worker's has no majority of three.
        var leader = ElectionHarness()
        leader.win(1)
        leader.acknowledge(1, sent: 600, 610, by: [worker])
        #expect(!leader.election.activity(at: at(611)).isActive)
        leader.acknowledge(1, sent: 600, 612, by: [nodeA])
        #expect(leader.election.activity(at: at(613)).isActive)
    }
}
