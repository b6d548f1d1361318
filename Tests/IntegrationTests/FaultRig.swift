import Foundation
import OrchestryModel
import Synchronization
import TestSupport
import Testing

/// What one fault cost, as the clients and PostgreSQL tell it.
struct FaultAccount: CustomStringConvertible {
    /// Through the nginx of each node.
    var served = 0
    var failed: [String] = []
    var slowestRequest = Duration.zero
    /// Writes that were acknowledged, and what PostgreSQL lacks or has twice of them.
    var writes = 0
    var lostWrites = 0
    var doubledWrites = 0
    /// Attempts that were refused or got no answer; each was repeated under the same key until it was acknowledged.
    var refused = 0
    var slowestWrite = Duration.zero
    /// From the fault's end to the first write sent after it that was acknowledged.
    var nextWrite = Duration.zero
    /// Containers that were killed meanwhile, and ends of containers on record.
    var killed = 0
    var exits = 0
    /// Rows of nodes' outboxes in PostgreSQL, and what is twice or missing among them.
    var events = 0
    var doubledEvents = 0
    var lostEvents = 0
    var notes: [String] = []

    var description: String {
        func seconds(_ duration: Duration) -> String {
            duration.formatted(.units(allowed: [.seconds], fractionalPart: .show(length: 2)))
        }
        let parts =
            [
                "requests \(served) ok, \(failed.count) failed, slowest \(seconds(slowestRequest))",
                "writes \(writes) acknowledged, \(lostWrites) lost, \(doubledWrites) doubled, \(refused) attempts refused, "
                    + "slowest \(seconds(slowestWrite)), next after the fault \(seconds(nextWrite))",
                "containers killed \(killed), ends on record \(exits)",
                "events \(events), \(lostEvents) lost, \(doubledEvents) doubled",
            ] + notes
        return parts.joined(separator: "; ")
    }
}

/// A cluster whose apps are used while something breaks: `web` gets requests through every node's nginx, writes are sent
/// one after the other to whichever node takes them, and the container of `churn` is killed every few seconds, so that nodes
/// have something to report.
final class FaultRig: Sendable {
    private struct Writes {
        var acknowledged: [(key: String, sent: ContinuousClock.Instant, after: Duration)] = []
        var refused = 0
        var failures: [String] = []
    }

    let cluster: Cluster
    /// Led when the fault came.
    let leader: NodeID
    private let progress = Progress()
    private let writes = Mutex(Writes())
    private let killed = Atomic(0)
    private let before: Int

    private init(_ cluster: Cluster, leader: NodeID, exits: Int) {
        self.cluster = cluster
        self.leader = leader
        before = exits
    }

    var survivors: [Cluster.Member] { cluster.members.filter { $0.id != leader } }

    /// - Parameters:
    ///   - inject: breaks something and mends it.
    ///   - failuresThrough: nodes whose nginx may fail meanwhile; their failed requests are reported, not refused.
    static func run(
        _ label: String, _ options: Cluster.Options = .init(), failuresThrough: Set<String> = [],
        inject: @escaping @Sendable (FaultRig) async throws -> String?
    ) async throws -> FaultAccount {
        var result = FaultAccount()
        try await withCluster("fault-\(label)", options) { cluster in
            let leader = try await cluster.leader()
            let member = cluster.member(leader)
            for (app, replicas) in [("web", 3), ("churn", 1), ("ledger", 0)] {
                _ = try await cluster.post("/apps/register", Cluster.document(app), to: member)
                if replicas > 0 {
                    _ = try await cluster.post("/apps/\(app)/scale", ["replicas": JSONValue(replicas)], to: member)
                }
            }
            try await cluster.waitForReady("web", 3, via: member, deadline: .seconds(60))
            try await cluster.waitForReady("churn", 1, via: member, deadline: .seconds(60))
            let rig = FaultRig(cluster, leader: leader, exits: try exits(in: cluster))
            result = try await rig.carryOut(failuresThrough, inject)
        }
        print("fault \(label): \(result)")
        return result
    }

    private func carryOut(
        _ failuresThrough: Set<String>, _ inject: @escaping @Sendable (FaultRig) async throws -> String?
    ) async throws -> FaultAccount {
        try await withThrowingTaskGroup(of: (String, Outcome)?.self) { group in
            for member in cluster.members {
                group.addTask { [self] in
                    (
                        member.id.rawValue,
                        try await request("web", through: member, on: cluster, for: .seconds(600), progress)
                    )
                }
            }
            group.addTask { [self] in
                await keepWriting()
                return nil
            }
            group.addTask { [self] in
                try await keepKilling()
                return nil
            }
            defer { progress.end() }
            try await progress.reaches(60)
            try await eventuallyTrue("writes are acknowledged") { self.writes.withLock { $0.acknowledged.count >= 5 } }
            let note = try await inject(self)
            let mended = ContinuousClock.now
            try await eventuallyTrue("a write is acknowledged after the fault", within: .seconds(60)) {
                self.writes.withLock { $0.acknowledged.last.map { $0.sent > mended } ?? false }
            }
            for member in cluster.members {
                try await cluster.waitForReady("web", 3, via: member, deadline: .seconds(90))
            }
            progress.end()
            var account = FaultAccount()
            account.notes = note.map { [$0] } ?? []
            for try await outcome in group {
                guard let (node, outcome) = outcome else { continue }
                account.served += outcome.done
                account.slowestRequest = max(account.slowestRequest, outcome.longest)
                if failuresThrough.contains(node) {
                    account.notes.append("\(outcome.failed.count) requests failed through \(node), as they must")
                } else {
                    account.failed += outcome.failed
                }
            }
            try await close(&account, mended: mended)
            return account
        }
    }

    /// Each write under a key of its own, repeated until it is acknowledged.
    private func keepWriting() async {
        var number = 0
        var turn = 0
        while !progress.isOver {
            number += 1
            let key = "fault-write-\(number)"
            let policy: JSONValue = ["policy": ["maxReplicas": JSONValue(7 + number % 900)]]
            let sent = ContinuousClock.now
            while !progress.isOver {
                let member = cluster.members[turn % cluster.members.count]
                turn += 1
                do {
                    let answer = try await cluster.post(
                        "/apps/ledger/policy", policy, to: member, headers: [("Idempotency-Key", key)])
                    if answer.status == 200 {
                        let took = ContinuousClock.now - sent
                        writes.withLock { $0.acknowledged.append((key, sent, took)) }
                        break
                    }
                    writes.withLock {
                        $0.refused += 1
                        if answer.status != 503 { $0.failures.append("\(answer.status) \(answer.text)") }
                    }
                } catch {
                    // The node is down, or went down.
                    writes.withLock { $0.refused += 1 }
                }
                try? await Task.sleep(for: .milliseconds(50))  // Cancelled: the test is over.
            }
            try? await Task.sleep(for: .milliseconds(30))  // The rate of the load.
        }
    }

    private func keepKilling() async throws {
        while !progress.isOver {
            for container in try cluster.containers(of: "churn").values {
                // Gone meanwhile, where the fault took it.
                guard (try? Cluster.docker(["kill", container]))?.isEmpty == false else { continue }
                killed.add(1, ordering: .relaxed)
            }
            try await Task.sleep(for: .seconds(2))  // The rate of the load.
        }
    }

    private static func exits(in cluster: Cluster) throws -> Int {
        Int(
            try cluster.postgres.query(
                "SELECT count(*) FROM events WHERE event_type = 'instance_exited' AND app_name = 'churn'",
                on: cluster.database)) ?? -1
    }

    private func close(_ account: inout FaultAccount, mended: ContinuousClock.Instant) async throws {
        let (acknowledged, refused, failures) = writes.withLock { ($0.acknowledged, $0.refused, $0.failures) }
        #expect(failures.isEmpty, "\(failures.prefix(3))")
        account.writes = acknowledged.count
        account.refused = refused
        account.slowestWrite = acknowledged.map(\.after).max() ?? .zero
        account.nextWrite = acknowledged.first { $0.sent > mended }?.after ?? .zero
        let killed = killed.load(ordering: .relaxed)
        // The last may just have happened; one that ended while its node was down is found gone instead.
        _ = try await eventually(within: .seconds(5)) { try Self.exits(in: cluster) - before >= killed }
        for member in cluster.members {
            try await eventuallyTrue("the outbox of \(member.id) is empty", within: .seconds(60)) {
                let text = try await cluster.get("/metrics/prometheus", from: member).text
                let line = text.split(separator: "\n").first { $0.hasPrefix("orchestry_outbox_events{") }
                return line?.hasSuffix(" 0.0") == true
            }
        }
        let stored = try StoredRecords { try cluster.postgres.query($0, on: cluster.database) }
        account.lostWrites = acknowledged.count { stored.writes[$0.key] == nil }
        account.doubledWrites = stored.writes.values.reduce(0) { $0 + $1 - 1 }
        account.killed = killed
        account.exits = try Self.exits(in: cluster) - before
        account.events = stored.events
        account.doubledEvents = stored.doubledEvents
        account.lostEvents = stored.lostEvents
    }
}

/// What PostgreSQL has of changes of policies and of the nodes' outboxes.
struct StoredRecords {
    /// By idempotency key, how often.
    var writes: [String: Int] = [:]
    var events = 0
    var doubledEvents = 0
    /// Sequences between a node's first and last that are not there.
    var lostEvents = 0

    init(_ query: (String) throws -> String) throws {
        let keys = try query(
            "SELECT details->>'request', count(*) FROM events WHERE event_type = 'policy_updated' GROUP BY 1")
        for row in keys.split(separator: "\n") {
            let parts = row.split(separator: "|").map(String.init)
            if parts.count == 2 { writes[parts[0]] = Int(parts[1]) }
        }
        let sums = try query(
            """
            SELECT sum(n), sum(n - d), sum(span - d) FROM (
                SELECT count(*) n, count(DISTINCT sequence) d, max(sequence) - min(sequence) + 1 span
                FROM events WHERE sequence > 0 GROUP BY node_id) AS nodes
            """
        ).split(separator: "|").compactMap { Int($0) }
        guard sums.count == 3 else { throw TestFailure("events: \(sums)") }
        (events, doubledEvents, lostEvents) = (sums[0], sums[1], sums[2])
    }
}
