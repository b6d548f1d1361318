import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// Reads from a real standby, as long as it keeps up.
@Suite(.serialized, .enabled(if: PrivatePostgres.isInstalled, "needs PostgreSQL"), .timeLimit(.minutes(3)))
struct ReplicaTests {
    @Test func `the replica answers while it keeps up, else the primary does`() async throws {
        let primary = try await onOwnThread { try PrivatePostgres() }
        let fixture = try await Fixture(server: primary)
        let epoch = try await fixture.lead(alice)
        let standby = try await onOwnThread { try PrivatePostgres(standbyOf: primary) }
        let store = StateStore(
            configuration: StoreConfiguration(
                connectionString: fixture.connectionString,
                replicaConnectionString: fixture.connectionString.replacing(
                    ":\(primary.port)/", with: ":\(standby.port)/"),
                replicaMaxLag: .seconds(3), operationTimeout: .seconds(20)), logger: quiet)
        defer { store.shutdown() }
        let lease = fixture.lease(alice)
        defer { lease.shutdown() }
        var renewals: UInt64 = 0
        func renew() async {
            renewals += 1
            _ = await lease.renew(epoch, seq: renewals)
        }
        func messages() async throws -> [String] {
            try await store.events(app: nil, limit: 10).map(\.event.message)
        }
        /// What only the standby would answer is told from the primary's rows by how many there are.
        func standbyHolds() async throws -> Int {
            let standbyString = fixture.connectionString.replacing(":\(primary.port)/", with: ":\(standby.port)/")
            return try await onOwnThread {
                Int(try standby.query("SELECT count(*) FROM events", on: standbyString)) ?? -1
            }
        }

        try await store.write([.appendEvents(node: alice, events(1...1))], epoch: epoch, leader: alice)
        await renew()
        #expect(await eventually { (try? await standbyHolds()) == 1 })
        #expect(await eventually { (try? await messages()) == ["event 1"] })

        // It stops where it is: within the bound what it has is the answer, although the primary has more.
        _ = try await onOwnThread { try standby.query("SELECT pg_wal_replay_pause()") }
        try await store.write([.appendEvents(node: alice, events(2...2))], epoch: epoch, leader: alice)
        #expect(try await messages() == ["event 1"])
        // The lease goes on, and the standby does not see it.
        #expect(
            await eventually(within: .seconds(20)) {
                await renew()
                return (try? await messages()) == ["event 2", "event 1"]
            })
        #expect(try await standbyHolds() == 1)

        // It catches up: used again. A third event that it has not got must not be seen then.
        _ = try await onOwnThread { try standby.query("SELECT pg_wal_replay_resume()") }
        await renew()
        #expect(await eventually { (try? await standbyHolds()) == 2 })
        _ = try await onOwnThread { try standby.query("SELECT pg_wal_replay_pause()") }
        try await store.write([.appendEvents(node: alice, events(3...3))], epoch: epoch, leader: alice)
        #expect(try await messages() == ["event 2", "event 1"])

        // It dies: the primary answers.
        try await onOwnThread { standby.stop(immediately: true) }
        #expect(try await messages().count == 3)
    }
}
