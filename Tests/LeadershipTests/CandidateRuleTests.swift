import Leadership
import OrchestryModel
import Testing

@Suite struct CandidateRuleTests {
    struct Order: Sendable, CustomTestStringConvertible {
        var name: String
        var me: NodeID
        var mine: Int64?
        var theirs: [NodeID: Int64] = [:]
        /// When it first asks for votes, in milliseconds: the wait of L6 is 500, each better-placed one adds 40.
        var range: ClosedRange<Int>
        var testDescription: String { name }

        static let rows: [Order] = [
            Order(name: "the lowest id does not wait", me: nodeA, range: 500...500),
            Order(name: "the second waits a step", me: nodeB, range: 540...550),
            Order(name: "the third waits two", me: nodeC, range: 580...590),
            Order(
                name: "the freshest does not wait", me: nodeC, mine: 9, theirs: [nodeA: 8, nodeB: 7], range: 500...500),
            Order(
                name: "equally fresh ones stand by id", me: nodeB, mine: 9, theirs: [nodeA: 9, nodeC: 9],
                range: 540...550),
            Order(
                name: "one that is not known to be fresher stands by id", me: nodeB, mine: 9, range: 540...550),
        ]
    }

    @Test(arguments: Order.rows)
    func `L8 candidates stand in order`(_ row: Order) {
        var node = ElectionHarness(row.me)
        if let mine = row.mine { node.feed(.freshness(mine), 1) }
        for (peer, value) in row.theirs.sorted(by: { $0.key < $1.key }) {
            node.feed(.peerFreshness(value, of: peer), 1)
        }
        node.run(to: 700)
        #expect(row.range.contains(node.voteRequests().first ?? 0), "asked at \(node.voteRequests())")
    }

    @Test func `L8 the fresher one goes first after a leader fell silent`() {
        var fresh = ElectionHarness(nodeC)
        fresh.feed(.freshness(5), 1)
        fresh.feed(.peerFreshness(4, of: nodeB), 1)
        fresh.hear(.heartbeat(epoch: Epoch(1), sentAt: 1), from: nodeA, 600)
        fresh.run(to: 1_300)
        #expect(fresh.voteRequests(since: 600).first == 1_100)

        var stale = ElectionHarness(nodeB)
        stale.feed(.freshness(4), 1)
        stale.feed(.peerFreshness(5, of: nodeC), 1)
        stale.hear(.heartbeat(epoch: Epoch(1), sentAt: 1), from: nodeA, 600)
        stale.run(to: 1_300)
        #expect((1_140...1_150).contains(stale.voteRequests(since: 600).first ?? 0))
    }

    @Test func `L3 a majority of votes leads to PostgreSQL with the highest epoch reported`() {
        var node = ElectionHarness(voters: ["a", "b", "c", "d", "e"].map { NodeID(unchecked: $0) })
        // It has heard of epoch 7 before, so that a vote that reports it is no news.
        node.hear(.heartbeat(epoch: Epoch(7), sentAt: 1), from: nodeA, 300)
        node.run(to: 1_000)
        let round = node.lastRound ?? 0
        node.hear(.voteReply(round: round, granted: true, highestEpoch: Epoch(7)), from: nodeC, 1_001)
        #expect(node.statements().isEmpty, "two of five")
        node.hear(.voteReply(round: round, granted: true, highestEpoch: .none), from: nodeC, 1_002)
        #expect(node.statements().isEmpty, "the same voter twice")
        node.hear(.voteReply(round: round &+ 1, granted: true, highestEpoch: .none), from: nodeA, 1_003)
        #expect(node.statements().isEmpty, "a vote of another round")
        node.hear(.voteReply(round: round, granted: true, highestEpoch: .none), from: nodeA, 1_004)
        #expect(node.statements() == [.acquire(votesGranted: true, highestEpoch: Epoch(7))])
    }

    @Test func `L3 without votes it tries for an expired lease`() {
        var node = ElectionHarness(nodeA)
        node.run(to: 749)
        #expect(node.statements().isEmpty)
        node.run(to: 750)
        #expect(node.statements() == [.acquire(votesGranted: false, highestEpoch: .none)])
    }

    @Test func `L3 no attempt under a promise`() {
        var node = ElectionHarness(nodeA)
        node.run(to: 510)
        let round = node.lastRound ?? 0
        node.hear(.heartbeat(epoch: Epoch(1), sentAt: 1), from: nodeC, 520)
        node.hear(.voteReply(round: round, granted: true, highestEpoch: .none), from: nodeB, 530)
        node.run(to: 1_019)
        #expect(node.statements().isEmpty)
    }

    @Test func `news of an unknown leader makes a candidate wait for it`() {
        var node = ElectionHarness(nodeA)
        node.run(to: 510)
        let round = node.lastRound ?? 0
        node.hear(.voteReply(round: round, granted: true, highestEpoch: Epoch(6)), from: nodeB, 520)
        #expect(node.election.state == .follower)
        node.run(to: 1_019)
        #expect(node.statements().isEmpty)
        node.run(to: 1_100)
        #expect(node.election.state == .candidate)
    }

    @Test func `a better-placed candidate gets the vote of another, unless that asked PostgreSQL`() {
        var node = ElectionHarness()
        node.run(to: 560)
        #expect(node.election.state == .candidate)
        let worse = node.hear(.voteRequest(round: 1), from: nodeC, 561)
        #expect(worse.contains(.send(.voteReply(round: 1, granted: false, highestEpoch: .none), to: nodeC)))
        let better = node.hear(.voteRequest(round: 1), from: nodeA, 562)
        #expect(better.contains(.send(.voteReply(round: 1, granted: true, highestEpoch: .none), to: nodeA)))
        #expect(node.election.state == .follower)

        var asking = ElectionHarness()
        asking.run(to: 560)
        asking.hear(.voteReply(round: asking.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeC, 561)
        let refused = asking.hear(.voteRequest(round: 1), from: nodeA, 562)
        #expect(refused.contains(.send(.voteReply(round: 1, granted: false, highestEpoch: .none), to: nodeA)))
        let late = asking.hear(.voteRequest(round: 1), from: nodeC, 812)
        #expect(
            late.contains(.send(.voteReply(round: 1, granted: true, highestEpoch: .none), to: nodeC)),
            "PostgreSQL kept it waiting: others may be luckier")
    }

    @Test func `a candidate that PostgreSQL does not answer stands back`() {
        for isSilent in [true, false] {
            var node = ElectionHarness(nodeA)
            node.run(to: 510)
            node.hear(.voteReply(round: node.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeB, 511)
            if !isSilent { node.answer(.failed("refused"), 1_511) }
            node.run(to: 2_510)
            #expect(node.voteRequests(since: 1_512).isEmpty, "silent: \(isSilent)")
            node.run(to: 3_100)
            #expect(!node.voteRequests(since: 2_511).isEmpty, "silent: \(isSilent)")
        }
    }

    @Test func `a refusal is followed by further attempts, each later`() {
        var node = ElectionHarness(nodeA)
        node.run(to: 510)
        node.hear(.voteReply(round: node.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeB, 511)
        var answered: UInt64?
        for time in 512..<2_000 {
            if let last = node.lastRequest?.id, last != answered {
                node.answer(.refused(nil), time)
                answered = last
            } else {
                node.run(to: time)
            }
        }
        let attempts = node.log.filter { if case .lease = $0.output { true } else { false } }.map(\.at)
        let gaps = zip(attempts, attempts.dropFirst()).map { $1 - $0 }
        #expect(gaps.first.map { $0 < 40 } == true, "a release may be on its way: \(gaps)")
        #expect(gaps.last.map { (250...270).contains($0) } == true, "no storm: \(gaps)")
    }

    @Test func `a late grant of the lease counts from when it was asked for, unless superseded`() {
        var node = ElectionHarness()
        node.run(to: 589)
        node.hear(.voteReply(round: node.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeA, 590)
        node.run(to: 2_000)
        let abandoned = node.lastRequest?.id ?? 0
        var superseded = node
        node.feed(.leaseReply(id: abandoned, .acquired(Epoch(1))), 2_001)
        #expect(node.election.state == .leader)
        // Its own promise is from 2001; the lease is from 590.
        node.acknowledge(1, sent: 2_001, 2_003)
        #expect(node.activity(2_003) == .active(Epoch(1), mode: .quorum, until: at(2_481)))
        node.runSupported(to: 5_389, by: [nodeA], renewing: false)
        #expect(node.activity(5_389).isActive)
        #expect(!node.activity(5_390).isActive)

        superseded.hear(.heartbeat(epoch: Epoch(2), sentAt: 1), from: nodeC, 2_001)
        superseded.feed(.leaseReply(id: abandoned, .acquired(Epoch(1))), 2_002)
        #expect(superseded.election.state == .follower)
        #expect(superseded.election.leader?.node == nodeC)
    }

    @Test func `L6 nothing is tried before P`() {
        var node = ElectionHarness(nodeA)
        node.hear(.released(epoch: Epoch(3)), from: nodeC, 100)
        node.run(to: 499)
        #expect(node.log.isEmpty)
        node.run(to: 500)
        #expect(node.voteRequests() == [500])
    }

    @Test func `L7 the best-placed voter asks at once when the leader released`() {
        var node = ElectionHarness()
        node.hear(.heartbeat(epoch: Epoch(3), sentAt: 1), from: nodeA, 600)
        let outputs = node.hear(.released(epoch: Epoch(3)), from: nodeA, 650)
        #expect(outputs.contains { if case .send(.voteRequest, to: nodeC) = $0 { true } else { false } })
        #expect(outputs.contains(.leaderChanged(nil, Epoch(3))))

        var succeeded = ElectionHarness()
        succeeded.hear(.heartbeat(epoch: Epoch(3), sentAt: 1), from: nodeA, 600)
        succeeded.hear(.heartbeat(epoch: Epoch(4), sentAt: 1), from: nodeC, 640)
        succeeded.hear(.released(epoch: Epoch(3)), from: nodeA, 650)
        succeeded.run(to: 1_100)
        #expect(succeeded.voteRequests(since: 600).isEmpty, "it has a successor already")
    }

    @Test func `a single voter leads with its own promise`() {
        var node = ElectionHarness(nodeA, voters: [nodeA])
        node.run(to: 500)
        #expect(node.statements() == [.acquire(votesGranted: true, highestEpoch: .none)])
        let outputs = node.answer(.acquired(Epoch(1)), 510)
        #expect(outputs.contains(.activated(Epoch(1), .quorum)))
        node.runSupported(to: 30_000, by: [], renewing: false)
        #expect(node.activity(30_000).isActive, "PostgreSQL is down: all voters are there")
    }

    @Test func `L3 an acquired epoch counts though it was read in the row before the answer came`() {
        var node = ElectionHarness(nodeA, voters: [nodeA])
        node.run(to: 600)
        #expect(node.statements().count == 1)
        node.feed(.epochSeen(Epoch(1)), 605)
        node.answer(.acquired(Epoch(1)), 610)
        #expect(node.activity(611).isActive)
    }

    @Test func `L3 an answer that came after somebody else acquired ends the attempt, not all attempts`() {
        var node = ElectionHarness(nodeA, voters: [nodeA])
        node.run(to: 600)
        node.feed(.epochSeen(Epoch(5)), 605)
        node.answer(.acquired(Epoch(1)), 610)
        #expect(!node.activity(611).isActive)
        node.run(to: 2_000)
        let later = node.statements(since: 611)
        #expect(later == [.acquire(votesGranted: true, highestEpoch: Epoch(5))], "\(later)")
        #expect(node.log.last { if case .lease = $0.output { true } else { false } }?.at == 1_110)
    }
}
