import Leadership
import OrchestryModel
import SimulationKit
import Testing

private let milliseconds: Int64 = 1_000_000
private let seconds: Int64 = 1_000_000_000

/// L9: PostgreSQL fails over to a standby that lacks the last transactions.
@Suite struct PromotionTests {
    /// Node a leads three under epoch 1, with clients and agents at work, and has been steady for two seconds.
    private func led(mutant: Mutant = .none) throws -> SimulatedCluster {
        var options = SimulatedCluster.Options()
        options.mutant = mutant
        options.traces = true
        options.clients = 2
        options.commands = true
        var cluster = SimulatedCluster(seed: 1, options: options)
        cluster.run(for: 10 * seconds) { $0.activeNode != nil }
        cluster.run(for: 2 * seconds)
        #expect(cluster.activeNode == 0 && cluster.register.row?.epoch == Epoch(1))
        return cluster
    }

    private func sound(_ cluster: SimulatedCluster) {
        if let failure = cluster.failure {
            Issue.record("\(failure)\n\((cluster.trace.suffix(60) + cluster.situation).joined(separator: "\n"))")
        }
    }

    /// Another node takes over with epoch 2 from a leader that hears nothing of it; then PostgreSQL forgets that.
    private func forgottenTakeover(_ cluster: inout SimulatedCluster) throws -> Int {
        cluster.setIsolated(0, true)
        cluster.setStoreLink(of: 0, .silent)
        let start = cluster.now
        #expect(cluster.run(for: 1 * seconds) { $0.activeNode.map { $0 != 0 } ?? false })
        let second = try #require(cluster.activeNode)
        cluster.promote(lag: cluster.now - start, downFor: 0)
        #expect(cluster.register.row?.epoch == Epoch(1))
        return second
    }

    /// The one holds a lease that PostgreSQL has forgotten, the other may renew one that was taken from it.
    @Test(arguments: [Mutant.none, .dropPromotionHold])
    func `nobody goes solo while a forgotten lease may run`(_ mutant: Mutant) throws {
        var cluster = try led(mutant: mutant)
        let second = try forgottenTakeover(&cluster)
        cluster.setStoreLink(of: second, .silent)
        cluster.setStoreLink(of: 0, .open)
        cluster.run(for: 4 * seconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        guard mutant == .none else { return }
        #expect(cluster.activeNode == second, "its lease and its voters are still good")
        cluster.run(for: 4 * seconds)
        guard case .active(_, .solo, _) = cluster.activity(of: 0) else {
            Issue.record("now the first one may: \(cluster.situation)")
            return
        }
        sound(cluster)
    }

    @Test func `a leader whose lease survived goes on through it`() throws {
        var cluster = try led()
        let before = cluster.deactivations
        let stored = cluster.storedWrites
        cluster.promote(lag: 300 * milliseconds, downFor: 2 * seconds)
        #expect(cluster.storedWrites < stored)
        cluster.run(for: 10 * seconds)
        #expect(cluster.activeNode == 0)
        #expect(cluster.deactivations == before)
        #expect(cluster.register.row?.epoch == Epoch(1))
        #expect(cluster.storedWrites > stored)
        #expect(cluster.coverage[.writeLost] > 0)
        sound(cluster)
    }

    @Test func `after it a dead leader is replaced once every forgotten lease has run out`() throws {
        var cluster = try led()
        cluster.promote(lag: 300 * milliseconds, downFor: 0)
        cluster.run(for: 1_500 * milliseconds)  // It has renewed: the new server knows since when.
        cluster.crash(0)
        let start = cluster.now
        #expect(cluster.run(for: 10 * seconds) { $0.activeNode != nil })
        #expect(cluster.now - start > 3 * seconds)
        #expect(cluster.now - start < 5_500 * milliseconds)
        #expect(cluster.register.row?.epoch == Epoch(1_002))
        sound(cluster)
    }

    /// PostgreSQL forgets epoch 2 before anybody but its winner has heard of it.
    @Test(arguments: [Mutant.none, .dropEpochFloor])
    func `no epoch is given twice`(_ mutant: Mutant) throws {
        var cluster = try led(mutant: mutant)
        let start = cluster.now
        cluster.crash(0)
        #expect(cluster.run(for: 1 * seconds) { $0.register.row?.epoch == Epoch(2) })
        let holder = try #require(cluster.register.row?.leader)
        let second = try #require(cluster.voters.first { cluster.name(of: $0) == holder })
        cluster.setIsolated(second, true)
        cluster.promote(lag: cluster.now - start, downFor: 0)
        cluster.run(for: 1 * seconds)
        cluster.setStoreLink(of: second, .silent)
        cluster.restart(0)
        cluster.run(for: 8 * seconds)
        #expect(cluster.failure?.kind == mutant.symptom)
        if mutant == .none { #expect(cluster.register.row?.epoch == Epoch(1_002)) }
    }

    /// Agents obeyed epoch 2; then PostgreSQL knows only epoch 1, and the nodes that led and voted have forgotten.
    @Test(arguments: [Mutant.none, .ignoreRefusals])
    func `a leader learns from agents that PostgreSQL has forgotten an epoch`(_ mutant: Mutant) throws {
        var cluster = try led(mutant: mutant)
        cluster.setIsolated(0, true)
        cluster.setStoreLink(of: 0, .silent)
        let start = cluster.now
        cluster.run(for: 1 * seconds) { $0.activeNode.map { $0 != 0 } ?? false }
        #expect(
            cluster.run(for: 1 * seconds) { $0.obeyedEpoch(of: 1) == Epoch(2) && $0.obeyedEpoch(of: 2) == Epoch(2) })
        for node in [1, 2] {
            cluster.crash(node)
            cluster.restart(node, after: 100 * milliseconds)
        }
        cluster.promote(lag: cluster.now - start, downFor: 0)
        cluster.setIsolated(0, false)
        cluster.setStoreLink(of: 0, .open)
        cluster.run(for: 12 * seconds)
        let leader = try #require(cluster.activeNode)
        guard case .active(let epoch, _, _) = cluster.activity(of: leader) else { return }
        let obeying = cluster.voters.filter { cluster.obeyedEpoch(of: $0) == epoch }
        #expect((obeying.count == 3) == (mutant == .none), "\(cluster.situation)")
        sound(cluster)
    }
}
