import OrchestryModel

/// A table that grows with time: one partition a day, dropped as a whole when it is past its retention.
package enum HistoryTable: String, CaseIterable, Sendable {
    case events, metrics
}

/// One partition of a table, from `starts` until before `ends`.
package struct HistoryPartition: Hashable, Sendable {
    package var table: HistoryTable
    /// As PostgreSQL names it: `events_20231114`.
    package var name: String
    package var starts: WallTime
    package var ends: WallTime
    package init(table: HistoryTable, name: String, starts: WallTime, ends: WallTime) {
        self.table = table
        self.name = name
        self.starts = starts
        self.ends = ends
    }
}

extension StateStore {
    /// How long answers are kept under their idempotency keys.
    private static let keptRequests = Duration.seconds(86_400)

    /// Makes the partitions of yesterday, for rows that come late, to two days ahead, and forgets old idempotency keys. To
    /// be called by the leader, about every ten minutes; a late call costs nothing, because rows that no partition covers go
    /// to a default partition, and from there to the right one when it is made.
    /// - Returns: how many partitions were missing.
    /// - Throws: as `write`.
    package func maintain(now: WallTime, epoch: Epoch, leader: NodeID) async throws(StoreError) -> Int {
        let oldest = WallTime(milliseconds: now.milliseconds - Int64(Self.keptRequests.inMilliseconds))
        let statements =
            [
                Self.fence(epoch: epoch, leader: leader),
                Statement("DELETE FROM requests WHERE created_at < \(SQL.timestamp(1))", [.time(oldest)]),
                Self.forgetStagedRestores,
            ]
            + HistoryTable.allCases.map { table in
                Statement(
                    """
                    SELECT count(*) FILTER (WHERE orchestry_add_partition('\(table)',
                        date_trunc('day', \(SQL.timestamp(1)), 'UTC') + step * interval '24 hours', interval '24 hours'))
                    FROM generate_series(-1, 2) AS step
                    """,
                    [.time(now)])
            }
        return try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            let results = try connection.transaction(statements, deadline: deadline)
            var added = 0
            for result in results.dropFirst(3) { added += try result[0].int(0) }
            return added
        }
    }

    /// The partitions that hold nothing from `cutoff` or later, oldest first.
    /// - Throws: as `write`.
    package func expiredPartitions(
        of table: HistoryTable, before cutoff: WallTime, epoch: Epoch, leader: NodeID
    ) async throws(StoreError) -> [HistoryPartition] {
        let statements = [
            Self.fence(epoch: epoch, leader: leader),
            Statement(
                """
                SELECT child, \(SQL.milliseconds("starts")), \(SQL.milliseconds("ends"))
                FROM orchestry_expired_partitions('\(table)', \(SQL.timestamp(1)))
                """, [.time(cutoff)]),
        ]
        return try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            var found: [HistoryPartition] = []
            for row in try connection.transaction(statements, deadline: deadline)[1] {
                found.append(
                    HistoryPartition(
                        table: table, name: try row.text(0), starts: try row.time(1), ends: try row.time(2)))
            }
            return found
        }
    }

    /// Rows of a partition in the order of their ids, each as one line of JSON with all its columns.
    /// - Parameters:
    ///   - id: only rows above it; nil: from the first.
    ///   - limit: at least 1.
    package func rows(
        of partition: HistoryPartition, after id: Int64?, limit: Int
    ) async throws(StoreError) -> [(id: Int64, line: String)] {
        let statement = Statement(
            """
            SELECT id, row_to_json(t)::text FROM \(Self.quoted(partition.name)) AS t
            WHERE $1::bigint IS NULL OR id > $1::bigint ORDER BY id LIMIT $2::bigint
            """, [id.map { .int($0) } ?? nil, .int(limit)])
        return try await read(statement) { row throws(StoreError) in (id: try row.int64(0), line: try row.text(1)) }
    }

    /// Drops a partition.
    /// - Parameter rows: only while it holds so many; nil: whatever it holds.
    /// - Returns: whether it is gone (before, or now); false: it holds other rows than that.
    /// - Throws: as `write`.
    package func drop(
        _ partition: HistoryPartition, holding rows: Int?, epoch: Epoch, leader: NodeID
    ) async throws(StoreError) -> Bool {
        // The fence comes last: it keeps the lease from being renewed until the end, and counting may take seconds.
        let statements = [
            Statement(
                "SELECT orchestry_drop_partition($1, $2, $3::bigint)",
                [.text(partition.table.rawValue), .text(partition.name), .int(rows)]),
            Self.fence(epoch: epoch, leader: leader),
        ]
        return try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            try connection.transaction(statements, deadline: deadline)[0][0].bool(0)
        }
    }

    /// A name as SQL takes it literally.
    static func quoted(_ name: String) -> String { "\"" + name.replacing("\"", with: "\"\"") + "\"" }
}
