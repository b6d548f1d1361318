import Leadership
import OrchestryModel
import SimulationKit
import Testing

private let milliseconds: Int64 = 1_000_000
private let seconds: Int64 = 1_000_000_000

/// How long nobody leads, in virtual time, with the defaults, a local network (0.1–1 ms a message), PostgreSQL nearby
/// (2–8 ms a statement) and ticks up to 2 ms late.
@Suite struct FailoverTests {
    /// Nanoseconds from `end` until another node is active, sorted, one for each of 300 seeds.
    private func gaps(voters: Int = 3, _ end: (inout SimulatedCluster, Int) -> Void) throws -> [Int64] {
        var options = SimulatedCluster.Options()
        options.voters = voters
        var gaps: [Int64] = []
        for seed in 1...300 as ClosedRange<UInt64> {
            var cluster = SimulatedCluster(seed: seed, options: options)
            cluster.run(for: 10 * seconds) { $0.activeNode != nil }
            let leader = try #require(cluster.activeNode)
            // Anywhere between two heartbeats and two renewals.
            cluster.run(for: 1 * seconds + Int64(seed) * 7_919_003 % seconds)
            let start = cluster.now
            end(&cluster, leader)
            let another = cluster.run(for: 20 * seconds) { $0.activeNode.map { $0 != leader } ?? false }
            try #require(another && cluster.failure == nil, "seed \(seed)")
            gaps.append(cluster.now - start)
        }
        return gaps.sorted()
    }

    @Test func `a killed leader is replaced within 0.7 s, at worst 1 s`() throws {
        let gaps = try gaps { $0.crash($1) }
        #expect(gaps[150] <= 700 * milliseconds, "p50")
        #expect(gaps[297] <= 1_000 * milliseconds, "p99")
    }

    @Test func `a leader killed together with the next in line is replaced as soon`() throws {
        let gaps = try gaps(voters: 5) { cluster, leader in
            if let next = cluster.voters.first(where: { $0 != leader }) { cluster.crash(next) }
            cluster.crash(leader)
        }
        #expect(gaps[150] <= 700 * milliseconds, "p50")
        #expect(gaps[297] <= 1_000 * milliseconds, "p99")
    }

    @Test func `a frozen leader is replaced as soon`() throws {
        let gaps = try gaps { $0.pause($1, for: 30 * seconds) }
        #expect(gaps[150] <= 700 * milliseconds, "p50")
        #expect(gaps[297] <= 1_000 * milliseconds, "p99")
    }

    @Test func `a leader that leaves is replaced within 50 ms`() throws {
        let gaps = try gaps { $0.leave($1) }
        #expect(gaps[299] <= 50 * milliseconds)
    }
}
