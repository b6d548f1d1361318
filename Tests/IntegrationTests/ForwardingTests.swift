import Foundation
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

/// Writes on their way to a leader that changes, dies or is not there.
@Suite(
    .serialized, .enabled(if: postgresExpected, "needs PostgreSQL: see configs/dev/test"), .timeLimit(.minutes(5)))
struct ForwardingTests {
    private func key(_ text: String) -> [(String, String)] { [("Idempotency-Key", text)] }

    /// How often a write was carried out, from the database: its answers by key, and its events by key.
    private func traces(of key: String, on cluster: Cluster) throws -> (answers: Int, events: Int) {
        func count(_ query: String) throws -> Int {
            Int(try cluster.postgres.query(query, on: cluster.database).filter(\.isNumber)) ?? -1
        }
        return (
            try count("SELECT count(*) FROM requests WHERE key = '\(key)'"),
            try count("SELECT count(*) FROM events WHERE details->>'request' = '\(key)'")
        )
    }

    @Test func `what was forwarded while the leader died is done exactly once`() async throws {
        try await withCluster("forward", .protocolOnly) { cluster in
            var leadership = try await cluster.leadership()
            try await cluster.registerWeb()
            var keys: [String] = []
            for round in 1...4 {
                let leader = cluster.member(NodeID(unchecked: leadership.leader))
                let survivors = cluster.members.filter { $0.id != leader.id }
                let batch = (0..<30).map { "round-\(round)-\($0)" }
                keys += batch
                let answers = try await withThrowingTaskGroup(of: (String, Cluster.Answer).self) { group in
                    for (index, name) in batch.enumerated() {
                        group.addTask {
                            // Spread over the moment of the death.
                            try await Task.sleep(for: .milliseconds(index * 5))
                            // A machine that is busy with other things may need longer than the node waits: then
                            // the same request is sent again, as the answer says.
                            var answer: Cluster.Answer
                            var attempts = 0
                            repeat {
                                answer = try await cluster.post(
                                    "/apps/web/policy", ["policy": ["maxReplicas": JSONValue(10 + index)]],
                                    to: survivors[(index + attempts) % survivors.count], headers: key(name))
                                attempts += 1
                            } while answer.status == 503 && attempts < 10
                            return (name, answer)
                        }
                    }
                    try await Task.sleep(for: .milliseconds(60))
                    await cluster.kill(leader.id)
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                let refused = answers.filter { $0.1.status != 200 }.map { "\($0.0): \($0.1.status) \($0.1.text)" }
                // Thrown, so that the logs are shown.
                guard refused.isEmpty else { throw TestFailure("\(leader.id) was killed; \(refused)") }
                try await cluster.start(leader)
                leadership = try await cluster.leadership()
                // Two of three elect: the next two must know each other.
                for member in cluster.members {
                    try await eventuallyTrue("\(member.id) is connected with both", within: .seconds(30)) {
                        try await cluster.metric("orchestry_peers_connected", of: member).values.first == 2
                    }
                }
            }
            // A read that meets the making of a partition can miss the rows that move into it for that moment.
            var missing = keys
            let complete = try await eventually {
                missing = try missing.filter { try traces(of: $0, on: cluster) != (1, 1) }
                return missing.isEmpty
            }
            let found = try missing.map { "\($0): \(try traces(of: $0, on: cluster))" }
            #expect(complete, "not exactly once: \(found)")
        }
    }

    @Test func `an answer that was lost with its leader is found again, also where it can't be done twice`()
        async throws
    {
        try await withCluster("again", .protocolOnly) { cluster in
            let before = try await cluster.leadership()
            try await cluster.registerWeb()
            let leader = cluster.member(NodeID(unchecked: before.leader))
            let other = try #require(cluster.members.first { $0.id != leader.id })
            #expect(try await cluster.post("/apps/web/up", to: leader, headers: key("up")).status == 200)
            let stopped = try await cluster.post("/apps/web/down", to: leader, headers: key("down"))
            #expect(stopped.status == 200, "\(stopped.text)")
            await cluster.kill(leader.id)
            // The new leader finds a stopped app; under another key that is an error.
            let again = try await cluster.post("/apps/web/down", to: other, headers: key("down"))
            #expect(again.status == 200 && again.json == stopped.json, "\(again.status) \(again.text)")
            #expect(try await cluster.post("/apps/web/down", to: other, headers: key("other")).status == 400)
            let deleted = try await cluster.send(.DELETE, "/apps/web", to: other, headers: key("delete"))
            #expect(deleted.status == 200, "\(deleted.text)")
            let twice = try await cluster.send(.DELETE, "/apps/web", to: other, headers: key("delete"))
            #expect(twice.status == 200 && twice.json == deleted.json, "\(twice.status) \(twice.text)")
            #expect(try await cluster.send(.DELETE, "/apps/web", to: other, headers: key("late")).status == 404)
        }
    }

    @Test func `a key belongs to one request, from wherever it comes, at the same time too`() async throws {
        try await withCluster("same", .protocolOnly) { cluster in
            _ = try await cluster.leadership()
            try await cluster.registerWeb()
            let answers = try await withThrowingTaskGroup(of: Cluster.Answer.self) { group in
                for number in 0..<30 {
                    group.addTask {
                        try await cluster.post(
                            "/apps/web/scale", ["replicas": 2], to: cluster.members[number % 3], headers: key("same"))
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            // Without the key all but the first would be "no_change".
            #expect(answers.allSatisfy { $0.status == 200 && $0.json["status"] == "scaled" }, "\(answers.map(\.text))")
            #expect(try traces(of: "same", on: cluster) == (1, 1))
            for member in cluster.members {
                let other = try await cluster.post("/apps/web/scale", ["replicas": 3], to: member, headers: key("same"))
                #expect(other.status == 422, "\(other.status) \(other.text)")
                #expect(other.json["type"] == "urn:orchestry:problem:idempotency-key-reused", "\(other.text)")
            }
            // Nor when it could not be carried out at all.
            let impossible = try await cluster.post("/apps/none/up", to: cluster.members[1], headers: key("same"))
            #expect(impossible.status == 422, "\(impossible.status) \(impossible.text)")
            #expect(try await cluster.get("/apps/web/status", from: cluster.members[0]).json["replicas"] != 3)
        }
    }

    @Test func `without a leader a write waits as long as configured, and is told when to come again`() async throws {
        var options = Cluster.Options.protocolOnly
        options.apiSettings = ["leader_wait: 1s"]
        try await withCluster("wait", options) { cluster in
            let before = try await cluster.leadership()
            try await cluster.registerWeb()
            let leader = NodeID(unchecked: before.leader)
            let others = cluster.members.filter { $0.id != leader }
            // The last one can't lead before the lease in PostgreSQL has expired, which takes five seconds.
            await cluster.kill(others[1].id)
            await cluster.kill(leader)
            let begun = ContinuousClock.now
            let refused = try await cluster.post(
                "/apps/web/policy", ["policy": ["maxReplicas": 9]], to: others[0], headers: key("waits"))
            let waited = ContinuousClock.now - begun
            #expect(refused.status == 503, "\(refused.status) \(refused.text)")
            #expect(refused.headers.first(name: "Retry-After") == "1")
            #expect(refused.json["type"] == "urn:orchestry:problem:no-leader")
            #expect(waited >= .milliseconds(950), "\(waited)")
            // The same key, as the answer says, until somebody leads.
            try await eventuallyTrue("done in the end", within: .seconds(40)) {
                let answer = try await cluster.post(
                    "/apps/web/policy", ["policy": ["maxReplicas": 9]], to: others[0], headers: key("waits"))
                return answer.status == 200
            }
            #expect(try traces(of: "waits", on: cluster) == (1, 1))
        }
    }
}
