import AccessControl
import OrchestryModel

extension StateStore {
    /// - Parameters:
    ///   - app: nil: all, and what is about no app.
    ///   - after: with a number, oldest first from the entry after that one; nil: newest first.
    ///   - limit: at least 0.
    /// - Returns: the entries, and the head on record when they were read.
    package func audit(
        app: AppName?, after: Int64?, limit: Int
    ) async throws(StoreError) -> (entries: [AuditEntry], head: AuditHead) {
        let choice =
            after == nil
            ? "$2::bigint IS NULL ORDER BY seq DESC LIMIT $3::bigint"
            : "seq > $2::bigint ORDER BY seq LIMIT $3::bigint"
        // One statement, one picture: the entries and the head belong together.
        let statement = Statement(
            """
            SELECT head.seq, encode(head.hash, 'hex'), found.seq, found.record, encode(found.hash, 'hex')
            FROM audit_head AS head LEFT JOIN LATERAL (
                SELECT * FROM audit WHERE ($1::text IS NULL OR record::jsonb ->> 'app' = $1) AND \(choice)) AS found ON TRUE
            WHERE head.id = 1 ORDER BY found.seq \(after == nil ? "DESC" : "")
            """, [.text(app?.rawValue), after.map { .int($0) } ?? nil, .int(max(limit, 0))])
        return try await run { connection, deadline throws(StoreError) in
            let rows = try connection.run(statement, deadline: deadline)
            guard let first = rows.first else { throw .invalidData("audit_head is empty") }
            var entries: [AuditEntry] = []
            for row in rows where row.values[2] != nil {
                entries.append(AuditEntry(sequence: try row.int64(2), record: try row.text(3), hash: try row.text(4)))
            }
            return (entries, AuditHead(sequence: try first.int64(0), hash: try first.text(1)))
        }
    }
}

extension StateChange {
    /// The record's canonical text is what is hashed.
    static func audit(_ record: JSONValue) -> Statement {
        Statement("SELECT orchestry_audit($1)", [.text(JSONText.encode(record))])
    }

    /// Those of a batch of events that are notes for the audit trail, as far as they were not taken over before. After the
    /// rows have been appended and before progress is advanced. `via`: whose outbox a note came from, whatever it says.
    static let auditOfBatch = """
        SELECT count(orchestry_audit(note)) FROM (
            SELECT (details -> 'audit' || jsonb_build_object('via', $1::text))::text AS note
            FROM jsonb_to_recordset($2::jsonb) AS r (seq bigint, details jsonb)
            WHERE seq > (SELECT last_seq FROM outbox_progress WHERE node_id = $1 AND stream = 'events')
                AND details ? 'audit'
            ORDER BY seq) AS notes
        """
}
