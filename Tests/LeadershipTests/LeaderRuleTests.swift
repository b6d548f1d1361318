import Leadership
import OrchestryModel
import Testing

/// Node b, elected at 600 ms with the `acquire` sent at 590. A promise counts 480 ms, the lease 4800 ms.
@Suite struct LeaderRuleTests {
    @Test func `L3 the winner is not active before a majority promised`() {
        var node = ElectionHarness()
        node.win(1)
        #expect(node.election.state == .leader)
        #expect(!node.activity(600).isActive)
        let heartbeats = node.log.filter { $0.at == 600 }.map(\.output)
        #expect(heartbeats.contains(.send(.heartbeat(epoch: Epoch(1), sentAt: stamp(600)), to: nodeA)), "at once")
        let outputs = node.hear(.heartbeatAck(epoch: Epoch(1), sentAt: stamp(600)), from: nodeC, 602)
        #expect(outputs == [.activated(Epoch(1), .quorum)])
    }

    @Test func `L2 a promise counts from the send of the heartbeat`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 1_079, by: [nodeC])
        #expect(node.activity(1_079) == .active(Epoch(1), mode: .quorum, until: at(1_080)))
        #expect(!node.activity(1_080).isActive, "counted from its receipt it would last until 1559")
        node.acknowledge(1, sent: 600, 1_090, by: [nodeC])
        #expect(!node.activity(1_090).isActive, "too late to count")
    }

    @Test func `L2 what does not echo a heartbeat of this epoch counts for nothing`() {
        var node = ElectionHarness()
        node.win(1)
        node.hear(.heartbeatAck(epoch: .none, sentAt: stamp(600)), from: nodeC, 602)
        node.hear(.heartbeatAck(epoch: Epoch(1), sentAt: stamp(9_999)), from: nodeC, 603)
        #expect(!node.activity(603).isActive)
    }

    @Test func `L2 the lease counts from the send of the renewal`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 1_589, by: [nodeC])
        // The first renewal is sent a second after the acquire.
        node.run(to: 1_590)
        #expect(node.statements(since: 1_500) == [.renew(epoch: Epoch(1), seq: 1, mode: .quorum)])
        node.answer(.renewed(epoch: Epoch(1), mode: .quorum), 2_400)
        node.runSupported(to: 6_389, by: [nodeC], renewing: false)
        #expect(node.activity(6_389).isActive)
        #expect(!node.activity(6_390).isActive, "counted from the answer it would last until 7200")
    }

    @Test func `L2 unanimous while PostgreSQL is down, and only with every voter`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 5_800, by: [nodeA, nodeC], renewing: false)
        guard case .active(Epoch(1), mode: .unanimous, _) = node.activity(5_800) else {
            Issue.record("\(node.activity(5_800))")
            return
        }
        #expect(node.log.contains { $0.output == .activated(Epoch(1), .unanimous) && $0.at == 5_390 })
        #expect(!node.log.contains { if case .deactivated = $0.output { true } else { false } })
        node.runSupported(to: 6_380, by: [nodeA], renewing: false)
        #expect(!node.activity(6_380).isActive)
    }

    @Test func `unanimous without a lease it gives the others a chance soon, and then less and less often`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 70_000, by: [nodeA, nodeC], renewing: false)
        let beats = node.log.compactMap { entry -> Int? in
            if case .send(.heartbeat, to: nodeA) = entry.output { entry.at } else { nil }
        }
        let silences = zip(beats, beats.dropFirst()).filter { $1 - $0 > 1_000 }
        #expect(silences.allSatisfy { (1_500...2_200).contains($1 - $0) }, "\(silences)")
        // The lease counts until 5390. From the end of each silence to the beginning of the next one.
        let waits = zip([5_390] + silences.map(\.1), silences.map(\.0)).map { $1 - $0 }
        #expect(waits.count == 4)
        for (wait, expected) in zip(waits, [1_000, 4_000, 16_000, 30_000]) {
            #expect((expected - 100...expected + 200).contains(wait), "\(waits)")
        }
    }

    @Test func `a leader without a lease and without all voters falls silent now and then`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 5_300, by: [nodeA], renewing: false)
        #expect(node.activity(5_300).isActive)
        node.runSupported(to: 20_000, by: [nodeA], renewing: false)
        let beats = node.log.compactMap { entry -> Int? in
            if case .send(.heartbeat, to: nodeA) = entry.output { entry.at } else { nil }
        }
        let gap = zip(beats, beats.dropFirst()).map { $1 - $0 }.max() ?? 0
        #expect((1_500...2_100).contains(gap), "others need more than a promise to take over")
        #expect((beats.last ?? 0) > 17_500, "it comes back, for PostgreSQL may be down for all")
    }

    @Test func `L2 a higher epoch ends activity at once, and the voters are told`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        let outputs = node.hear(.heartbeat(epoch: Epoch(2), sentAt: 5), from: nodeC, 650)
        #expect(!node.activity(650).isActive)
        #expect(
            outputs == [
                .deactivated(Epoch(1), .deposed), .send(.released(epoch: Epoch(1)), to: nodeA),
                .send(.released(epoch: Epoch(1)), to: nodeC),
                .send(.heartbeatAck(epoch: Epoch(2), sentAt: 5), to: nodeC), .leaderChanged(nodeC, Epoch(2)),
            ])
        #expect(node.election.state == .follower)
    }

    @Test func `L2 a refused heartbeat tells a leader of the past`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        node.hear(.voteReply(round: 0, granted: false, highestEpoch: Epoch(5)), from: nodeA, 620)
        #expect(!node.activity(620).isActive)
        #expect(node.election.highestEpoch == Epoch(5))
    }

    @Test func `L4 every statement sent has a higher number`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 4_000, by: [nodeC], renewing: false)
        let numbers = node.statements(since: 600).compactMap { statement -> UInt64? in
            if case .renew(_, let seq, _) = statement { seq } else { nil }
        }
        #expect(numbers.count >= 3)
        #expect(numbers == Array(1...UInt64(numbers.count)))
    }

    @Test func `L4 a failed renewal is tried again, and the lease counts from the last success`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 1_590, by: [nodeC], renewing: false)
        node.answer(.failed("connection lost"), 1_600)
        node.runSupported(to: 1_850, by: [nodeC], renewing: false)
        #expect(node.statements(since: 1_600) == [.renew(epoch: Epoch(1), seq: 2, mode: .quorum)])
        #expect(node.activity(1_850).isActive)
        node.runSupported(to: 5_389, by: [nodeC], renewing: false)
        #expect(!node.activity(5_390).isActive)
    }

    @Test func `L4 solo only after a majority was missing for P`() {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 1_000, by: [nodeC])
        // The last heartbeat acknowledged is that of 1000 ms: the majority lasts until 1480.
        node.run(to: 1_979)
        #expect(!node.activity(1_979).isActive)
        #expect(node.statements().allSatisfy { if case .renew(_, _, .solo) = $0 { false } else { true } })
        node.answer(.renewed(epoch: Epoch(1), mode: .quorum), 1_979)
        node.run(to: 1_980)
        #expect(node.statements(since: 1_980) == [.renew(epoch: Epoch(1), seq: 2, mode: .solo)])
        let outputs = node.answer(.renewed(epoch: Epoch(1), mode: .solo), 1_990)
        #expect(outputs.contains(.activated(Epoch(1), .solo)))
        #expect(node.activity(1_990) == .active(Epoch(1), mode: .solo, until: at(6_780)))
    }

    @Test func `L4 the solo claim is dropped before quorum is asked for`() {
        var node = soloLeader()
        // Node c answers again from 2100 on; after P of that quorum is asked for.
        node.runSupported(to: 2_700, by: [nodeC], renewing: false)
        #expect(node.activity(2_700).isActive)
        node.runSupported(to: 3_000, by: [nodeC], renewing: false)
        let asked = node.log.last { if case .lease = $0.output { true } else { false } }
        guard case .lease(let request)? = asked?.output, case .renew(_, let seq, .quorum) = request.statement else {
            Issue.record("asked \(String(describing: asked))")
            return
        }
        #expect(!node.activity(3_000).isActive, "PostgreSQL may already let others take over by votes")
        node.answer(.renewed(epoch: Epoch(1), mode: .quorum), 3_005)
        guard case .active(_, mode: .quorum, _) = node.activity(3_005) else {
            Issue.record("\(node.activity(3_005))")
            return
        }
        #expect(seq > 2)
    }

    @Test func `L4 a solo confirmation from before a request for quorum is void`() {
        var node = soloLeader(answering: false)
        let solo = node.lastRequest?.id ?? 0
        node.runSupported(to: 4_500, by: [nodeC], renewing: false)
        guard case .renew(_, _, .quorum)? = node.lastRequest?.statement else {
            Issue.record("\(String(describing: node.lastRequest))")
            return
        }
        // Cut off again, the answer to the first arrives.
        node.run(to: 5_100)
        node.feed(.leaseReply(id: solo, .renewed(epoch: Epoch(1), mode: .solo)), 5_101)
        #expect(!node.activity(5_101).isActive, "the row may say quorum by now, and others hold votes")
    }

    @Test func `L4 a solo request refused for an earlier holder's sake loses nothing`() {
        var node = soloLeader(answering: false)
        node.answer(.refused(row(of: nodeB, 1)), 1_990)
        #expect(node.election.state == .leader)
        #expect(!node.activity(1_990).isActive)
        #expect(node.statements(since: 1_990) == [.renew(epoch: Epoch(1), seq: 3, mode: .quorum)])
        node.answer(.renewed(epoch: Epoch(1), mode: .quorum), 1_992)
        node.run(to: 2_490)
        #expect(node.statements(since: 1_991) == [.renew(epoch: Epoch(1), seq: 4, mode: .solo)])
    }

    @Test(arguments: [nil, row(of: nodeC, 2), row(of: nodeB, 2), row(of: nodeA, 1)])
    func `L4 a refused renewal means that it lost`(_ found: LeaseRow?) {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 1_590, by: [nodeA, nodeC], renewing: false)
        let outputs = node.answer(.refused(found), 1_595)
        #expect(!node.activity(1_595).isActive)
        #expect(node.election.state == .follower)
        #expect(outputs.contains { if case .deactivated(Epoch(1), _) = $0 { true } else { false } })
    }

    @Test func `no solo while under a promise to another`() {
        var node = ElectionHarness()
        node.run(to: 589)
        node.hear(.voteReply(round: node.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeA, 590)
        // It promises to node c before PostgreSQL answers.
        node.hear(.heartbeat(epoch: Epoch(1), sentAt: 1), from: nodeC, 595)
        node.answer(.acquired(Epoch(2)), 600)
        #expect(node.election.leader?.node == nodeC)
        node.hear(.heartbeatAck(epoch: Epoch(2), sentAt: stamp(600)), from: nodeA, 602)
        #expect(!node.activity(602).isActive, "one promise of three: its own is node c's")
        node.acknowledge(2, sent: 600, 603, by: [nodeC])
        #expect(node.activity(603).isActive)
    }

    @Test func `L7 leaving stops acting, says so, gives the lease back, and never leads again`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        let outputs = node.feed(.leave, 650)
        #expect(
            outputs.prefix(3) == [
                .deactivated(Epoch(1), .left), .send(.released(epoch: Epoch(1)), to: nodeA),
                .send(.released(epoch: Epoch(1)), to: nodeC),
            ])
        #expect(node.statements(since: 650) == [.release(epoch: Epoch(1), seq: 1)])
        #expect(!node.activity(650).isActive)
        node.run(to: 60_000)
        #expect(node.voteRequests(since: 650).isEmpty)
        // It goes on voting while it stops.
        let vote = node.hear(.voteRequest(round: 3), from: nodeC, 60_001)
        #expect(vote.contains(.send(.voteReply(round: 3, granted: true, highestEpoch: Epoch(1)), to: nodeC)))
    }

    @Test func `L7 a lease that comes after leaving is given back`() {
        var node = ElectionHarness()
        node.run(to: 589)
        node.hear(.voteReply(round: node.lastRound ?? 0, granted: true, highestEpoch: .none), from: nodeA, 590)
        node.feed(.leave, 595)
        node.answer(.acquired(Epoch(1)), 600)
        #expect(node.election.state == .follower)
        #expect(node.statements(since: 600) == [.release(epoch: Epoch(1), seq: 1)])
    }

    @Test func `L7 after stepping down the others come first`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        let outputs = node.feed(.stepDown, 650)
        #expect(outputs.first == .deactivated(Epoch(1), .steppedDown))
        node.run(to: 1_649)
        #expect(node.voteRequests(since: 650).isEmpty)
        node.run(to: 1_750)
        #expect(!node.voteRequests(since: 650).isEmpty, "nobody else wanted to")
    }

    /// Elected at 600, majority lost at 1480, solo asked for at 1980 with number 2.
    private func soloLeader(answering: Bool = true) -> ElectionHarness {
        var node = ElectionHarness()
        node.win(1)
        node.runSupported(to: 1_000, by: [nodeC])
        node.run(to: 1_600)
        node.answer(.renewed(epoch: Epoch(1), mode: .quorum), 1_601)
        node.run(to: 1_980)
        if answering {
            node.answer(.renewed(epoch: Epoch(1), mode: .solo), 1_990)
            node.run(to: 2_099)
        }
        return node
    }
}

@Suite struct SeenEpochTests {
    @Test func `L5 a leader that agents know to be of the past stops, and stands for a higher epoch`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        #expect(node.activity(610).isActive)
        let outputs = node.feed(.epochSeen(Epoch(4)), 610)
        #expect(outputs.contains(.deactivated(Epoch(1), .deposed)))
        #expect(outputs.contains(.send(.released(epoch: Epoch(1)), to: nodeA)))
        node.run(to: 8_000)
        #expect(node.statements(since: 611).contains(.acquire(votesGranted: false, highestEpoch: Epoch(4))))
    }

    @Test func `L5 an epoch not above its own changes nothing`() {
        var node = ElectionHarness()
        node.win(1)
        node.acknowledge(1, sent: 600, 602)
        #expect(node.feed(.epochSeen(Epoch(1)), 610).isEmpty)
        #expect(node.activity(610).isActive)
    }

    @Test func `L5 a voter passes on what its agent knows`() {
        var node = ElectionHarness()
        node.feed(.epochSeen(Epoch(4)), 600)
        let outputs = node.hear(.heartbeat(epoch: Epoch(3), sentAt: 42), from: nodeA, 610)
        #expect(outputs.contains(.send(.voteReply(round: 0, granted: false, highestEpoch: Epoch(4)), to: nodeA)))
        #expect(!outputs.contains(.send(.heartbeatAck(epoch: Epoch(3), sentAt: 42), to: nodeA)))
    }
}
