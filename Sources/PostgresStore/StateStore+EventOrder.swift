import OrchestryModel

/// Events in the order in which they became visible, which is that of their ids (migration 12 says why): what a reader
/// that follows them needs. It misses none and gets none twice by asking for what is above the last id it has.
extension StateStore {
    /// Oldest first, with ids above `id`: all there are, or the first `limit`.
    /// - Parameter id: 0: from the oldest that is kept.
    package func events(after id: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        let statement = Statement(
            "\(Self.selectEvents) WHERE id > $1::bigint ORDER BY id LIMIT $2::bigint",
            [.int(id), .int(max(limit, 0))])
        var events: [StoredEvent] = []
        for row in try await readWhileNothingMoves(statement) { events.append(try Self.event(row)) }
        return events
    }

    /// What is recorded from now on has higher ids; 0: there is none.
    package func newestEventID() async throws(StoreError) -> Int64 {
        let rows = try await readWhileNothingMoves(Statement("SELECT COALESCE(max(id), 0) FROM events"))
        guard let row = rows.first else { throw .invalidData("max(events.id)") }
        return try row.int64(0)
    }

    /// The second statement is planned when nobody is making a partition, and nobody begins to before it has ended.
    private func readWhileNothingMoves(_ statement: Statement) async throws(StoreError) -> [Row] {
        let lock = Statement("SELECT pg_advisory_xact_lock_shared(8030593372842460518)")
        return try await run { connection, deadline throws(StoreError) in
            try connection.transaction([lock, statement], deadline: deadline)[1]
        }
    }

    static let selectEvents =
        """
        SELECT id, node_id, sequence, \(SQL.milliseconds("timestamp")), app_name, event_type, message, details
        FROM events
        """

    static func event(_ row: Row) throws(StoreError) -> StoredEvent {
        StoredEvent(
            id: try row.int64(0),
            event: Event(
                node: NodeID(unchecked: try row.text(1)), sequence: try row.int64(2), time: try row.time(3),
                app: row.values[4].map { AppName(unchecked: $0) }, kindName: try row.text(5),
                message: try row.text(6), details: try row.jsonValue(7)))
    }
}
