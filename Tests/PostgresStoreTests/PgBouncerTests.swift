import Foundation
import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// The store behind a real pgbouncer in transaction mode: each transaction may get another session.
@Suite(
    .needsPostgres, .enabled(if: PrivatePgBouncer.isInstalled, "pgbouncer is not installed"), .serialized,
    .timeLimit(.minutes(3)))
struct PgBouncerTests {
    /// A migrated database behind a pgbouncer with two sessions for it, and a store of six connections.
    private func withStore(
        _ body: (Fixture, StateStore, LeaseConnection, String) async throws -> Void
    ) async throws {
        let fixture = try await Fixture(migrated: false)
        let server = fixture.server
        let bouncer = try await onOwnThread { try PrivatePgBouncer(before: server, poolSize: 2) }
        let name = String(fixture.connectionString.split(separator: "/").last ?? "")
        let configuration = StoreConfiguration(
            connectionString: bouncer.connectionString(database: name), poolSize: 6, statementTimeout: .seconds(4),
            operationTimeout: .seconds(20))
        let store = StateStore(configuration: configuration, logger: quiet)
        let lease = LeaseConnection(
            configuration: configuration, me: alice, hostname: "alice", apiURL: "http://alice", leaseTTL: .seconds(30),
            logger: quiet)
        try await body(fixture, store, lease, configuration.connectionString)
        store.shutdown()
        lease.shutdown()
        withExtendedLifetime(bouncer) {}
    }

    @Test func `migrations, lease, writes, reads and retention work, and leave nothing in a session`() async throws {
        try await withStore { fixture, store, lease, bouncer in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<3 { group.addTask { try await store.migrate() } }
                try await group.waitForAll()
            }
            guard case .acquired(let epoch) = await lease.acquire() else {
                Issue.record("the lease could not be acquired")
                return
            }
            #expect(await lease.renew(epoch, seq: 1) == .renewed(epoch: epoch, mode: .quorum))
            try await store.write([.saveApplication(application())], epoch: epoch, leader: alice, turn: 1)
            // More at once than there are sessions.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for last in [10, 25, 40, 5, 33, 40, 17, 40] as [Int64] {
                    group.addTask {
                        try await store.write(
                            [.appendEvents(node: alice, events(1...last, app: web))], epoch: epoch, leader: alice)
                    }
                    group.addTask {
                        let count = try await store.applications().count
                        #expect(count == 1)
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await store.events(app: web, limit: 100).map(\.event.sequence) == Array(1...40).reversed())
            #expect(try await store.load().applications.count == 1)
            #expect(try await store.maintain(now: noon, epoch: epoch, leader: alice) == 8)
            #expect(try await store.backup().rows["applications"]?.count == 1)
            let stale = await failure { () throws(StoreError) in
                try await store.write([], epoch: epoch.next, leader: alice)
            }
            guard case .fenced = stale else {
                Issue.record("an epoch that nobody has was let through: \(String(describing: stale))")
                return
            }
            // Another client of the same pool finds what PostgreSQL has by default.
            let settings = try await fixture.sql(
                "SELECT DISTINCT current_setting('statement_timeout'), current_setting('lock_timeout')")
            for _ in 0..<4 {
                let seen = try await onOwnThread {
                    try fixture.server.query(
                        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')", on: bouncer)
                }
                #expect(seen == settings)
            }
            #expect(await lease.release(epoch, seq: 2) == .released(epoch))
        }
    }

    @Test func `the time-outs hold in every transaction`() async throws {
        try await withStore { fixture, store, lease, _ in
            try await store.migrate()
            guard case .acquired(let epoch) = await lease.acquire() else {
                Issue.record("the lease could not be acquired")
                return
            }
            let session = try fixture.session(
                "BEGIN; LOCK TABLE applications IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(9); COMMIT;")
            let isLocked = try await eventually { try await fixture.isSleeping }
            try #require(isLocked)
            let error = await failure { () throws(StoreError) in
                try await store.write([.saveApplication(application())], epoch: epoch, leader: alice)
            }
            guard case .query(sqlState: let state, message: _) = error, ["55P03", "57014"].contains(state) else {
                Issue.record("not held back by a time-out: \(String(describing: error))")
                return
            }
            session.signal(9)
            try await session.ended()
        }
    }

    @Test func `sessions that are killed all the time lose and double nothing`() async throws {
        try await withStore { fixture, store, lease, _ in
            try await store.migrate()
            guard case .acquired(let epoch) = await lease.acquire() else {
                Issue.record("the lease could not be acquired")
                return
            }
            var (next, unknown, refused) = (Int64(1), 0, 0)
            while next <= 400 {
                async let killed = fixture.sql(
                    """
                    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()
                    """)
                let batch = events(next...(next + 19))
                while let error = await failure({ () throws(StoreError) in
                    try await store.write([.appendEvents(node: alice, batch)], epoch: epoch, leader: alice)
                }) {
                    guard error.isRetryable else { throw error }
                    if case .outcomeUnknown = error { unknown += 1 } else { refused += 1 }
                }
                _ = try await killed
                next += 20
            }
            print("pgbouncer: 400 events, sessions killed 20 times; \(unknown) unknown outcomes, \(refused) refused")
            #expect(
                try await fixture.sql(
                    "SELECT count(*), count(DISTINCT sequence), min(sequence), max(sequence) FROM events")
                    == "400|400|1|400")
        }
    }
}

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct ConnectionLimitTests {
    @Test func `without a free connection calls say so in time, and all is well when there is one`() async throws {
        let server = try await onOwnThread {
            try PrivatePostgres(settings: [
                "max_connections=8", "superuser_reserved_connections=0", "client_connection_check_interval=200",
            ])
        }
        let fixture = try await Fixture(server: server, operationTimeout: .seconds(2))
        let epoch = try await fixture.lead(alice)
        fixture.store.shutdown()
        // Somebody else takes them all, and whatever gets free.
        let crowd = try (0..<12).map { _ in
            try ChildProcess(
                "/bin/sh",
                [
                    "-c", "while :; do psql -q -o /dev/null \"$1\" -c 'SELECT pg_sleep(60)'; done", "crowd",
                    fixture.connectionString,
                ], ownSession: true)
        }
        func disperse() async throws {
            for session in crowd {
                kill(-session.id, SIGKILL)
                try await session.ended()
            }
        }
        let isTaken = await eventually { (try? await fixture.sql("SELECT 1")) == nil }
        let late = StateStore(
            configuration: StoreConfiguration(
                connectionString: fixture.connectionString, operationTimeout: .seconds(2)), logger: quiet)
        defer { late.shutdown() }
        let isFull = await eventually {
            let error = await failure { () throws(StoreError) in _ = try await late.applications() }
            return error?.description.contains("too many clients") == true
        }
        let clock = ContinuousClock()
        let begun = clock.now
        let error = await failure { () throws(StoreError) in
            try await late.write([.appendEvents(node: alice, events(1...3))], epoch: epoch, leader: alice)
        }
        let wasAvailable = late.isAvailable
        let waited = clock.now - begun
        try await disperse()
        #expect(isTaken && isFull && !wasAvailable)
        guard case .unavailable(let reason) = error else {
            Issue.record("expected it to be unavailable, got \(String(describing: error))")
            return
        }
        print("connection limit: refused after \(waited): \(reason)")
        let isBack = await eventually {
            await failure { () throws(StoreError) in
                try await late.write([.appendEvents(node: alice, events(1...3))], epoch: epoch, leader: alice)
            } == nil
        }
        #expect(isBack)
        // The server notices by and by that the crowd's clients are gone: until then there may be no session for us.
        #expect(await eventually { (try? await fixture.sql("SELECT count(*) FROM events")) == "3" })
    }
}
