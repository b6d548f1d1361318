import Foundation
import TestSupport
import Testing

/// A transaction of a leader is held up on its way to PostgreSQL, and arrives when its successor has written: with the
/// fence, and without it, which shows that the checker would notice.
@Suite(.serialized, .endsSharedClusters, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct FenceTests {
    @Test func `a frozen leader's transaction is refused when its successor has written`() async throws {
        try await SharedCluster.relayed.use { cluster, round in
            let (account, findings) = try await play(on: cluster, label: "fence-\(round)")
            print("chaos fence: " + account)
            #expect(findings.isEmpty, "\(findings)")
        }
    }

    @Test func `without the fence the checker finds that it went through`() async throws {
        try await withChaosCluster(.init(hasRelays: true)) { cluster in
            try await cluster.settled()
            try await cluster.installTriggers()
            try await onOwnThread { _ = try cluster.postgres.query(Witness.removeFence, on: cluster.database) }
            let (account, findings) = try await play(on: cluster, label: "unfenced")
            print("chaos fence SWITCHED OFF: " + account)
            #expect(findings.contains { $0.contains("is not linearizable") }, "\(findings)")
            #expect(findings.contains { $0.contains("after epoch") }, "\(findings)")
        }
    }

    /// The same schedule for both. It ends with the successor's death, so that the next leader reads what PostgreSQL
    /// really holds.
    private func play(on cluster: ChaosCluster, label: String) async throws -> (account: String, findings: [String]) {
        let leader = try await cluster.settled()
        try await cluster.installTriggers()
        let workload = Workload(cluster, label: label, answerLimit: .seconds(30))
        try await workload.prepare()
        let app = workload.apps[0]
        let link = try #require(cluster.links.postgres[leader])
        let turn = cluster.index(of: leader)

        try await link.hold(.toServer)
        let old = Task { await workload.write(client: "\(label)-old", app: app, marker: nil, turn: turn) }
        try await cluster.wait(for: "the transaction to be on its way") {
            try await link.isHolding("\(label)-old-\(turn)", .toServer)
        }
        let frozen = cluster.signal(leader, SIGSTOP)
        let successor = try await cluster.leader(otherThan: leader)
        let new = await workload.write(
            client: "\(label)-new", app: app, marker: 1, turn: cluster.index(of: successor))
        #expect(new.outcome == .accepted(revision: 2))
        try await link.release(.toServer)
        // For PostgreSQL to do with it what it does.
        try await hold(.seconds(1))
        let frozenSeconds = Double(cluster.signal(leader, SIGCONT) - frozen) / 1e9
        let written = [await old.value, new]
        #expect(written.allSatisfy { $0.isAccepted }, "\(written)")

        let findings = try await cluster.readAfterDeath(of: successor, app, workload, written)
        let epochs = try await cluster.epochs().suffix(3).map(\.epoch)
        let account =
            "leader frozen (SIGSTOP) for \(String(format: "%.2f", frozenSeconds)) s with a transaction on its way, its "
            + "successor wrote, the transaction arrived; writes ok \(written.count { $0.isAccepted }), failed "
            + "\(written.count { !$0.isAccepted }); epochs \(epochs); checker: "
            + (findings.isEmpty ? "no violation" : "\(findings.count) VIOLATIONS: " + findings.joined(separator: "; "))
        return (account, findings)
    }
}
