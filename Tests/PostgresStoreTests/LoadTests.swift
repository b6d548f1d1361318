import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// What a new leader reads before it takes its first write.
@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct LoadTests {
    @Test func `an empty database is brought to the schema and holds nothing`() async throws {
        let fixture = try await Fixture(migrated: false)
        let state = try await fixture.store.load()
        #expect(state.applications.isEmpty && state.instances.isEmpty && state.nodes.isEmpty && state.scalings.isEmpty)
        #expect(try await fixture.sql("SELECT count(*) > 0 FROM schema_migrations") == "t")
    }

    @Test func `one read says what the single ones say`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let node = NodeInfo(id: alice, role: .controller, host: "a", clusterPort: 7, apiURL: "http://a")
        let now = try await clock(fixture)
        let gone = AppName(unchecked: "gone")
        func scaling(_ app: AppName, secondsAgo: Int64, to: Int) -> ScalingDecision {
            var scaling = decision(10_000 - secondsAgo)
            scaling.app = app
            scaling.time = WallTime(milliseconds: now.milliseconds - secondsAgo * 1000)
            scaling.toReplicas = to
            return scaling
        }
        let decisions =
            [scaling(web, secondsAgo: 4_000, to: 9), scaling(gone, secondsAgo: 100, to: 8)]
            + (1...60).reversed().map { scaling(web, secondsAgo: $0, to: 100 + Int($0)) }
        try await fixture.store.write(
            [
                .saveSecret(
                    SealedSecret(name: SecretName(unchecked: "db"), version: 4, keyID: "k", box: "b"), by: "ann",
                    at: noon),
                .saveApplication(application()), .saveApplication(application(gone)), .saveNode(node, seenAt: noon),
                .appendDecisions(node: alice, decisions.sorted { $0.sequence < $1.sequence }),
                .deleteApplication(gone, at: noon),
            ], epoch: epoch, leader: alice)
        let state = try await fixture.store.load()
        #expect(state.applications == (try await fixture.store.applications()))
        #expect(state.instances == (try await fixture.store.instances()))
        #expect(state.nodes == (try await fixture.store.nodes()))
        #expect(state.secrets == (try await fixture.store.secrets()) && state.secrets.count == 1)
        #expect(state.nodes.count == 1 && state.applications.count == 1)
        // Of the last hour, at most fifty, oldest first; none of the deleted app.
        #expect(state.scalings.map(\.toReplicas) == (1...50).reversed().map { 100 + $0 })
        #expect(state.scalings.allSatisfy { $0.app == web && $0.fromReplicas == 1 })
    }

    @Test(arguments: ["", "ALTER TABLE instances RENAME COLUMN since TO until;"])
    func `a database of a newer release is refused`(_ change: String) async throws {
        let fixture = try await Fixture()
        try await fixture.sql("\(change) INSERT INTO schema_migrations (version, name) VALUES (900, 'future')")
        let error = await failure { () throws(StoreError) in _ = try await fixture.store.load() }
        guard case .schemaTooNew(found: 900, known: _) = error else {
            Issue.record("got \(String(describing: error))")
            return
        }
    }

    @Test func `sessions are ready before they are needed, and their rehearsal leaves nothing`() async throws {
        let fixture = try await Fixture()
        // The next node's, on a database that has its tables: all sessions open with nothing to do, so all rehearse.
        let configuration = StoreConfiguration(connectionString: fixture.connectionString, applicationName: "second")
        let second = StateStore(configuration: configuration, logger: quiet)
        defer { second.shutdown() }
        let idle = """
            SELECT count(*) = \(configuration.poolSize) FROM pg_stat_activity
            WHERE application_name = 'second store' AND state = 'idle' AND query = 'ROLLBACK'
            """
        let areReady = try await eventually(within: .seconds(30)) { try await fixture.sql(idle) == "t" }
        try #require(areReady, "the sessions did not rehearse")
        for table in ["applications", "revisions", "events", "requests"] {
            #expect(try await fixture.sql("SELECT count(*) FROM \(table)") == "0", "\(table) has rows of the rehearsal")
        }
        // Nor does it hold on to anything that a leader needs.
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write([.saveApplication(application())], epoch: epoch, leader: alice, turn: 1)
        #expect(try await second.applications().count == 1)
    }

    private func clock(_ fixture: Fixture) async throws -> WallTime {
        let text = try await fixture.sql("SELECT (extract(epoch FROM NOW()) * 1000)::bigint")
        return WallTime(milliseconds: try #require(Int64(text)))
    }
}
