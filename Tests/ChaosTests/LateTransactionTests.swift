import Foundation
import TestSupport
import Testing

/// A leader's own transactions and their answers, which the network keeps for longer than the leader waits. The fence
/// has nothing against them: the epoch is the lease's.
///
/// Each schedule ends with the leader's death, so that the next one reads what PostgreSQL really holds.
@Suite(.serialized, .endsSharedClusters, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct LateTransactionTests {
    @Test func `a transaction given up arrives after the same leader has written again`() async throws {
        try await playGivingUp(
            .toServer, label: "late", marker: nil,
            what: "a transaction stuck on its way, given up, and arriving after the same leader's next one")
    }

    @Test func `an answer is lost, and the leader goes on from what PostgreSQL has`() async throws {
        try await playGivingUp(
            .toClient, label: "lost", marker: 1,
            what: "a transaction committed, its answer lost, the leader wrote again")
    }

    /// - Parameters:
    ///   - way: what the network keeps.
    ///   - marker: of the first write; nil: it scales.
    private func playGivingUp(_ way: TCPRelay.Way, label: String, marker: Int?, what: String) async throws {
        try await SharedCluster.patient.use { cluster, round in
            let leader = try await cluster.settled()
            try await cluster.installTriggers()
            let label = "\(label)-\(round)"
            let workload = Workload(cluster, label: label, patience: .zero, answerLimit: .seconds(60))
            try await workload.prepare()
            let app = workload.apps[0]
            let link = try #require(cluster.links.postgres[leader])
            let turn = cluster.index(of: leader)

            try await link.hold(way)
            var written = [await workload.write(client: "\(label)-old", app: app, marker: marker, turn: turn)]
            guard case .refused(status: 503, _) = written[0].outcome else {
                throw ChaosFailure("the first write was not given up: \(written[0])")
            }
            // The connection it gave up stays where it is; new ones are served.
            try await link.strand(way)
            try await link.release(way)
            // It may take a moment to connect again.
            try await cluster.wait(for: "the next write") {
                written.append(
                    await workload.write(
                        client: "\(label)-new", app: app, marker: written.count + 1, turn: turn))
                return written.last?.isAccepted == true
            }
            try await link.recover(way)
            // For PostgreSQL to do with it what it does.
            try await hold(.seconds(1))

            let findings = try await cluster.readAfterDeath(of: leader, app, workload, written)
            let waited = String(format: "%.1f", Double(written[0].returned - written[0].invoked) / 1e9)
            print(
                "chaos \(label): \(what); given up after \(waited) s, next accepted write at attempt \(written.count - 1); "
                    + "epochs \(try await cluster.epochs().suffix(2).map(\.epoch)); checker: "
                    + (findings.isEmpty ? "no violation" : findings.joined(separator: "; ")))
            #expect(findings.isEmpty, "\(findings)")
        }
    }

    @Test func `a request comes again, and the connection breaks over it`() async throws {
        try await SharedCluster.relayed.use { cluster, round in
            let leader = try await cluster.settled()
            try await cluster.installTriggers()
            let label = "again-\(round)"
            let workload = Workload(cluster, label: label, patience: .zero, answerLimit: .seconds(60))
            try await workload.prepare()
            let app = workload.apps[0]
            let link = try #require(cluster.links.postgres[leader])
            let turn = cluster.index(of: leader)
            func write(_ marker: Int) async -> Workload.Write {
                await workload.write(client: label, app: app, marker: marker, turn: turn)
            }

            var written = [await write(1), await write(2)]
            try await link.hold(.toServer)
            let again = Task { await write(1) }
            try await cluster.wait(for: "the repetition to be on its way") {
                try await link.isHolding(written[0].key, .toServer)
            }
            try await link.reset()
            try await link.release(.toServer)
            // No write of its own: it gets the answer of the first time.
            let repeated = await again.value
            #expect(repeated.outcome == .accepted(revision: 2))
            written.append(await write(3))

            let findings = try await cluster.readAfterDeath(of: leader, app, workload, written)
            print(
                "chaos \(label): a request came again and the connection to PostgreSQL broke over it; it was told "
                    + "\(repeated.outcome), the next write \(written[2].outcome); checker: "
                    + (findings.isEmpty ? "no violation" : findings.joined(separator: "; ")))
            #expect(findings.isEmpty, "\(findings)")
        }
    }
}
