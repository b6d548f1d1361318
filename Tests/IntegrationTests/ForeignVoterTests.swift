import Foundation
import Glibc
import OrchestryModel
import Synchronization
import TestSupport
import Testing

/// `proto-spec/examples/peer.py`, written from the specification alone, as one of three voters.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && Tool.isExpected("python3"),
        "needs Python 3, PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(3)))
struct ForeignVoterTests {
    /// The Python process.
    private final class Voter: Sendable {
        private let process: ChildProcess
        private let log: String
        private let isEnded = Mutex(false)

        init(_ id: NodeID, of cluster: Cluster) throws {
            let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appendingPathComponent("proto-spec/examples/peer.py").path
            log = cluster.folder.appending("voter-\(id)")
            let peers = cluster.members.filter { $0.id != id }
                .flatMap { ["--peer", "\($0.id)=127.0.0.1:\($0.clusterPort)"] }
            process = try ChildProcess(
                "/usr/bin/env",
                [
                    "ORCHESTRY_CLUSTER_SECRET=\(Cluster.secret)", "python3", "-B", script, "run", "--id", id.rawValue,
                    "--cluster", cluster.name, "--listen", "127.0.0.1:\(cluster.member(id).clusterPort)",
                ] + peers, output: log)
        }

        /// Once: its number may be another process's afterwards.
        func kill() {
            isEnded.withLock { isEnded in
                guard !isEnded else { return }
                isEnded = true
                process.signal(SIGKILL)
                process.wait()
            }
        }

        /// What it has printed so far.
        var words: String {
            // Not yet: nothing.
            (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        }
    }

    private func write(_ cluster: Cluster, to node: NodeID, _ app: String) async throws {
        let answer = try await cluster.post("/apps/register", Cluster.document(app), to: cluster.member(node))
        #expect(answer.status == 200, "\(answer.text)")
    }

    /// It dials both others (its id sorts first), is dialled by both (last), or one of each.
    @Test(arguments: [1, 2, 3])
    func `a peer made from the specification holds up a majority`(number: Int) async throws {
        let foreign = NodeID(unchecked: "controller-\(number)")
        try await withCluster("foreign", .init(security: .plain), outside: [foreign]) { cluster in
            let voter = try Voter(foreign, of: cluster)
            defer { voter.kill() }
            try await eventuallyTrue("the Python voter is connected with both: \(voter.words)") {
                voter.words.split(separator: "\n").count { $0.hasPrefix("connected ") } >= 2
            }

            let leader = try await cluster.settledLeader(but: [foreign])
            let follower = try #require(cluster.members.map(\.id).first { $0 != foreign && $0 != leader })

            // Two real nodes and one foreign: the other real one dies, and the foreign voter's promises carry the leader.
            await cluster.kill(follower)
            let before = try cluster.lease()
            #expect(before.leader == leader && before.mode == "quorum")
            // Renewed for longer than the lease and many promises: a leader without a majority would have turned to solo.
            let expiry = try cluster.leaseExpiry()
            try await eventuallyTrue("the lease is renewed: \(voter.words)") {
                #expect(try cluster.lease() == before, "\(voter.words)")
                return try cluster.leaseExpiry() >= expiry + 6
            }
            try await write(cluster, to: leader, "first")

            // Back again; then the leader dies, and the foreign vote makes the other one leader, long before the lease of
            // 5 s has run out.
            try await cluster.start(cluster.member(follower))
            try await eventuallyTrue("the node is back: \(voter.words)") {
                let status = try await cluster.get("/cluster/status", from: cluster.member(leader)).json
                return status["nodes"]?.arrayValue?.count { $0["is_healthy"] == true } == 3
            }
            // Past the restarted node's first promise time (L6).
            try await Task.sleep(for: .seconds(1))
            await cluster.kill(leader)
            let next = Cluster.Lease(leader: follower, epoch: before.epoch + 1, mode: "quorum")
            try await eventuallyTrue("the other one leads: \(voter.words)", within: .seconds(4)) {
                try cluster.lease() == next
            }
            #expect(voter.words.contains("vote peer=\(follower) granted=True"), "\(voter.words)")
            try await write(cluster, to: follower, "second")

            // The proof that it was the foreign voter: without it, the leader is alone and has to turn to solo.
            voter.kill()
            try await eventuallyTrue("the leader is alone: \(voter.words)") { try cluster.lease().mode == "solo" }
        }
    }
}
