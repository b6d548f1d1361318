import OrchestryModel
import TestSupport
import Testing

extension Cluster {
    /// The lease as PostgreSQL has it.
    struct Lease: Equatable {
        var leader: NodeID
        var epoch: Int64
        var mode: String
    }

    func lease() throws -> Lease {
        let row = try postgres.query("SELECT leader_id, epoch, mode FROM leader_lease", on: database)
            .split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        try #require(row.count == 3, "\(row)")
        return Lease(leader: NodeID(unchecked: row[0]), epoch: try #require(Int64(row[1])), mode: row[2])
    }

    /// Until when the lease holds, by PostgreSQL's clock: seconds since 1970.
    func leaseExpiry() throws -> Double {
        let text = try postgres.query("SELECT extract(epoch FROM expires_at) FROM leader_lease", on: database)
        return try #require(Double(text), "\(text)")
    }

    /// A leader that everybody follows and that has led for a second. In the first moments of a cluster leadership may
    /// change a few times, before all are connected with all.
    /// - Parameter outside: controllers without an API.
    func settledLeader(but outside: Set<NodeID> = [], deadline: Duration = .seconds(30)) async throws -> NodeID {
        let end = ContinuousClock.now + deadline
        var candidate: (lease: Lease, since: ContinuousClock.Instant)?
        while ContinuousClock.now < end {
            _ = try await leader(via: members.first { !outside.contains($0.id) })
            let lease = try lease()
            var isAgreed = lease.mode == "quorum"
            for member in members where !outside.contains(member.id) {
                // A node that does not answer yet does not agree yet.
                let status = try? await get("/cluster/status", from: member).json
                isAgreed =
                    isAgreed && status?["leader_id"]?.stringValue == lease.leader.rawValue
                    && status?["nodes"]?.arrayValue?.allSatisfy { $0["is_healthy"] == true } == true
            }
            if !isAgreed || candidate?.lease != lease {
                candidate = isAgreed ? (lease, .now) : nil
            } else if let candidate, ContinuousClock.now - candidate.since > .seconds(1) {
                return lease.leader
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw TestFailure("no leader that stays within \(deadline); logs in \(folder.path)")
    }
}
