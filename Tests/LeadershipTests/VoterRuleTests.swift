import Leadership
import OrchestryModel
import Testing

/// What node b, started at 0 ms, answers to the last of some messages. Its promises last 500 ms.
struct VoterRow: Sendable, CustomTestStringConvertible {
    var name: String
    /// What a wrong rule would do.
    var wrong: String
    var messages: [(at: Int, from: NodeID, message: ElectionMessage)]
    /// What is sent in answer to the last one.
    var answer: ElectionMessage?

    var testDescription: String { name }

    static func heartbeat(_ epoch: UInt64, sent: UInt64 = 42) -> ElectionMessage {
        .heartbeat(epoch: Epoch(epoch), sentAt: sent)
    }
    static func ack(_ epoch: UInt64, sent: UInt64 = 42) -> ElectionMessage {
        .heartbeatAck(epoch: Epoch(epoch), sentAt: sent)
    }
    static func reply(_ granted: Bool, _ epoch: UInt64, round: UInt32 = 9) -> ElectionMessage {
        .voteReply(round: round, granted: granted, highestEpoch: Epoch(epoch))
    }
    static let ask = ElectionMessage.voteRequest(round: 9)

    static let rows: [VoterRow] = [
        VoterRow(
            name: "L1 a heartbeat is acknowledged with its own send time", wrong: "the voter's time",
            messages: [(600, nodeA, heartbeat(3, sent: 77))], answer: ack(3, sent: 77)),
        VoterRow(
            name: "L1 the same leader is acknowledged again",
            wrong: "silence, as if the promise bound against everyone",
            messages: [(600, nodeA, heartbeat(3)), (700, nodeA, heartbeat(3))], answer: ack(3)),
        VoterRow(
            name: "L1 the same leader may come with a new epoch", wrong: "silence until the promise ends",
            messages: [(600, nodeA, heartbeat(3)), (700, nodeA, heartbeat(5))], answer: ack(5)),
        VoterRow(
            name: "L1 an epoch below the highest seen is refused, and told why", wrong: "an acknowledgement",
            messages: [(600, nodeA, heartbeat(3)), (2_000, nodeC, heartbeat(2))],
            answer: reply(false, 3, round: 0)),
        VoterRow(
            name: "L1 no other leader while a promise runs", wrong: "an acknowledgement: two majorities",
            messages: [(600, nodeA, heartbeat(3)), (1_099, nodeC, heartbeat(4))], answer: nil),
        VoterRow(
            name: "L1 another leader once the promise ended", wrong: "silence: a takeover takes a heartbeat more",
            messages: [(600, nodeA, heartbeat(3)), (1_100, nodeC, heartbeat(4))], answer: ack(4)),
        VoterRow(
            name: "L1 a higher epoch ends the lower one at once, though the promise still forbids to acknowledge it",
            wrong: "an acknowledgement of a lost epoch",
            messages: [(600, nodeA, heartbeat(3)), (700, nodeC, heartbeat(4)), (750, nodeA, heartbeat(3))],
            answer: reply(false, 4, round: 0)),
        VoterRow(
            name: "L1 the promise counts from the last heartbeat", wrong: "a vote at 1100",
            messages: [(600, nodeA, heartbeat(3)), (700, nodeA, heartbeat(3)), (1_199, nodeC, ask)],
            answer: reply(false, 3)),
        VoterRow(
            name: "L3 no vote under a promise", wrong: "a live leader is disturbed",
            messages: [(600, nodeA, heartbeat(3)), (1_099, nodeC, ask)], answer: reply(false, 3)),
        VoterRow(
            name: "L3 a vote reports the highest epoch", wrong: "an epoch could be used twice",
            messages: [(600, nodeA, heartbeat(3)), (1_100, nodeC, ask)], answer: reply(true, 3)),
        VoterRow(
            name: "L3 one vote at a time", wrong: "two winners in a row, the second deposing the first",
            messages: [(500, nodeA, ask), (600, nodeC, ask)], answer: reply(false, 0)),
        VoterRow(
            name: "L3 the same candidate may ask again", wrong: "a lost reply costs the election",
            messages: [(500, nodeA, ask), (600, nodeA, ask)], answer: reply(true, 0)),
        VoterRow(
            name: "L3 a vote binds no longer than a moment", wrong: "a candidate that died blocks the others",
            messages: [(500, nodeA, ask), (750, nodeC, ask)], answer: reply(true, 0)),
        VoterRow(
            name: "L3 a vote does not keep another's heartbeat from being acknowledged", wrong: "silence",
            messages: [(500, nodeA, ask), (600, nodeC, heartbeat(1))], answer: ack(1)),
        VoterRow(
            name: "L6 no acknowledgement before P", wrong: "a promise of the earlier process is broken",
            messages: [(499, nodeA, heartbeat(3))], answer: nil),
        VoterRow(
            name: "L6 no vote before P", wrong: "a takeover from a leader it had promised to",
            messages: [(499, nodeA, ask)], answer: reply(false, 0)),
        VoterRow(
            name: "L6 acknowledges from P on", wrong: "silence",
            messages: [(500, nodeA, heartbeat(3))], answer: ack(3)),
        VoterRow(
            name: "L7 a release ends the promise", wrong: "half a second without a leader",
            messages: [
                (600, nodeA, heartbeat(3)), (650, nodeA, .released(epoch: Epoch(3))), (651, nodeC, heartbeat(4)),
            ], answer: ack(4)),
        VoterRow(
            name: "L7 a heartbeat that its release overtook grants nothing", wrong: "a promise to one who left",
            messages: [
                (600, nodeA, heartbeat(3)), (650, nodeA, .released(epoch: Epoch(3))), (651, nodeA, heartbeat(3)),
            ], answer: nil),
        VoterRow(
            name: "L7 only the leader itself can end a promise to it", wrong: "a stray release breaks a promise",
            messages: [
                (600, nodeA, heartbeat(3)), (650, nodeC, .released(epoch: Epoch(3))), (651, nodeC, heartbeat(4)),
            ], answer: nil),
        VoterRow(
            name: "L7 a release of an older epoch leaves the newer promise", wrong: "a late release breaks a promise",
            messages: [
                (600, nodeA, heartbeat(3)), (650, nodeA, .released(epoch: Epoch(2))), (651, nodeC, heartbeat(4)),
            ], answer: nil),
    ]
}

@Suite struct VoterRuleTests {
    @Test(arguments: VoterRow.rows)
    func `a voter answers`(_ row: VoterRow) throws {
        var node = ElectionHarness()
        var outputs: [Election.Output] = []
        for (time, sender, message) in row.messages { outputs = node.hear(message, from: sender, time) }
        let sender = try #require(row.messages.last?.from)
        let answers = outputs.compactMap { output -> ElectionMessage? in
            switch output {
            case .send(.heartbeatAck(let epoch, let sentAt), to: sender):
                .heartbeatAck(epoch: epoch, sentAt: sentAt)
            case .send(.voteReply(let round, let granted, let highest), to: sender):
                .voteReply(round: round, granted: granted, highestEpoch: highest)
            default: nil
            }
        }
        #expect(answers == [row.answer].compactMap { $0 }, "the wrong rule gives: \(row.wrong)")
    }

    @Test func `a follower that hears its leader never disturbs it`() {
        var node = ElectionHarness()
        for time in stride(from: 600, through: 60_000, by: 400) {
            node.hear(.heartbeat(epoch: Epoch(1), sentAt: 1), from: nodeA, time)
        }
        #expect(node.voteRequests(since: 600).isEmpty)
        #expect(node.statements().isEmpty)
        #expect(node.election.leader?.node == nodeA)
    }

    @Test func `silence ends the following and starts a candidacy`() throws {
        var node = ElectionHarness()
        node.hear(.heartbeat(epoch: Epoch(4), sentAt: 1), from: nodeA, 600)
        node.run(to: 1_099)
        #expect(node.election.leader?.epoch == Epoch(4))
        node.run(to: 1_200)
        #expect(node.election.leader == nil)
        #expect(node.log.contains { $0.at == 1_100 && $0.output == .leaderChanged(nil, Epoch(4)) })
        // Node a is the silent one, so that node b is first in line.
        #expect(node.voteRequests(since: 600).first == 1_100)
        #expect(node.election.state == .candidate)
    }

    @Test func `a leader heard during a promise to another is left alone as well`() {
        var node = ElectionHarness()
        node.hear(.heartbeat(epoch: Epoch(3), sentAt: 1), from: nodeA, 600)
        node.hear(.heartbeat(epoch: Epoch(4), sentAt: 1), from: nodeC, 1_000)
        node.run(to: 1_450)
        #expect(node.voteRequests(since: 600).isEmpty, "at 1100 the promise ends, but node c leads")
    }

    @Test func `messages from strangers are ignored`() {
        var node = ElectionHarness()
        let outputs = node.hear(.heartbeat(epoch: Epoch(9), sentAt: 1), from: NodeID(unchecked: "z"), 600)
        #expect(outputs.allSatisfy { if case .send(_, to: NodeID(unchecked: "z")) = $0 { false } else { true } })
        #expect(node.election.highestEpoch == .none)
    }

    @Test func `a clock that seems to go back counts as standing still`() {
        var node = ElectionHarness()
        node.hear(.heartbeat(epoch: Epoch(3), sentAt: 1), from: nodeA, 900)
        let outputs = node.election.handle(.received(.heartbeat(epoch: Epoch(4), sentAt: 1), from: nodeC), at: at(100))
        #expect(!outputs.contains(.send(.heartbeatAck(epoch: Epoch(4), sentAt: 1), to: nodeC)))
        #expect(node.election.nextDeadline > at(900))
    }
}
