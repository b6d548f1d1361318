import OrchestryModel

/// What a backup holds: rows by table, each a JSON object with all its columns.
package struct BackupTables: Sendable {
    /// The schema's version.
    package var schema: Int
    package var rows: [String: [JSONValue]]
}

extension StateStore {
    /// Tables of control state, in an order in which they can be filled, and which of their rows. What is observed or
    /// recorded (instances, nodes, metrics, events, decisions, answers) is not control state. A table that this schema does
    /// not have is left out.
    private static let backedUp: [(table: String, condition: String)] = [
        ("applications", "deleted_at IS NULL"),
        ("revisions", "app_name IN (SELECT name FROM applications WHERE deleted_at IS NULL)"),
        ("rollouts", "app_name IN (SELECT name FROM applications WHERE deleted_at IS NULL)"), ("secrets", "TRUE"),
        ("settings", "TRUE"), ("api_tokens", "revoked_at IS NULL"), ("cluster_nodes", "cordoned"),
    ]

    /// Reads all control state as it is at one moment.
    package func backup() async throws(StoreError) -> BackupTables {
        try await run { connection, deadline throws(StoreError) in
            var present: [(table: String, condition: String)] = []
            for entry in Self.backedUp {
                let found = try connection.run(
                    Statement("SELECT to_regclass($1) IS NOT NULL", [.text(entry.table)]), deadline: deadline)
                if try found.first?.bool(0) == true { present.append(entry) }
            }
            let statements =
                [Statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"), Self.schemaVersion]
                + present.map {
                    Statement("SELECT row_to_json(t)::text FROM \($0.table) AS t WHERE \($0.condition) ORDER BY 1")
                }
            let results = try connection.transaction(statements, deadline: deadline)
            var tables = BackupTables(schema: try results[1][0].int(0), rows: [:])
            for (entry, rows) in zip(present, results.dropFirst(2)) {
                var values: [JSONValue] = []
                for row in rows { values.append(try row.jsonValue(0)) }
                tables.rows[entry.table] = values
            }
            return tables
        }
    }

    /// Puts a backup where the leader finds it. Changes no state, so it is not fenced.
    package func stageRestore(_ checksum: String, document: JSONValue) async throws(StoreError) {
        let statement = Statement(
            """
            INSERT INTO staged_restores (checksum, document, staged_at) VALUES ($1, $2::jsonb, NOW())
            ON CONFLICT (checksum) DO UPDATE SET staged_at = NOW()
            """, [.text(checksum), .json(JSONText.encode(document))])
        try await run { connection, deadline throws(StoreError) in
            _ = try connection.run(statement, deadline: deadline)
        }
    }

    /// - Returns: nil when there is none with this checksum (any more).
    package func stagedRestore(_ checksum: String) async throws(StoreError) -> JSONValue? {
        let statement = Statement("SELECT document FROM staged_restores WHERE checksum = $1", [.text(checksum)])
        return try await read(statement) { row throws(StoreError) in try row.jsonValue(0) }.first
    }

    /// Staged by clients that never came for the restore itself.
    static let forgetStagedRestores = Statement(
        "DELETE FROM staged_restores WHERE staged_at < NOW() - interval '1 hour'")

    /// The schema version of this release.
    package var schema: Int { knownSchema }
}

/// What is taken over from a backup.
public struct RestoredState: Sendable {
    /// Of the backup, already without what must stay as it is.
    public var rows: [String: [JSONValue]]
    public var apps: [AppName]
    public var secrets: [SecretName]
    public var cordoned: [NodeID]
    /// Under which the backup was staged.
    public var checksum: String
    public init(
        rows: [String: [JSONValue]], apps: [AppName], secrets: [SecretName], cordoned: [NodeID], checksum: String
    ) {
        self.rows = rows
        self.apps = apps
        self.secrets = secrets
        self.cordoned = cordoned
        self.checksum = checksum
    }
}

extension StateChange {
    /// Apps and secrets of these names are not there, or deleted: what is left of such makes way.
    static func restore(_ state: RestoredState) -> [Statement] {
        func list(_ names: [String]) -> Statement.Parameter {
            .json(JSONText.encode(.array(names.map { .string($0) })))
        }
        let among = "IN (SELECT jsonb_array_elements_text($1::jsonb))"
        let apps = list(state.apps.map(\.rawValue))
        var statements = [
            Statement("DELETE FROM rollouts WHERE app_name \(among)", [apps]),
            Statement("DELETE FROM revisions WHERE app_name \(among)", [apps]),
            Statement("DELETE FROM secrets WHERE name \(among)", [list(state.secrets.map(\.rawValue))]),
        ]
        for table in ["applications", "revisions", "rollouts", "secrets", "settings", "api_tokens"] {
            guard let rows = state.rows[table], !rows.isEmpty else { continue }
            statements.append(
                Statement(
                    "SELECT orchestry_restore_rows($1, $2::jsonb)",
                    [.text(table), .json(JSONText.encode(.array(rows)))]))
        }
        return statements + [
            // Nothing of it runs here: there is nothing to go on with.
            Statement(
                """
                UPDATE rollouts SET state = 'superseded', ended_at = clock_timestamp(), paused = FALSE,
                    reason = 'the app was restored from a backup'
                WHERE ended_at IS NULL AND app_name \(among)
                """, [apps]),
            Statement(
                "UPDATE cluster_nodes SET cordoned = TRUE WHERE id \(among)", [list(state.cordoned.map(\.rawValue))]),
            Statement("DELETE FROM staged_restores WHERE checksum = $1", [.text(state.checksum)]),
        ]
    }
}
