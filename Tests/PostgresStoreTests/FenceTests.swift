import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// Design §3, L5.
@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct FenceTests {
    private static func node(_ name: String) -> StateChange {
        let info = NodeInfo(
            id: NodeID(unchecked: name), role: .worker, host: "h", clusterPort: 1, apiURL: "http://h")
        return .saveNode(info, seenAt: noon)
    }

    @Test func `only the holder of the lease writes, and only with its epoch`() async throws {
        let fixture = try await Fixture()
        func attempt(_ epoch: Epoch, _ leader: NodeID) async -> StoreError? {
            await failure { () throws(StoreError) in
                try await fixture.store.write([Self.node("n-\(epoch)-\(leader)")], epoch: epoch, leader: leader)
            }
        }
        func isFenced(_ error: StoreError?) -> Bool { if case .fenced = error { true } else { false } }

        #expect(isFenced(await attempt(Epoch(1), alice)), "before anybody leads")
        let first = try await fixture.lead(alice)
        #expect(await attempt(first, alice) == nil)
        #expect(isFenced(await attempt(first, bob)))
        #expect(isFenced(await attempt(first.next, alice)))
        let second = try await fixture.lead(bob)
        #expect(isFenced(await attempt(first, alice)), "its epoch is over")
        #expect(await attempt(second, bob) == nil)
        #expect(try await fixture.store.nodes().map(\.info.id.rawValue) == ["n-1-alice", "n-2-bob"])
    }

    @Test func `a refused write changes nothing and leaves the connection usable`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        // The second change violates the foreign key of revisions.
        let error = await failure { () throws(StoreError) in
            try await fixture.store.write(
                [
                    Self.node("first"),
                    .saveRevision(web, revision: 1, document: [:], spec: application().spec, at: noon),
                    Self.node("third"),
                ], epoch: epoch, leader: alice)
        }
        guard case .query(sqlState: "23503", _) = error else {
            Issue.record("expected a foreign key violation, got \(String(describing: error))")
            return
        }
        for number in 0..<8 {
            try await fixture.store.write([Self.node("later-\(number)")], epoch: epoch, leader: alice)
        }
        #expect(try await fixture.store.nodes().count == 8)
    }

    @Test func `a takeover waits for a running write, renewals do not`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let session = try fixture.session(
            """
            BEGIN; SELECT orchestry_fence('alice', \(epoch));
            INSERT INTO settings VALUES ('k', '1', NOW(), 'alice'); SELECT pg_sleep(2); COMMIT;
            """)
        let isRunning = try await eventually { try await fixture.isSleeping }
        try #require(isRunning)
        let (leader, candidate) = (fixture.lease(alice), fixture.lease(bob))
        defer {
            leader.shutdown()
            candidate.shutdown()
        }
        async let takeover = candidate.acquire(votes: true)
        // Whether or not the takeover is waiting by now, the renewal goes through at once.
        #expect(await leader.renew(epoch, seq: 1) == .renewed(epoch: epoch, mode: .quorum))
        #expect(try await fixture.sql("SELECT count(*) FROM settings") == "0", "the write is still running")
        #expect(await takeover == .acquired(epoch.next))
        #expect(try await fixture.sql("SELECT count(*) FROM settings") == "1", "it had ended before the takeover did")
        try await session.ended()
    }

    @Test func `a write waits for a takeover that is running, and is then refused`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let session = try fixture.session(
            "BEGIN; UPDATE leader_lease SET epoch = epoch + 1, leader_id = 'bob'; SELECT pg_sleep(1); COMMIT;")
        let isRunning = try await eventually { try await fixture.isSleeping }
        try #require(isRunning)
        let error = await failure { () throws(StoreError) in
            try await fixture.store.write([Self.node("late")], epoch: epoch, leader: alice)
        }
        guard case .fenced = error else {
            Issue.record("expected to be fenced, got \(String(describing: error))")
            return
        }
        try await session.ended()
        #expect(try await fixture.store.nodes().isEmpty)
    }

    @Test func `a frozen client does not keep its successor from leading`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        // Holds the fence, and the server waits for it to say something: no time-out of its own would end this soon.
        let session = try fixture.session(
            """
            SET application_name = 'frozen'; BEGIN; SELECT orchestry_fence('alice', \(epoch));
            INSERT INTO settings VALUES ('k', '1', NOW(), 'alice');
            \\! exec sleep 30
            COMMIT;
            """)
        let isFrozen = try await eventually {
            try await fixture.sql(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'frozen' AND state = 'idle in transaction' AND query LIKE 'INSERT%'
                """) == "1"
        }
        try #require(isFrozen)
        let candidate = fixture.lease(bob)
        defer { candidate.shutdown() }
        #expect(await candidate.acquire(votes: true) == .acquired(epoch.next))
        #expect(try await fixture.sql("SELECT count(*) FROM settings") == "0")
        // It would sleep on: psql notices only afterwards that its session is gone.
        try await ChildProcess("/usr/bin/env", ["pkill", "-P", String(session.id)]).ended()
        try await session.ended()
    }

    @Test func `a large write is one transaction`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        // Some megabytes: far more than the socket's and libpq's buffers hold.
        let text = String(repeating: "x", count: 2000)
        let many = events(1...2000).map { event in
            var event = event
            event.message += text
            return event
        }
        try await fixture.store.write(
            [Self.node("before"), .appendEvents(node: alice, many), Self.node("after")], epoch: epoch, leader: alice)
        #expect(try await fixture.sql("SELECT count(*), count(DISTINCT xmin::text) FROM events") == "2000|1")
        #expect(try await fixture.store.nodes().count == 2)
    }
}
