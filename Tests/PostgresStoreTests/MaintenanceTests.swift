import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct MaintenanceTests {
    @Test func `migrations run once, also from several nodes at once`() async throws {
        let fixture = try await Fixture(migrated: false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { try await fixture.store.migrate() } }
            try await group.waitForAll()
        }
        try await fixture.store.migrate()
        #expect(
            try await fixture.sql("SELECT version, name FROM schema_migrations ORDER BY 1")
                == "1|leadership\n2|state\n3|promotion\n4|turns\n5|secrets\n6|rollouts\n7|scaling-control\n"
                + "10|access\n11|audit\n12|event-order\n13|daily-events\n14|restore")
        let tables = try await fixture.sql(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace")
        let names = Set(tables.split(separator: "\n").map(String.init))
        #expect(
            names.isSuperset(of: [
                "applications", "instances", "events", "metrics", "revisions", "scaling_decisions", "leader_lease",
                "cluster_nodes", "requests", "write_turns", "settings", "api_tokens", "schema_migrations",
            ]))
        let indexes = try await fixture.sql("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'idx_%'")
        #expect(
            Set(indexes.split(separator: "\n").map(String.init)).isSuperset(of: [
                "idx_instances_app_name", "idx_instances_status", "idx_events_app_name_timestamp",
                "idx_events_type_timestamp", "idx_metrics_app_timestamp",
            ]))
    }

    @Test func `a database of a newer release is refused and left alone`() async throws {
        let fixture = try await Fixture()
        try await fixture.sql("INSERT INTO schema_migrations (version, name) VALUES (900, 'future')")
        let error = await failure { () throws(StoreError) in try await fixture.store.migrate() }
        #expect(error == .schemaTooNew(found: 900, known: 14))
        #expect(error?.description.contains("900") == true)
        #expect(error?.isRetryable == false)
        #expect(try await fixture.sql("SELECT count(*) FROM schema_migrations") == "13")
    }

    @Test func `partitions are made ahead, filled from the default one, and dropped`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let now = time(1_700_000_000)  // 2023-11-14 22:13:20 UTC
        try await fixture.store.write(
            [
                .saveApplication(application()), .appendEvents(node: alice, events(1...3, app: web)),
                .appendMetrics([MetricRow(app: web, time: now, rps: 1)]),
                .completeRequest(key: "old", response: ControlResponse(body: nil), actor: "a", at: now),
            ], epoch: epoch, leader: alice)
        #expect(try await fixture.sql("SELECT count(*) FROM events_default") == "3")

        #expect(try await fixture.store.maintain(now: now, epoch: epoch, leader: alice) == 8)
        for table in ["events", "metrics"] {
            #expect(
                try await fixture.partitions(table)
                    == ["20231113", "20231114", "20231115", "20231116", "default"].map { "\(table)_\($0)" })
        }
        #expect(try await fixture.sql("SELECT count(*) FROM events_default") == "0")
        #expect(try await fixture.sql("SELECT count(*) FROM events_20231114") == "3")
        #expect(try await fixture.sql("SELECT count(*) FROM metrics_20231114") == "1")
        #expect(try await fixture.store.maintain(now: now, epoch: epoch, leader: alice) == 0)
        #expect(try await fixture.store.events(app: web, limit: 9).count == 3)
        #expect(try await fixture.store.request("old") != nil)

        // New rows go where they belong, and still need an app that exists.
        try await fixture.store.write(
            [.appendMetrics([MetricRow(app: web, time: time(1_700_000_000 + 86_400), rps: 2)])], epoch: epoch,
            leader: alice)
        #expect(try await fixture.sql("SELECT count(*) FROM metrics_20231115") == "1")
        await #expect(throws: (any Error).self) {
            try await fixture.sql("INSERT INTO metrics (app_name, timestamp) VALUES ('ghost', '2023-11-15')")
        }
        _ = try await fixture.store.maintain(now: time(1_700_000_000 + 2 * 86_400), epoch: epoch, leader: alice)
        #expect(try await fixture.store.request("old") == nil)

        let other = try await fixture.lead(bob)
        for error in [
            await failure { () throws(StoreError) in
                _ = try await fixture.store.maintain(now: now, epoch: epoch, leader: alice)
            },
            await failure { () throws(StoreError) in
                _ = try await fixture.store.drop(.day(14), holding: nil, epoch: epoch, leader: alice)
            },
        ] {
            guard case .fenced = error else {
                Issue.record("epoch \(epoch) maintained in epoch \(other): \(String(describing: error))")
                return
            }
        }
        #expect(try await fixture.sql("SELECT count(*) FROM events_20231114") == "3")
    }

    @Test func `what is past its retention is named, read and dropped as it was read, or not at all`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func expired(_ day: Int64) async throws -> [HistoryPartition] {
            try await fixture.store.expiredPartitions(
                of: .events, before: time(1_699_920_000 + day * 86_400), epoch: epoch, leader: alice)
        }
        // Nobody has made partitions yet: all rows are in the default one, one of them from a clock far off.
        var written = events(1...5)
        written[4].time = time(86_400)
        try await fixture.store.write([.appendEvents(node: alice, written)], epoch: epoch, leader: alice)
        #expect(try await expired(0).map(\.name) == ["events_19700102"])
        // The 14th is past only when it has ended: the 15th is its first moment after.
        #expect(try await expired(1).map(\.name) == ["events_19700102", "events_20231114"])
        let day = try #require(try await expired(1).last)
        #expect(day == .day(14))

        let first = try await fixture.store.rows(of: day, after: nil, limit: 3)
        let rest = try await fixture.store.rows(of: day, after: first.last?.id, limit: 3)
        #expect(first.count == 3 && rest.count == 1)
        let row = try JSONValue(jsonText: try #require(first.first).line)
        #expect(row["message"] == "event 1" && row["node_id"] == "alice" && row["sequence"] == 1)
        #expect(row["details"] == ["number": 1] && row["timestamp"] == "2023-11-14T22:13:20.001+00:00")

        func drop(_ rows: Int?) async throws -> Bool {
            try await fixture.store.drop(day, holding: rows, epoch: epoch, leader: alice)
        }
        #expect(try await drop(3) == false)
        #expect(try await fixture.sql("SELECT count(*) FROM events") == "5")
        #expect(try await drop(4))
        #expect(try await drop(4), "what is gone is gone")
        #expect(try await fixture.sql("SELECT message FROM events") == "event 5")
        // What was flushed stays flushed: the node sends it again, and it is not doubled.
        try await fixture.store.write([.appendEvents(node: alice, written)], epoch: epoch, leader: alice)
        #expect(try await fixture.sql("SELECT count(*) FROM events") == "1")
    }

    @Test func `months of an earlier release stay with their rows, days follow them`() async throws {
        let fixture = try await Fixture(migrated: false)
        let server = fixture.connectionString
        // As release 0.1 left it: this month, the one before and two ahead.
        try await fixture.store.migrate(upTo: 7)
        try await fixture.sql(
            """
            SELECT orchestry_add_partition('events', date_trunc('month', now()) + step * interval '1 month',
                interval '1 month') FROM generate_series(-1, 2) step;
            INSERT INTO events (event_type, message, timestamp, node_id, sequence, epoch)
            SELECT 'x', n::text, date_trunc('month', now()) - interval '10 days' + n * interval '1 hour', 'alice', n, 1
            FROM generate_series(1, 300) n
            """)
        let before = try await fixture.sql("SELECT count(*), sum(sequence), sum(id) FROM events")
        let store = StateStore(configuration: StoreConfiguration(connectionString: server), logger: quiet)
        defer { store.shutdown() }
        try await store.migrate()
        #expect(try await fixture.sql("SELECT count(*), sum(sequence), sum(id) FROM events") == before)
        let months = try await fixture.sql(
            "SELECT count(*) FROM orchestry_partitions('events') WHERE ends > starts + interval '1 day'")
        #expect(months == "2" || months == "3", "the empty ones are gone, those with rows are not")
        let epoch = try await fixture.lead(alice)
        let ahead = try await fixture.sql(
            "SELECT extract(epoch FROM date_trunc('month', now()) + interval '95 days')::bigint")
        let later = time(try #require(Int64(ahead)))
        #expect(try await store.maintain(now: later, epoch: epoch, leader: alice) == 8)
        let expired = try await store.expiredPartitions(of: .events, before: later, epoch: epoch, leader: alice)
        #expect(expired.count >= 2)
        var lines = 0
        for partition in expired {
            let rows = try await store.rows(of: partition, after: nil, limit: 1_000)
            lines += rows.count
            #expect(try await store.drop(partition, holding: rows.count, epoch: epoch, leader: alice))
        }
        #expect(lines == 300)
        #expect(try await fixture.sql("SELECT count(*) FROM events") == "0")
    }

    @Test func `events are read over ninety days of partitions`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        for day in stride(from: Int64(-90), through: 0, by: 3) {
            _ = try await fixture.store.maintain(
                now: time(noon.milliseconds / 1000 + day * 86_400), epoch: epoch, leader: alice)
        }
        let days = (0..<90).map { number -> Event in
            var event = events(1...1)[0]
            event.sequence = Int64(number) + 1
            event.time = time(noon.milliseconds / 1000 - Int64(89 - number) * 86_400)
            return event
        }
        try await fixture.store.write([.appendEvents(node: alice, days)], epoch: epoch, leader: alice)
        #expect(try await fixture.sql("SELECT count(*) FROM events_default") == "0")
        let clock = ContinuousClock()
        let begun = clock.now
        let page = try await fixture.store.events(app: nil, limit: 50)
        print("50 of 90 events in \(try await fixture.partitions("events").count) partitions: \(clock.now - begun)")
        #expect(page.map(\.event.sequence) == Array(41...90).reversed())
        let next = try await fixture.store.events(app: nil, limit: 50, beforeID: page.last?.id)
        #expect(next.map(\.event.sequence) == Array(1...40).reversed())
    }
}

extension HistoryPartition {
    /// Of events, in November 2023.
    fileprivate static func day(_ day: Int64) -> HistoryPartition {
        let starts = time(1_698_796_800 + (day - 1) * 86_400)
        return HistoryPartition(
            table: .events, name: "events_202311\(day)", starts: starts, ends: time(starts.milliseconds / 1000 + 86_400)
        )
    }
}

extension Fixture {
    func partitions(_ parent: String) async throws -> [String] {
        try await sql(
            "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = '\(parent)'::regclass ORDER BY 1::text"
        ).split(separator: "\n").map(String.init).sorted()
    }
}
