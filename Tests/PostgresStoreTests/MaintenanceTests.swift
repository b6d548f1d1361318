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
                + "10|access\n11|audit\n12|event-order")
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
        #expect(error == .schemaTooNew(found: 900, known: 12))
        #expect(error?.description.contains("900") == true)
        #expect(error?.isRetryable == false)
        #expect(try await fixture.sql("SELECT count(*) FROM schema_migrations") == "11")
    }

    @Test func `partitions are made ahead, filled from the default one, and dropped`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let now = time(1_700_000_000)  // 2023-11-14 22:13:20 UTC
        func maintain(_ now: WallTime) async throws -> StateStore.Maintenance {
            try await fixture.store.maintain(now: now, epoch: epoch, leader: alice)
        }
        func partitions(_ parent: String) async throws -> [String] {
            try await fixture.sql(
                "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = '\(parent)'::regclass ORDER BY 1::text"
            ).split(separator: "\n").map(String.init).sorted()
        }
        try await fixture.store.write(
            [
                .saveApplication(application()), .appendEvents(node: alice, events(1...3, app: web)),
                .appendMetrics([MetricRow(app: web, time: now, rps: 1)]),
                .completeRequest(key: "old", response: ControlResponse(body: nil), actor: "a", at: now),
            ], epoch: epoch, leader: alice)
        #expect(try await fixture.sql("SELECT count(*) FROM events_default") == "3")

        #expect(try await maintain(now) == .init(partitionsAdded: 8, partitionsDropped: 0))
        #expect(
            try await partitions("events")
                == ["events_20231001", "events_20231101", "events_20231201", "events_20240101", "events_default"])
        #expect(
            try await partitions("metrics")
                == ["metrics_20231113", "metrics_20231114", "metrics_20231115", "metrics_20231116", "metrics_default"])
        #expect(try await fixture.sql("SELECT count(*) FROM events_default") == "0")
        #expect(try await fixture.sql("SELECT count(*) FROM events_20231101") == "3")
        #expect(try await fixture.sql("SELECT count(*) FROM metrics_20231114") == "1")
        #expect(try await maintain(now) == .init(partitionsAdded: 0, partitionsDropped: 0))
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

        // Eight days on the first days of metrics are past their week; ninety days after November its events are too.
        let later = try await maintain(time(1_700_000_000 + 8 * 86_400))
        #expect(later.partitionsDropped == 2)
        #expect(try await fixture.sql("SELECT count(*) FROM metrics") == "1")
        #expect(try await fixture.store.request("old") == nil)
        _ = try await maintain(time(1_700_000_000 + 120 * 86_400))
        #expect(try await fixture.store.events(app: web, limit: 9).isEmpty)
        #expect(try await partitions("events").contains("events_20231101") == false)

        let other = try await fixture.lead(bob)
        let error = await failure { () throws(StoreError) in
            _ = try await fixture.store.maintain(now: now, epoch: epoch, leader: alice)
        }
        guard case .fenced = error else {
            Issue.record("epoch \(epoch) maintained in epoch \(other)")
            return
        }
    }
}
