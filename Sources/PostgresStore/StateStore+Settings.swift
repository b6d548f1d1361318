import OrchestryModel

/// A runtime setting as it is stored.
package struct StoredSetting: Hashable, Sendable {
    package var key: String
    /// As a configuration file would have it.
    package var text: String
    package var updatedAt: WallTime
    package var updatedBy: String
    package init(key: String, text: String, updatedAt: WallTime, updatedBy: String) {
        self.key = key
        self.text = text
        self.updatedAt = updatedAt
        self.updatedBy = updatedBy
    }
}

extension StateStore {
    /// By key.
    package func settings() async throws(StoreError) -> [StoredSetting] {
        try await read(
            Statement(
                """
                SELECT key, value #>> '{}', \(SQL.milliseconds("updated_at")), updated_by FROM settings
                WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') ORDER BY key
                """)
        ) { row throws(StoreError) in
            StoredSetting(
                key: try row.text(0), text: try row.text(1), updatedAt: try row.time(2), updatedBy: try row.text(3))
        }
    }
}

extension StateChange {
    /// - Parameter value: text, a number, true or false; nil: the setting goes.
    static func save(setting key: String, _ value: JSONValue?, by actor: String, at time: WallTime) -> Statement {
        guard let value else { return Statement("DELETE FROM settings WHERE key = $1", [.text(key)]) }
        return Statement(
            """
            INSERT INTO settings (key, value, updated_at, updated_by)
            VALUES ($1, $2::jsonb, \(SQL.timestamp(3)), $4)
            ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at,
                updated_by = EXCLUDED.updated_by
            """, [.text(key), .json(JSONText.encode(value)), .time(time), .text(actor)])
    }
}
