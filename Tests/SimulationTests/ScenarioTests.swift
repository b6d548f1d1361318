import Leadership
import OrchestryModel
import SimulationKit
import Testing

private let milliseconds: Int64 = 1_000_000
private let seconds: Int64 = 1_000_000_000

/// Schedules written by hand, for what random ones reach too seldom or don't check.
@Suite struct ScenarioTests {
    /// Three nodes with a leader that has been steady for two seconds.
    private func led(
        seed: UInt64 = 1, voters: Int = 3, mutant: Mutant = .none
    ) throws -> (cluster: SimulatedCluster, leader: Int) {
        var options = SimulatedCluster.Options()
        options.voters = voters
        options.mutant = mutant
        options.traces = true
        var cluster = SimulatedCluster(seed: seed, options: options)
        cluster.run(for: 10 * seconds) { $0.activeNode != nil }
        cluster.run(for: 2 * seconds)
        return (cluster, try #require(cluster.activeNode))
    }

    private func mode(of node: Int, _ cluster: SimulatedCluster) -> ActivityMode? {
        guard case .active(_, let mode, _) = cluster.activity(of: node) else { return nil }
        return mode
    }

    private func sound(_ cluster: SimulatedCluster) {
        if let failure = cluster.failure {
            Issue.record("\(failure)\n\(cluster.trace.suffix(60).joined(separator: "\n"))")
        }
    }

    @Test func `a calm cluster keeps its leader`() throws {
        var (cluster, leader) = try led()
        let before = cluster.deactivations
        cluster.run(for: 120 * seconds)
        #expect(cluster.activeNode == leader)
        #expect(cluster.deactivations == before)
        #expect(cluster.register.row?.epoch == Epoch(1))
        sound(cluster)
    }

    @Test func `the survivor of three leads alone once the lease has expired`() throws {
        var (cluster, leader) = try led()
        let survivor = (leader + 1) % 3
        cluster.crash((leader + 2) % 3)
        cluster.crash(leader)
        let start = cluster.now
        #expect(cluster.run(for: 10 * seconds) { $0.activity(of: survivor).isActive })
        #expect(mode(of: survivor, cluster) == .solo)
        #expect(cluster.now - start > 3 * seconds, "not before the lease expired")
        sound(cluster)
    }

    @Test func `a leader cut off from the voters goes solo if they can't take over, and comes back to quorum`() throws {
        var (cluster, leader) = try led()
        for other in cluster.voters where other != leader { cluster.setStoreLink(of: other, .refusing) }
        cluster.setIsolated(leader, true)
        #expect(cluster.run(for: 3 * seconds) { _ in false } == false)
        #expect(mode(of: leader, cluster) == .solo)
        for other in cluster.voters { cluster.setStoreLink(of: other, .open) }
        cluster.run(for: 5 * seconds)
        #expect(mode(of: leader, cluster) == .solo, "a solo lease can't be taken over by votes")
        cluster.setIsolated(leader, false)
        cluster.run(for: 3 * seconds)
        #expect(mode(of: leader, cluster) == .quorum)
        #expect(cluster.register.row?.epoch == Epoch(1))
        sound(cluster)
    }

    @Test func `the majority takes over from a leader that is cut off`() throws {
        var (cluster, leader) = try led()
        cluster.setIsolated(leader, true)
        #expect(cluster.run(for: 1 * seconds) { $0.activeNode.map { $0 != leader } ?? false })
        cluster.setIsolated(leader, false)
        let before = cluster.deactivations
        cluster.run(for: 5 * seconds)
        #expect(cluster.activeNode.map { $0 != leader } == true)
        #expect(cluster.deactivations == before, "its return disturbs nobody")
        sound(cluster)
    }

    @Test func `a minute without PostgreSQL`() throws {
        var (cluster, leader) = try led()
        for node in cluster.voters { cluster.setStoreLink(of: node, .refusing) }
        var inactive: Int64 = 0
        for _ in 0..<6_000 {
            cluster.run(for: 10 * milliseconds)
            if !cluster.activity(of: leader).isActive { inactive += 10 * milliseconds }
        }
        #expect(inactive < 7 * seconds, "it only falls silent now and then, in case others reach PostgreSQL")
        for node in cluster.voters { cluster.setStoreLink(of: node, .open) }
        cluster.run(for: 4 * seconds)
        #expect(cluster.activeNode == leader)
        #expect(mode(of: leader, cluster) == .quorum)
        #expect(cluster.register.row?.epoch == Epoch(1))
        sound(cluster)
    }

    @Test(arguments: [StoreLink.refusing, .silent, .deaf])
    func `a leader that alone can't reach PostgreSQL gives way`(_ link: StoreLink) throws {
        var (cluster, leader) = try led()
        cluster.setStoreLink(of: leader, link)
        #expect(
            cluster.run(for: 10 * seconds) { $0.activeNode.map { $0 != leader } ?? false },
            "\(cluster.trace.suffix(30).joined(separator: "\n"))")
        cluster.run(for: 1 * seconds)
        #expect(cluster.activeNode.flatMap { mode(of: $0, cluster) } == .quorum)
        sound(cluster)
    }

    @Test func `it gives way sooner when a voter is missing`() throws {
        var (cluster, leader) = try led()
        cluster.crash((leader + 2) % 3)
        cluster.setStoreLink(of: leader, .silent)
        #expect(cluster.run(for: 9 * seconds) { $0.activeNode.map { $0 != leader } ?? false })
        sound(cluster)
    }

    @Test(arguments: [StoreLink.refusing, .silent, .deaf])
    func `a candidate that can't reach PostgreSQL lets the next one go`(_ link: StoreLink) throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var (cluster, leader) = try led(seed: seed)
            // Of the two others the lower index stands first.
            let first = try #require(cluster.voters.first { $0 != leader })
            cluster.setStoreLink(of: first, link)
            cluster.crash(leader)
            #expect(cluster.run(for: 2 * seconds) { $0.activeNode != nil }, "seed \(seed)")
            sound(cluster)
        }
    }

    @Test func `a follower that hears nobody disturbs nobody`() throws {
        var (cluster, leader) = try led()
        let deaf = (leader + 1) % 3
        for other in cluster.voters where other != deaf { cluster.setLink(from: other, to: deaf, isCut: true) }
        let before = cluster.deactivations
        cluster.run(for: 30 * seconds)
        #expect(cluster.activeNode == leader)
        #expect(cluster.deactivations == before)
        sound(cluster)
    }

    @Test func `a PostgreSQL slower than the time-out still gives and keeps a leader`() throws {
        var cluster = SimulatedCluster(seed: 5, options: SimulatedCluster.Options())
        cluster.store.delays = Delays(minimum: 700 * milliseconds, maximum: 800 * milliseconds)
        #expect(cluster.run(for: 10 * seconds) { $0.activeNode != nil })
        // Candidacies begun meanwhile may still be answered.
        cluster.run(for: 5 * seconds)
        let leader = cluster.activeNode
        let before = cluster.deactivations
        cluster.run(for: 30 * seconds)
        #expect(leader != nil && cluster.activeNode == leader)
        #expect(cluster.deactivations == before)
        sound(cluster)
    }

    @Test func `a paused leader wakes up deposed`() throws {
        var (cluster, leader) = try led()
        cluster.pause(leader, for: 8 * seconds)
        #expect(cluster.run(for: 2 * seconds) { $0.activeNode.map { $0 != leader } ?? false })
        let successor = cluster.activeNode
        cluster.run(for: 10 * seconds)
        #expect(cluster.activeNode == successor)
        sound(cluster)
    }

    @Test func `after stepping down another leads, and the first follows`() throws {
        var (cluster, leader) = try led()
        cluster.stepDown(leader)
        #expect(cluster.run(for: 50 * milliseconds) { $0.activeNode.map { $0 != leader } ?? false })
        cluster.run(for: 5 * seconds)
        #expect(cluster.election(of: leader)?.state == .follower)
        #expect(cluster.register.row?.epoch == Epoch(2))
        sound(cluster)
    }

    /// The leader asks for quorum, is cut off before that statement arrives, and asks for solo, which overtakes it.
    @Test(arguments: [Mutant.none, .dropSeq])
    func `a delayed request for quorum does not undo a later one for solo`(_ mutant: Mutant) throws {
        var (cluster, leader) = try led(mutant: mutant)
        let before = cluster.register.row?.seq
        // One renewal is held up for 4 s on its way. The others can't reach PostgreSQL for now.
        cluster.store.delays = Delays(minimum: 4 * seconds, maximum: 4 * seconds)
        for other in cluster.voters where other != leader { cluster.setStoreLink(of: other, .refusing) }
        cluster.run(for: 1_100 * milliseconds)
        #expect(cluster.register.row?.seq == before)
        cluster.store = .good
        cluster.setIsolated(leader, true)
        cluster.run(for: 2_500 * milliseconds)
        #expect(mode(of: leader, cluster) == .solo)
        for other in cluster.voters { cluster.setStoreLink(of: other, .open) }
        cluster.run(for: 3 * seconds)
        #expect(cluster.failure?.kind == (mutant == .dropSeq ? .twoActive : nil))
        if mutant == .none { #expect(mode(of: leader, cluster) == .solo) }
    }

    /// The leader loses its voters for a moment, another acquires and is cut off at once, the voters come back.
    @Test(arguments: [Mutant.none, .dropPriorExpiresAt])
    func `solo waits for the lease of an earlier holder`(_ mutant: Mutant) throws {
        var (cluster, leader) = try led(mutant: mutant)
        cluster.setIsolated(leader, true)
        cluster.setStoreLink(of: leader, .silent)
        #expect(cluster.run(for: 1 * seconds) { $0.register.row?.epoch == Epoch(2) })
        let holder = try #require(cluster.register.row?.leader)
        let second = try #require(cluster.voters.first { cluster.name(of: $0) == holder })
        cluster.setIsolated(leader, false)
        cluster.setIsolated(second, true)
        cluster.run(for: 2 * seconds)
        #expect(cluster.failure?.kind == (mutant == .dropPriorExpiresAt ? .twoActive : nil))
        guard mutant == .none else { return }
        #expect(mode(of: leader, cluster) == .quorum, "its lease and its voters are still good")
        cluster.run(for: 6 * seconds)
        #expect(mode(of: second, cluster) == .solo, "now the first lease has run out")
        sound(cluster)
    }

    /// A leader alone asks for quorum again; PostgreSQL agrees, and the answer is lost.
    @Test(arguments: [Mutant.none, .keepSoloWhileAsking])
    func `a leader that asks for quorum claims solo no more`(_ mutant: Mutant) throws {
        var (cluster, leader) = try led(mutant: mutant)
        for other in cluster.voters where other != leader { cluster.setStoreLink(of: other, .refusing) }
        cluster.setIsolated(leader, true)
        cluster.run(for: 3 * seconds)
        #expect(mode(of: leader, cluster) == .solo)
        cluster.setIsolated(leader, false)
        cluster.setStoreLink(of: leader, .deaf)
        #expect(cluster.run(for: 3 * seconds) { $0.register.row?.mode == .quorum })
        cluster.setIsolated(leader, true)
        for other in cluster.voters where other != leader { cluster.setStoreLink(of: other, .open) }
        cluster.run(for: 1_500 * milliseconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        if mutant == .none { #expect(cluster.activeNode.map { $0 != leader } == true) }
    }

    @Test func `what a stalled connection holds up arrives when it goes on`() throws {
        var (cluster, leader) = try led()
        cluster.setStoreLink(of: leader, .stalled)
        cluster.run(for: 3_500 * milliseconds)
        let late = cluster.coverage[.lateStatement]
        cluster.setStoreLink(of: leader, .open)
        cluster.run(for: 2 * seconds)
        #expect(cluster.coverage[.lateStatement] > late)
        #expect(cluster.coverage[.lateAnswer] > 0)
        #expect(cluster.activeNode == leader)
        #expect(cluster.register.row?.epoch == Epoch(1))
        sound(cluster)
    }

    /// A voter that acknowledged the leader starts afresh, and a candidate asks for its vote.
    @Test(arguments: [Mutant.none, .dropAmnesiaWait])
    func `a voter that restarted waits until its promises have run out`(_ mutant: Mutant) throws {
        var (cluster, leader) = try led(mutant: mutant)
        let (candidate, voter) = ((leader + 1) % 3, (leader + 2) % 3)
        cluster.setLink(from: leader, to: candidate, isCut: true)
        cluster.setLink(from: candidate, to: leader, isCut: true)
        cluster.run(for: 3 * seconds)
        #expect(cluster.activeNode == leader)
        cluster.crash(voter)
        cluster.restart(voter)
        cluster.setIsolated(leader, true)
        cluster.run(for: 300 * milliseconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        if mutant == .none {
            cluster.run(for: 700 * milliseconds)
            #expect(cluster.activeNode == candidate)
            sound(cluster)
        }
    }

    /// A leader's transaction is held up on its way until another leader has written.
    @Test(arguments: [Mutant.none, .dropFence])
    func `a write of an earlier leader comes too late`(_ mutant: Mutant) throws {
        var options = SimulatedCluster.Options()
        options.mutant = mutant
        options.clients = 5
        options.traces = true
        var cluster = SimulatedCluster(seed: 1, options: options)
        cluster.run(for: 10 * seconds) { $0.activeNode != nil }
        cluster.run(for: 2 * seconds)
        let leader = try #require(cluster.activeNode)
        cluster.setStoreLink(of: leader, .stalled)
        cluster.run(for: 500 * milliseconds)
        cluster.setIsolated(leader, true)
        cluster.run(for: 5 * seconds)
        #expect(cluster.activeNode != leader)
        cluster.setStoreLink(of: leader, .open)
        cluster.run(for: 1 * seconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        if mutant == .none {
            #expect(cluster.coverage[.writeFenced] > 0)
            sound(cluster)
        }
    }

    /// The voters grant a candidate their votes, hear the leader again while PostgreSQL takes its time, then the winner.
    @Test(arguments: [Mutant.none, .ackUnderPromise])
    func `a promise binds against the winner of an election too`(_ mutant: Mutant) throws {
        var (cluster, leader) = try led(mutant: mutant)
        cluster.setIsolated(leader, true)
        cluster.store.delays = Delays(minimum: 150 * milliseconds, maximum: 160 * milliseconds)
        let isCandidate = { (cluster: borrowing SimulatedCluster, node: Int) in
            cluster.election(of: node)?.state == .candidate
        }
        let others = cluster.voters.filter { $0 != leader }
        #expect(cluster.run(for: 1 * seconds) { cluster in others.contains { isCandidate(cluster, $0) } })
        cluster.run(for: 10 * milliseconds)
        let candidate = try #require(others.first { isCandidate(cluster, $0) })
        for voter in others where voter != candidate {
            cluster.setLink(from: leader, to: voter, isCut: false)
            cluster.setLink(from: voter, to: leader, isCut: false)
        }
        cluster.run(for: 330 * milliseconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        if mutant == .none {
            #expect(cluster.register.row?.epoch == Epoch(2))
            #expect(cluster.run(for: 2 * seconds) { $0.activeNode == candidate })
            sound(cluster)
        }
    }
}
