import Foundation
import Logging
import MetricsCache
import OrchestryModel
import TestSupport
import Testing

/// Event streams of real nodes.
@Suite(
    .serialized, .enabled(if: postgresExpected, "needs PostgreSQL: see configs/dev/test"), .timeLimit(.minutes(5)))
struct EventStreamTests {
    /// Events that wait in a node's outbox when it starts.
    private func fill(_ member: Cluster.Member, _ word: String, _ count: Int) async throws {
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let outbox = try Outbox(folder: member.folder + "/data", node: member.id, logger: quiet)
        let now = WallTime(seconds: Date().timeIntervalSince1970)
        _ = try await outbox.append(
            events: (1...count).map {
                Event(
                    node: member.id, time: now, app: nil, kind: .samplesDropped,
                    message: "bulk \(word) \($0) of \(member.id)")
            })
        outbox.shutdown()
    }

    @Test func `10,000 events through a leader's death reach every client once and in order`() async throws {
        let (each, later) = (3_400, 500)
        let all = 3 * each + later
        try await withCluster(
            "stream", .protocolOnly,
            beforeStart: { for member in $0.members { try await fill(member, "early", each) } }
        ) { cluster in
            var followers = cluster.members.map { EventFollower(cluster, via: [$0]) }
            var tasks = followers.map { follower in Task { await follower.run() } }
            defer { for task in tasks { task.cancel() } }
            try await eventuallyTrue("a client has some", within: .seconds(60)) {
                await followers[0].received.count >= 500
            }
            let leader = try await cluster.leader()
            // One that is at the leader when it dies, and goes on at the others.
            let others = cluster.members.filter { $0.id != leader }
            let moving = EventFollower(cluster, via: [cluster.member(leader)] + others)
            followers.append(moving)
            tasks.append(Task { await moving.run() })
            try await eventuallyTrue("the leader serves a client") { await moving.received.count > 0 }
            // However fast the early ones went, some come under the next leader.
            let late = try #require(others.last)
            await cluster.kill(late.id)
            try await fill(late, "late", later)
            await cluster.kill(leader)
            let atDeath = await followers[0].received.count
            #expect(atDeath < all, "all were there before \(leader) died")
            try await cluster.start(late)
            _ = try await cluster.leader(via: others.first)
            // Written by the new leader while the old one's events still come in.
            try await cluster.registerWeb(via: others.first)
            try await cluster.start(cluster.member(leader))
            let stored = { (query: String) throws -> String in
                try cluster.postgres.query(query, on: cluster.database)
            }
            try await eventuallyTrue("every outbox is empty", within: .seconds(60)) {
                try stored("SELECT count(*) FROM events WHERE message LIKE 'bulk %'") == "\(all)"
            }
            _ = try await cluster.leadership()
            let newest = try stored("SELECT max(id) FROM events")
            for follower in followers {
                try await eventuallyTrue("a client has event \(newest)", within: .seconds(30)) {
                    await follower.received.last.map { $0.id >= Int64(newest) ?? 0 } ?? false
                }
            }
            let ids = try stored("SELECT string_agg(id::text, ',' ORDER BY id) FROM events WHERE id <= \(newest)")
            for follower in followers {
                let received = await follower.received.filter { $0.id <= Int64(newest) ?? 0 }
                #expect(received.map { "\($0.id)" }.joined(separator: ",") == ids)
                let messages = received.compactMap { $0.event["message"]?.stringValue }.filter { $0.hasPrefix("bulk ") }
                #expect(messages.count == all)
                #expect(Set(messages).count == all)
                #expect(await follower.resets == 0)
            }
            #expect(await moving.connections > 1, "it did not have to come back")
            let connections = await followers.asyncMap { await $0.connections }
            print(
                "\(atDeath) events before the leader died; connections \(connections); \(ids.split(separator: ",").count) in all"
            )
        }
    }

    @Test func `a worker, which has no PostgreSQL, streams the same, and a node that stops says so`() async throws {
        try await withCluster("stream-worker", .init(proxy: false, workers: 1)) { cluster in
            _ = try await cluster.leadership()
            let worker = try #require(cluster.workers.first)
            let follower = EventFollower(cluster, via: [worker])
            let task = Task { await follower.run() }
            defer { task.cancel() }
            try await cluster.registerWeb(via: worker)
            try await eventuallyTrue("the worker's client has the event", within: .seconds(30)) {
                await follower.received.contains { $0.event["event_type"] == "app_registered" }
            }
            let received = await follower.received
            let newest = try #require(received.last?.id)
            let ids = try cluster.postgres.query(
                "SELECT string_agg(id::text, ',' ORDER BY id) FROM events WHERE id <= \(newest)", on: cluster.database)
            #expect(received.map { "\($0.id)" }.joined(separator: ",") == ids)
            await cluster.terminate(worker.id)
            try await eventuallyTrue("its client was told") { await follower.farewells == 1 }
        }
    }
}

extension Array {
    fileprivate func asyncMap<Value>(_ transform: (Element) async -> Value) async -> [Value] {
        var values: [Value] = []
        for element in self { values.append(await transform(element)) }
        return values
    }
}
