import OrchestryModel
import PostgresStore
import Synchronization
import TestSupport
import Testing

/// Collects what the listener is told.
private final class Reports: Sendable {
    private let list = Mutex<[Bool]>([])
    func add(_ value: Bool) { list.withLock { $0.append(value) } }
    var all: [Bool] { list.withLock { $0 } }
}

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct AvailabilityTests {
    @Test func `the pool survives a crash of PostgreSQL and says so`() async throws {
        let server = try await onOwnThread { try PrivatePostgres() }
        let reports = Reports()
        let fixture = try await Fixture(server: server) { reports.add($0) }
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write([.saveApplication(application())], epoch: epoch, leader: alice)
        #expect(fixture.store.isAvailable)

        try await onOwnThread { try server.restart(immediately: true) }
        try await fixture.store.write([.saveApplication(application(replicas: 3))], epoch: epoch, leader: alice)
        for _ in 0..<8 { #expect(try await fixture.store.application(web)?.replicas == 3) }

        try await onOwnThread { server.stop(immediately: true) }
        // Nobody asks for anything: the pool notices by itself.
        #expect(await eventually { reports.all.last == false })
        #expect(!fixture.store.isAvailable)
        let error = await failure { () throws(StoreError) in _ = try await fixture.store.applications() }
        guard case .unavailable = error else {
            Issue.record("expected it to be unavailable, got \(String(describing: error))")
            return
        }
        #expect(error?.isRetryable == true)
        try await onOwnThread { try server.start() }
        #expect(await eventually { reports.all.last == true && fixture.store.isAvailable })
        #expect(try await fixture.store.application(web)?.replicas == 3)
        // Lost and back alternate, and it began with a loss.
        for (index, report) in reports.all.enumerated() { #expect(report == (index % 2 == 1)) }
    }

    @Test func `calls to a frozen server end in time, also those that queue for a connection`() async throws {
        let server = try await onOwnThread { try PrivatePostgres() }
        let fixture = try await Fixture(server: server, operationTimeout: .seconds(1))
        _ = try await fixture.lead(alice)
        server.pause()
        let errors = await withTaskGroup(of: StoreError?.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    await failure { () throws(StoreError) in _ = try await fixture.store.applications() }
                }
            }
            return await group.reduce(into: [StoreError?]()) { $0.append($1) }
        }
        for error in errors {
            guard case .unavailable = error else {
                Issue.record("expected it to be unavailable, got \(String(describing: error))")
                continue
            }
        }
        server.resume()
        let isBack = await eventually {
            await failure { () throws(StoreError) in _ = try await fixture.store.applications() } == nil
        }
        #expect(isBack)
    }

    @Test func `the first host that takes writes is used`() async throws {
        let fixture = try await Fixture()
        let port = fixture.server.port
        let name = fixture.connectionString.split(separator: "/").last ?? ""
        // Nobody listens on the first; the second is the server.
        let store = StateStore(
            configuration: StoreConfiguration(
                connectionString:
                    "postgresql://\(PrivatePostgres.user)@127.0.0.1:\(freePort()),127.0.0.1:\(port)/\(name)"),
            logger: quiet)
        defer { store.shutdown() }
        #expect(try await store.applications().isEmpty)

        try await fixture.sql("ALTER DATABASE \(name) SET default_transaction_read_only = on")
        let readOnly = StateStore(
            configuration: StoreConfiguration(
                connectionString:
                    "host=127.0.0.1,127.0.0.1 port=\(port) user=\(PrivatePostgres.user) dbname=\(name)"),
            logger: quiet)
        defer { readOnly.shutdown() }
        let error = await failure { () throws(StoreError) in _ = try await readOnly.applications() }
        guard case .unavailable(let reason) = error else {
            Issue.record("a read-only server was used: \(String(describing: error))")
            return
        }
        #expect(reason.contains("read-only"))
    }

    @Test(arguments: [
        "postgresql://user:hunter2@[broken", "postgresql://user:hunter2@127.0.0.1:1/hunter2",
        "host=127.0.0.1 port=1 password=hunter2 user=hunter2", "password=hunter2 what",
    ])
    func `no message holds the password`(_ connectionString: String) async throws {
        let configuration = StoreConfiguration(connectionString: connectionString)
        let store = StateStore(configuration: configuration, logger: quiet)
        defer { store.shutdown() }
        let error = try #require(
            await failure { () throws(StoreError) in _ = try await store.applications() })
        #expect(!"\(error) \(configuration)".contains("hunter2"))
        var dumped = ""
        debugPrint(configuration, to: &dumped)
        #expect(!dumped.contains("hunter2"))
    }

    @Test func `after shutdown calls fail at once`() async throws {
        let fixture = try await Fixture()
        fixture.store.shutdown()
        let error = await failure { () throws(StoreError) in try await fixture.store.migrate() }
        #expect(error == .unavailable("the store is shut down"))
    }
}
