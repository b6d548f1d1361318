import Logging
import OrchestryModel

/// The statements on `leader_lease` (proto-spec/lease.md, L3, L4, L7, L9), on a connection and a thread of their own, so that no
/// query can starve the lease. Reconnects by itself. PostgreSQL's `clock_timestamp()` is the only clock that decides
/// here.
package final class LeaseConnection: Sendable {
    private let pool: ConnectionPool
    private let statements: LeaseStatements
    private let logger: Logger

    /// - Parameters:
    ///   - hostname: for the operator, in the row.
    ///   - apiURL: where this node's REST facade is, in the row.
    ///   - leaseTTL: how long an acquired or renewed lease lasts by PostgreSQL's clock.
    package init(
        configuration: StoreConfiguration, me: NodeID, hostname: String, apiURL: String, leaseTTL: Duration,
        logger: Logger
    ) {
        statements = LeaseStatements(me: me, hostname: hostname, apiURL: apiURL, ttl: leaseTTL)
        self.logger = logger
        var own = configuration
        // An attempt that takes longer than this comes too late for the lease anyway.
        own.connectTimeout = min(configuration.connectTimeout, leaseTTL / 4)
        own.operationTimeout = leaseTTL
        pool = ConnectionPool(
            own, size: 1, purpose: "lease",
            settings: [
                ("TimeZone", "UTC"), ("client_min_messages", "error"),
                ("lock_timeout", String(LeaseStatements.lockWaitMilliseconds)),
                ("statement_timeout", String(max(Int64(leaseTTL.inMilliseconds), 100))),
            ],
            logger: logger, availabilityChanged: { _ in })
        pool.start()
    }

    /// Carries out one statement.
    /// - Parameter timeout: the answer comes within it (and a scheduling delay), whatever happens. A statement that was
    ///   sent may take effect later: that is what `seq` guards against.
    package func perform(_ request: LeaseRequest, timeout: Duration) async -> LeaseOutcome {
        let statements = statements
        let logger = logger
        do throws(StoreError) {
            return try await pool.run(within: timeout) { connection, deadline throws(StoreError) in
                try withLeaseTable(on: connection, deadline: deadline) { () throws(StoreError) in
                    func attempt() throws(StoreError) -> LeaseOutcome? {
                        try statements.execute(request.statement, on: connection, deadline: deadline, logger: logger)
                    }
                    if let outcome = try attempt() { return outcome }
                    // Refused, maybe only because nobody has noticed a promotion yet.
                    let noticed = try connection.run(statements.notePromotion, deadline: deadline)
                    if let row = noticed.first {
                        let timeline = try row.int(0)
                        logger.warning(
                            "PostgreSQL was promoted: nobody takes over the lease or leads alone for a while",
                            metadata: ["timeline": "\(timeline)"])
                        if let outcome = try attempt() { return outcome }
                    }
                    return .refused(
                        try LeaseStatements.row(of: connection.run(LeaseStatements.read, deadline: deadline)))
                }
            }
        } catch {
            return .failed(error.description)
        }
    }

    /// - Returns: nil when nobody has led yet, and when PostgreSQL does not answer within `timeout`.
    package func readRow(timeout: Duration) async -> LeaseRow? {
        // Both mean the same to the caller: there is no row to go by.
        try? await pool.run(within: timeout) { connection, deadline throws(StoreError) in
            try LeaseStatements.row(of: connection.run(LeaseStatements.read, deadline: deadline))
        }
    }

    /// Ends the thread and closes the connection once the statement at work has ended. Does not release the lease.
    package func shutdown() { pool.shutdown() }
}

/// Runs `body`; where the lease's table does not exist yet, or lacks columns, makes them and tries again. An election comes before the
/// leader that would migrate the database.
private func withLeaseTable(
    on connection: DatabaseConnection, deadline: Deadline, _ body: () throws(StoreError) -> LeaseOutcome
) throws(StoreError) -> LeaseOutcome {
    do throws(StoreError) {
        return try body()
    } catch .query(sqlState: "42P01" /* no such table */, message: _) {
        try Migrator.apply(upTo: Migration.leadership, on: connection, deadline: deadline)
        return try body()
    } catch .query(sqlState: "42703" /* no such column: an earlier release's table */, message: _) {
        try Migrator.apply(upTo: Migration.leadership, on: connection, deadline: deadline)
        return try body()
    } catch {
        throw error
    }
}

/// A takeover changes the row's key, so it waits for every fenced transaction. Each wait is short and repeated; between
/// two waits, transactions whose client has gone silent are ended: a frozen former leader must not block its successor.
private func takeOver(
    _ statement: Statement, on connection: DatabaseConnection, deadline: Deadline, logger: Logger
) throws(StoreError) -> [Row] {
    while true {
        do throws(StoreError) {
            return try connection.run(statement, deadline: deadline)
        } catch .query(sqlState: "55P03", message: _) where ContinuousClock.now < deadline {
            let ended = try connection.run(LeaseStatements.endSilentTransactions, deadline: deadline)
            if !ended.isEmpty {
                logger.warning("ended a silent client's transaction", metadata: ["count": "\(ended.count)"])
            }
        } catch {
            throw error
        }
    }
}

/// The SQL of the lease, and how to read the row.
struct LeaseStatements: Sendable {
    let me: NodeID
    let hostname: String
    let apiURL: String
    let ttl: Duration

    /// How long one attempt to take over waits for fenced transactions.
    static let lockWaitMilliseconds = 200

    /// Carries out one statement.
    /// - Returns: nil when no row was changed.
    func execute(
        _ statement: LeaseRequest.Statement, on connection: DatabaseConnection, deadline: Deadline, logger: Logger
    ) throws(StoreError) -> LeaseOutcome? {
        switch statement {
        case .acquire(let votesGranted, let highestEpoch):
            let statement = acquire(votesGranted: votesGranted, highestEpoch: highestEpoch)
            let rows = try takeOver(statement, on: connection, deadline: deadline, logger: logger)
            return try rows.first.map { row throws(StoreError) in .acquired(try row.epoch(0)) }
        case .renew(let epoch, let seq, let mode):
            let rows = try connection.run(renew(epoch: epoch, seq: seq, mode: mode), deadline: deadline)
            return rows.isEmpty ? nil : .renewed(epoch: epoch, mode: mode)
        case .release(let epoch, let seq):
            let rows = try connection.run(release(epoch: epoch, seq: seq), deadline: deadline)
            return rows.isEmpty ? nil : .released(epoch)
        }
    }

    /// L9. What was granted before the promotion can't last longer than a TTL from here, whatever this server's clock
    /// says compared with the last one's. The floor keeps epochs that were lost from being given again: a thousand for
    /// each promotion.
    var notePromotion: Statement {
        Statement(
            """
            UPDATE leader_lease SET
                not_before = clock_timestamp() + $1::bigint * interval '1 millisecond',
                expires_at = LEAST(expires_at, clock_timestamp() + $1::bigint * interval '1 millisecond'),
                prior_expires_at = LEAST(prior_expires_at, clock_timestamp() + $1::bigint * interval '1 millisecond'),
                epoch_floor = GREATEST(epoch_floor, epoch) + 1000 * GREATEST(orchestry_timeline() - timeline, 1),
                timeline = orchestry_timeline()
            WHERE id = 1 AND timeline <> orchestry_timeline()
            RETURNING timeline
            """,
            [.milliseconds(ttl)])
    }

    /// L3. `GREATEST` with what the voters reported keeps epochs rising even if PostgreSQL lost its latest rows (a
    /// failover to a standby that lagged). `expires_at` is computed before any wait for a lock, so it can only be
    /// early.
    func acquire(votesGranted: Bool, highestEpoch: Epoch) -> Statement {
        Statement(
            """
            UPDATE leader_lease SET
                leader_id = $1, hostname = $2, api_url = $3, epoch = GREATEST(epoch, epoch_floor, $4::bigint) + 1,
                mode = 'quorum', seq = 0, prior_expires_at = GREATEST(prior_expires_at, expires_at), acquired_at = clock_timestamp(),
                renewed_at = clock_timestamp(), expires_at = clock_timestamp() + $5::bigint * interval '1 millisecond'
            WHERE id = 1 AND (expires_at <= clock_timestamp() OR (mode = 'quorum' AND $6::boolean))
                AND not_before <= clock_timestamp() AND timeline = orchestry_timeline()
            RETURNING epoch
            """,
            [
                .id(me), .text(hostname), .text(apiURL), .epoch(highestEpoch), .milliseconds(ttl), .bool(votesGranted),
            ])
    }

    /// L4. Succeeds after the expiry too, as long as nobody took over: the epoch says so. Going solo waits for the end
    /// of every earlier leader's lease; staying solo does not, because within an epoch `prior_expires_at` never
    /// changes.
    func renew(epoch: Epoch, seq: UInt64, mode: LeaseMode) -> Statement {
        Statement(
            """
            UPDATE leader_lease SET
                mode = $4, seq = $3::bigint, renewed_at = clock_timestamp(),
                expires_at = clock_timestamp() + $5::bigint * interval '1 millisecond'
            WHERE id = 1 AND leader_id = $1 AND epoch = $2::bigint AND seq < $3::bigint
                AND ($4 = 'quorum' OR ((mode = 'solo' OR clock_timestamp() >= prior_expires_at)
                    AND clock_timestamp() >= not_before))
                AND timeline = orchestry_timeline()
            RETURNING epoch
            """,
            [
                .id(me), .epoch(epoch), .int(Int64(clamping: seq)), .text(mode.rawValue), .milliseconds(ttl),
            ])
    }

    /// L7.
    func release(epoch: Epoch, seq: UInt64) -> Statement {
        Statement(
            """
            UPDATE leader_lease SET seq = $3::bigint, expires_at = clock_timestamp()
            WHERE id = 1 AND leader_id = $1 AND epoch = $2::bigint AND seq < $3::bigint
                AND timeline = orchestry_timeline()
            RETURNING epoch
            """,
            [.id(me), .epoch(epoch), .int(Int64(clamping: seq))])
    }

    static let read = Statement(
        """
        SELECT leader_id, epoch, mode, \(SQL.milliseconds("acquired_at")), \(SQL.milliseconds("renewed_at")),
            \(SQL.milliseconds("expires_at")), expires_at <= clock_timestamp(), hostname, api_url
        FROM leader_lease WHERE id = 1
        """)

    /// Ends the sessions that hold `orchestry_fence`'s lock while the server waits for their client: a transaction is
    /// sent whole, so such a client was stopped in the middle of sending. (In the middle of a pipeline neither
    /// `statement_timeout` nor `idle_in_transaction_session_timeout` counts: tried with PostgreSQL 15.) Its transaction
    /// is undone; transactions at work, or silent only for a moment, are left alone. (A session's ROW SHARE lock on the
    /// table lasts as long as its lock on the row.)
    static let endSilentTransactions = Statement(
        """
        SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'relation' AND relation = 'leader_lease'::regclass AND mode = 'RowShareLock' AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND usename = current_user AND pid <> pg_backend_pid()
            AND wait_event = 'ClientRead' AND clock_timestamp() - state_change > interval '300 milliseconds'
        """)

    /// - Returns: nil while nobody has led.
    static func row(of rows: [Row]) throws(StoreError) -> LeaseRow? {
        guard let row = rows.first, let leader = NodeID(rawValue: try row.text(0)) else { return nil }
        guard let mode = LeaseMode(rawValue: try row.text(2)) else { throw .invalidData("leader_lease.mode") }
        return LeaseRow(
            leader: leader, epoch: try row.epoch(1), mode: mode, acquiredAt: try row.time(3),
            renewedAt: try row.time(4), expiresAt: try row.time(5), expired: try row.bool(6),
            hostname: try row.text(7), apiURL: try row.text(8))
    }
}
