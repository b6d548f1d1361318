import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct BatchTests {
    private func sequences(_ fixture: Fixture) async throws -> [Int64] {
        try await fixture.sql("SELECT sequence FROM events WHERE node_id = 'alice' ORDER BY id")
            .split(separator: "\n").compactMap { Int64($0) }
    }

    @Test func `re-sent and overlapping batches count once, per node and stream`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: StateChange...) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        try await write(.appendEvents(node: alice, events(1...5)))
        try await write(.appendEvents(node: alice, events(1...5)))
        try await write(.appendEvents(node: alice, events(3...8)))
        try await write(.appendEvents(node: alice, events(7...9) + events(8...10)), .appendEvents(node: alice, []))
        try await write(.appendEvents(node: bob, events(1...2, of: bob)))
        try await write(.appendDecisions(node: alice, [decision(1), decision(2)]))
        try await write(.appendDecisions(node: alice, [decision(2), decision(3)]))
        #expect(try await sequences(fixture) == Array(1...10))
        #expect(try await fixture.store.appliedProgress(alice) == OutboxProgress(events: 10, decisions: 3))
        #expect(try await fixture.store.appliedProgress(bob) == OutboxProgress(events: 2, decisions: 0))
        #expect(
            try await fixture.store.decisions(app: web, limit: 10).map(\.decision)
                == [decision(3), decision(2), decision(1)])
    }

    @Test func `batches written at the same time count once`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for last in [10, 25, 40, 5, 33, 40, 17, 40] as [Int64] {
                group.addTask {
                    try await fixture.store.write(
                        [.appendEvents(node: alice, events(1...last))], epoch: epoch, leader: alice)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await sequences(fixture) == Array(1...40))
    }

    @Test func `a batch whose answer never came is sent again and counts once`() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(1))
        let epoch = try await fixture.lead(alice)
        let session = try fixture.session(
            "BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2); COMMIT;")
        let isLocked = try await eventually { try await fixture.isSleeping }
        try #require(isLocked)
        let error = await failure { () throws(StoreError) in
            try await fixture.store.write([.appendEvents(node: alice, events(1...5))], epoch: epoch, leader: alice)
        }
        guard case .outcomeUnknown = error else {
            Issue.record("expected an unknown outcome, got \(String(describing: error))")
            return
        }
        #expect(error?.isRetryable == true)
        try await session.ended()
        let isApplied = await eventually {
            await failure { () throws(StoreError) in
                try await fixture.store.write([.appendEvents(node: alice, events(1...7))], epoch: epoch, leader: alice)
            } == nil
        }
        #expect(isApplied)
        #expect(try await sequences(fixture) == Array(1...7))
    }

    @Test func `connections that are killed all the time lose and double nothing`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let last: Int64 = 60
        let killer = Task {
            var kills = 0
            while !Task.isCancelled {
                let ended = try await fixture.sql(
                    """
                    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'orchestry store'
                    """)
                kills += Int(ended) ?? 0
                try? await Task.sleep(for: .milliseconds(20))
            }
            return kills
        }
        var acknowledged: Int64 = 0
        var failures = 0
        while acknowledged < last {
            let batch = events((acknowledged + 1)...min(acknowledged + 3, last))
            let error = await failure { () throws(StoreError) in
                try await fixture.store.write([.appendEvents(node: alice, batch)], epoch: epoch, leader: alice)
            }
            if let error {
                try #require(error.isRetryable, "\(error)")
                failures += 1
            } else {
                acknowledged += Int64(batch.count)
            }
        }
        killer.cancel()
        #expect(try await killer.value > 0)
        #expect(try await sequences(fixture) == Array(1...last), "after \(failures) failures")
    }

    @Test func `a write that was surely not committed says so`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let session = try fixture.session(
            "BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600); COMMIT;")
        let isLocked = try await eventually { try await fixture.isSleeping }
        try #require(isLocked)
        async let attempt = failure { () throws(StoreError) in
            try await fixture.store.write([.appendEvents(node: alice, events(1...5))], epoch: epoch, leader: alice)
        }
        let isEnded = try await eventually {
            try await fixture.sql(
                """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'orchestry store' AND wait_event_type = 'Lock'
                """) == "1"
        }
        #expect(isEnded)
        guard case .unavailable = await attempt else {
            Issue.record("expected it to be certain")
            return
        }
        try await fixture.sql(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE wait_event = 'PgSleep' AND datname = current_database()
            """)
        try await session.ended()
        #expect(try await sequences(fixture) == [])
    }

    @Test func `what PostgreSQL can't hold does not stop the trail`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let odd = Event(
            node: alice, sequence: 1, time: WallTime(milliseconds: .max), app: AppName(unchecked: "ghost"),
            kindName: String(repeating: "k", count: 80), message: "a\0b 'quoted' \\u0000",
            details: ["text\0": "x\0y", "path": "C:\\u0000", "nan": .double(.nan), "big": .int(.max), "half": 2.0])
        try await fixture.store.write(
            [
                .appendEvents(node: alice, [odd]),
                .appendMetrics([MetricRow(app: AppName(unchecked: "ghost"), time: noon, rps: 1)]),
            ], epoch: epoch, leader: alice)
        let stored = try #require(try await fixture.store.events(app: nil, limit: 5).first?.event)
        #expect(stored.app == nil)
        #expect(stored.kind.count == 50)
        #expect(stored.message == "a\u{FFFD}b 'quoted' \\u0000")
        #expect(
            stored.details == [
                "app": "ghost",
                "details": [
                    "text\u{FFFD}": "x\u{FFFD}y", "path": "C:\\u0000", "nan": nil, "big": .int(.max), "half": 2.0,
                ],
            ])
        #expect(try await fixture.sql("SELECT count(*) FROM metrics") == "0")
    }
}
