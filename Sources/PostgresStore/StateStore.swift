import Logging
import OrchestryModel

/// The shared state in PostgreSQL. Every change is fenced: it is committed only while the writer's epoch is the
/// lease's. Reads are not.
public final class StateStore: Sendable {
    let pool: ConnectionPool
    let replica: Replica?
    let configuration: StoreConfiguration
    private let migrations: [Migration]

    /// Connects in the background, at once.
    /// - Parameter availabilityChanged: called from a thread of the store with false when PostgreSQL can't be connected
    ///   to any more (or could not be from the beginning), and with true when it can be again.
    public convenience init(
        configuration: StoreConfiguration, logger: Logger,
        availabilityChanged: @escaping @Sendable (Bool) -> Void = { _ in }
    ) {
        self.init(
            configuration: configuration, migrations: Migration.all, logger: logger,
            availabilityChanged: availabilityChanged)
    }

    init(
        configuration: StoreConfiguration, migrations: [Migration], logger: Logger,
        availabilityChanged: @escaping @Sendable (Bool) -> Void
    ) {
        self.configuration = configuration
        self.migrations = migrations
        let known = migrations.map(\.version).max() ?? 0
        let timeout = String(Int64(configuration.statementTimeout.inMilliseconds))
        let idle = String(Int64(configuration.idleInTransactionTimeout.inMilliseconds))
        let settings = [
            ("TimeZone", "UTC"), ("client_min_messages", "error"), ("statement_timeout", timeout),
            ("lock_timeout", timeout), ("idle_in_transaction_session_timeout", idle), ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3"),
        ]
        pool = ConnectionPool(
            configuration, size: configuration.poolSize, purpose: "store", settings: settings, logger: logger,
            warmUp: { Self.warmUp($0, schema: known, deadline: $1) }, availabilityChanged: availabilityChanged)
        replica = configuration.ofReplica.map { Replica($0, settings: settings, logger: logger) }
        pool.start()
    }

    /// The schema version of this release.
    var knownSchema: Int { migrations.map(\.version).max() ?? 0 }

    /// Whether the latest attempt to connect succeeded. False until the first has ended.
    package var isAvailable: Bool { pool.isAvailable }

    /// Ends the threads and closes the connections once they have finished what they are doing.
    public func shutdown() {
        pool.shutdown()
        replica?.pool.shutdown()
    }

    /// Brings the database to the schema this release knows. Safe to call from several nodes at once, and again.
    /// - Throws: `.schemaTooNew` when a newer release has migrated it.
    public func migrate() async throws(StoreError) { try await migrate(upTo: .max) }

    /// - Parameter limit: the last version to apply, as an earlier release would.
    package func migrate(upTo limit: Int) async throws(StoreError) {
        let migrations = migrations
        // Longer than any other call: building an index may take its time, and another node may be migrating.
        try await pool.run(within: .seconds(120)) { connection, deadline throws(StoreError) in
            try Migrator.apply(migrations, upTo: limit, on: connection, deadline: deadline)
        }
    }

    /// Commits all changes in one transaction, in order, if `leader` still holds the lease with this epoch.
    /// Without changes it only checks that.
    /// - Parameter turn: for writes of desired state: rises within an epoch with each write, its repetitions apart. One
    ///   that arrives after a later turn changes nothing: without an answer, a transaction may still be on its way when
    ///   its writer has given it up. nil: in any order.
    /// - Throws: `.fenced` when not; `.outcomeUnknown` when the connection was lost or the deadline passed while the
    ///   answer was awaited; `.duplicateRequest`; anything else means that nothing was changed.
    public func write(
        _ changes: [StateChange], epoch: Epoch, leader: NodeID, turn: Int64? = nil
    ) async throws(StoreError) {
        var statements: [Statement] = [Self.fence(epoch: epoch, leader: leader)]
        if let turn { statements.append(Self.takeTurn(turn, epoch: epoch)) }
        for change in changes { statements += try change.statements(epoch: epoch) }
        let transaction = statements
        _ = try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            try connection.transaction(transaction, deadline: deadline)
        }
    }

    static func fence(epoch: Epoch, leader: NodeID) -> Statement {
        Statement("SELECT orchestry_fence($1, $2::bigint)", [.id(leader), .epoch(epoch)])
    }
}
