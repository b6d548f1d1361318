import Logging
import OrchestryModel

/// The shared state in PostgreSQL. Every change is fenced: it is committed only while the writer's epoch is the
/// lease's. Reads are not.
public final class StateStore: Sendable {
    let pool: ConnectionPool
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
        pool = ConnectionPool(
            configuration, size: configuration.poolSize, purpose: "store",
            settings: """
                SET TimeZone = 'UTC'; SET client_min_messages = error;
                SET statement_timeout = \(Int64(configuration.statementTimeout.inMilliseconds));
                SET lock_timeout = \(Int64(configuration.statementTimeout.inMilliseconds));
                SET idle_in_transaction_session_timeout = \(Int64(configuration.idleInTransactionTimeout.inMilliseconds));
                SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
                """,
            logger: logger, warmUp: { Self.warmUp($0, schema: known, deadline: $1) },
            availabilityChanged: availabilityChanged)
        pool.start()
    }

    /// The schema version of this release.
    var knownSchema: Int { migrations.map(\.version).max() ?? 0 }

    /// Whether the latest attempt to connect succeeded. False until the first has ended.
    package var isAvailable: Bool { pool.isAvailable }

    /// Ends the threads and closes the connections once they have finished what they are doing.
    public func shutdown() { pool.shutdown() }

    /// Brings the database to the schema this release knows. Safe to call from several nodes at once, and again.
    /// - Throws: `.schemaTooNew` when a newer release has migrated it.
    public func migrate() async throws(StoreError) {
        let migrations = migrations
        // Longer than any other call: building an index may take its time, and another node may be migrating.
        try await pool.run(within: .seconds(120)) { connection, deadline throws(StoreError) in
            try Migrator.apply(migrations, on: connection, deadline: deadline)
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

    /// What `maintain` did.
    package struct Maintenance: Hashable, Sendable {
        package var partitionsAdded: Int
        package var partitionsDropped: Int
        package init(partitionsAdded: Int, partitionsDropped: Int) {
            self.partitionsAdded = partitionsAdded
            self.partitionsDropped = partitionsDropped
        }
    }

    /// Makes the partitions of the coming days and months, drops those past their retention, forgets old idempotency
    /// keys. To be called by the leader, about once an hour; a late call costs nothing, because rows that no partition
    /// covers go to a default partition, and from there to the right one when it is made.
    /// - Throws: as `write`.
    package func maintain(now: WallTime, epoch: Epoch, leader: NodeID) async throws(StoreError) -> Maintenance {
        let retention = configuration.retention
        func cutoff(_ age: Duration) -> Statement.Parameter {
            .time(WallTime(milliseconds: now.milliseconds - Int64(age.inMilliseconds)))
        }
        func add(_ table: String, unit: String) -> Statement {
            // From the previous unit, for rows that come late, to two units ahead.
            Statement(
                """
                SELECT count(*) FILTER (WHERE orchestry_add_partition('\(table)',
                    date_trunc('\(unit)', \(SQL.timestamp(1))) + step * interval '1 \(unit)', interval '1 \(unit)'))
                FROM generate_series(-1, 2) AS step
                """,
                [.time(now)])
        }
        func drop(_ table: String, unit: String, age: Duration) -> Statement {
            Statement(
                "SELECT orchestry_drop_partitions('\(table)', \(SQL.timestamp(1)), interval '1 \(unit)')", [cutoff(age)]
            )
        }
        let statements = [
            Self.fence(epoch: epoch, leader: leader),
            Statement("DELETE FROM requests WHERE created_at < \(SQL.timestamp(1))", [cutoff(retention.requests)]),
            add("events", unit: "month"), add("metrics", unit: "day"),
            drop("events", unit: "month", age: retention.events), drop("metrics", unit: "day", age: retention.metrics),
        ]
        return try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            let results = try connection.transaction(statements, deadline: deadline)
            return Maintenance(
                partitionsAdded: try results[2][0].int(0) + results[3][0].int(0),
                partitionsDropped: try results[4][0].int(0) + results[5][0].int(0))
        }
    }

    static func fence(epoch: Epoch, leader: NodeID) -> Statement {
        Statement("SELECT orchestry_fence($1, $2::bigint)", [.id(leader), .epoch(epoch)])
    }
}
