import Leadership
import OrchestryModel
import SimulationKit
import Testing

private let milliseconds: Int64 = 1_000_000
private let seconds: Int64 = 1_000_000_000

/// L5 on agents.
@Suite struct AgentTests {
    private func cluster(seed: UInt64, _ mutant: Mutant) -> SimulatedCluster {
        var options = SimulatedCluster.Options()
        options.mutant = mutant
        options.commands = true
        options.traces = true
        var cluster = SimulatedCluster(seed: seed, options: options)
        cluster.run(for: 10 * seconds) { $0.activeNode != nil }
        cluster.run(for: 2 * seconds)
        return cluster
    }

    /// Commands are under way for 2 s; meanwhile their leader dies, the next one commands, and an agent restarts.
    private func lateCommands(seed: UInt64, _ mutant: Mutant) throws -> SimulatedCluster {
        var cluster = cluster(seed: seed, mutant)
        let leader = try #require(cluster.activeNode)
        cluster.network.delays = Delays(minimum: 2 * seconds, maximum: 2 * seconds)
        cluster.run(for: 400 * milliseconds)
        cluster.network = .good
        cluster.crash(leader)
        cluster.run(for: 1_200 * milliseconds)
        let agent = try #require(cluster.voters.first { $0 != leader && $0 != cluster.activeNode })
        #expect(cluster.obeyedEpoch(of: agent) == Epoch(2))
        cluster.crash(agent)
        cluster.restart(agent)
        cluster.setIsolated(agent, true)
        cluster.run(for: 1 * seconds)
        return cluster
    }

    @Test(arguments: [Mutant.none, .forgetLabels, .obeyAnyEpoch])
    func `a restarted agent knows by its containers what it obeyed`(_ mutant: Mutant) throws {
        let clusters = try (1...10 as ClosedRange<UInt64>).map { try lateCommands(seed: $0, mutant) }
        let failures = clusters.compactMap(\.failure)
        if mutant == .none {
            #expect(failures.isEmpty)
            #expect(clusters.reduce(0) { $0 + $1.coverage[.oldCommandRefused] } > 0)
        } else {
            #expect(failures.contains { $0.kind == mutant.symptom })
        }
    }

    @Test func `all agents obey a leader within a second`() throws {
        var cluster = cluster(seed: 1, .none)
        let leader = try #require(cluster.activeNode)
        cluster.crash(leader)
        #expect(cluster.run(for: 2 * seconds) { $0.activeNode != nil })
        let others = cluster.voters.filter { $0 != leader }
        #expect(
            cluster.run(for: 1 * seconds) { cluster in others.allSatisfy { cluster.obeyedEpoch(of: $0) == Epoch(2) } })
        #expect(cluster.failure == nil)
    }
}
