import OrchestryModel

/// Secrets in their sealed form; nothing here can open one.
extension StateChange {
    /// Versions that stay although no app uses them, so that a rollback finds what its revision used.
    private static let keptVersions = 10

    static func save(_ secret: SealedSecret, by actor: String, at time: WallTime) -> [Statement] {
        [
            // The same version again: sealed anew under another key.
            Statement(
                """
                INSERT INTO secrets (name, version, key_id, box, created_at, created_by)
                VALUES ($1, $2::integer, $3, $4, \(SQL.timestamp(5)), $6)
                ON CONFLICT (name, version) DO UPDATE SET key_id = EXCLUDED.key_id, box = EXCLUDED.box
                """,
                [
                    .id(secret.name), .int32(secret.version), .text(secret.keyID), .text(secret.box), .time(time),
                    .text(actor),
                ]),
            Statement(
                """
                DELETE FROM secrets s WHERE name = $1 AND version <= $2::integer - \(keptVersions)
                    AND NOT EXISTS (SELECT FROM applications a
                        WHERE a.deleted_at IS NULL AND (a.secret_versions ->> $1::text)::integer = s.version)
                """, [.id(secret.name), .int32(secret.version)]),
        ]
    }

    static func removeSecret(_ name: SecretName) -> [Statement] {
        [
            Statement(
                "DELETE FROM secrets WHERE name = $1 AND version < (SELECT max(version) FROM secrets WHERE name = $1)",
                [.id(name)]),
            Statement("UPDATE secrets SET box = NULL WHERE name = $1", [.id(name)]),
        ]
    }

    static func pin(_ secrets: [SealedSecret], revision: Int, of app: AppName) -> Statement {
        Statement(
            "UPDATE revisions SET secret_versions = $3::jsonb WHERE app_name = $1 AND revision = $2::integer",
            [.id(app), .int32(revision), .json(pins(secrets))])
    }

    /// `{"name": version}`.
    static func pins(_ secrets: [SealedSecret]) -> String {
        JSONText.encode(
            .object(
                Dictionary(
                    secrets.map { ($0.name.rawValue, JSONValue($0.version)) }, uniquingKeysWith: { first, _ in first }))
        )
    }
}

extension StateStore {
    /// The newest version of each secret that is not removed, by name.
    package func secrets() async throws(StoreError) -> [SecretSummary] { try await read(Self.allSecrets, Self.secret) }

    static let allSecrets = Statement(
        """
        SELECT DISTINCT ON (name) name, version, key_id, box, \(SQL.milliseconds("created_at")), created_by,
            \(SQL.milliseconds("min(created_at) OVER (PARTITION BY name)"))
        FROM secrets WHERE box IS NOT NULL ORDER BY name, version DESC
        """)

    @Sendable static func secret(_ row: Row) throws(StoreError) -> SecretSummary {
        SecretSummary(
            sealed: SealedSecret(
                name: SecretName(unchecked: try row.text(0)), version: try row.int(1), keyID: try row.text(2),
                box: try row.text(3)),
            createdAt: try row.time(6), updatedAt: try row.time(4), updatedBy: try row.text(5))
    }

    /// The highest version a secret of this name ever had, removed or not; 0: none. The next one is one higher.
    package func lastSecretVersion(_ name: SecretName) async throws(StoreError) -> Int {
        let statement = Statement("SELECT COALESCE(max(version), 0) FROM secrets WHERE name = $1", [.id(name)])
        return try await read(statement) { row throws(StoreError) in try row.int(0) }.first ?? 0
    }
}
