import OrchestryModel

/// Tokens by their hashes; nothing here has ever seen one.
extension StateChange {
    static func save(_ token: APIToken) -> Statement {
        Statement(
            """
            INSERT INTO api_tokens (name, token_hash, role, verbs, apps, created_at, created_by, expires_at)
            SELECT $1::varchar, $2::varchar, $3, $4::jsonb, $5::jsonb, \(SQL.timestamp(6)), $7, \(SQL.timestamp(8))
            WHERE NOT EXISTS (SELECT FROM api_tokens
                WHERE name = $1::varchar AND token_hash = $2::varchar AND revoked_at IS NULL)
            """,
            [
                .id(token.name), .text(token.hash), .text(token.grant.role.rawValue),
                .optionalJSON(token.grant.verbs.map { list($0.map(\.rawValue)) }),
                .optionalJSON(token.grant.apps.map { list($0.map(\.rawValue)) }), .time(token.createdAt),
                .text(token.createdBy), .time(token.expiresAt),
            ])
    }

    static func revokeToken(_ hash: String, by actor: String, at time: WallTime) -> Statement {
        Statement(
            """
            UPDATE api_tokens SET revoked_at = \(SQL.timestamp(2)), revoked_by = $3
            WHERE token_hash = $1 AND revoked_at IS NULL
            """, [.text(hash), .time(time), .text(actor)])
    }

    private static func list(_ words: [String]) -> String {
        JSONText.encode(.array(words.map { .string($0) }))
    }
}

extension StateStore {
    /// Those not revoked, expired ones too, by name.
    package func tokens() async throws(StoreError) -> [APIToken] {
        try await read(Self.allTokens, Self.token).compactMap(\.self)
    }

    /// Whether a token with this hash was ever made, revoked ones included.
    package func knowsToken(_ hash: String) async throws(StoreError) -> Bool {
        try await read(Statement("SELECT FROM api_tokens WHERE token_hash = $1", [.text(hash)])) { _ in true }.first
            ?? false
    }

    static let allTokens = Statement(
        """
        SELECT name, token_hash, role, verbs, apps, \(SQL.milliseconds("created_at")), created_by,
            \(SQL.milliseconds("expires_at")), \(SQL.milliseconds("last_used_at"))
        FROM api_tokens WHERE revoked_at IS NULL ORDER BY name
        """)

    /// nil: a later release gave it a role or a verb that this one does not know. It is then no token here, and must not
    /// keep a leader from reading the rest.
    @Sendable static func token(_ row: Row) throws(StoreError) -> APIToken? {
        guard let role = Role(rawValue: try row.text(2)) else { return nil }
        var grant = AccessGrant(role: role)
        if row.values[3] != nil {
            let words = try row.json(3, as: [String].self)
            grant.verbs = words.compactMap(Verb.init)
            guard grant.verbs?.count == words.count else { return nil }
        }
        if row.values[4] != nil { grant.apps = try row.json(4, as: [AppName].self) }
        return APIToken(
            name: TokenName(unchecked: try row.text(0)), hash: try row.text(1), grant: grant,
            createdAt: try row.time(5), createdBy: try row.text(6), expiresAt: try row.optionalTime(7),
            lastUsedAt: try row.optionalTime(8))
    }

    /// When tokens were last used, by hash. Not fenced: any node says it, it only ever rises, and nothing is decided by
    /// it.
    package func noteTokenUse(_ times: [String: WallTime]) async throws(StoreError) {
        guard !times.isEmpty else { return }
        let batch = JSONValue.array(
            times.sorted { $0.key < $1.key }.map {
                ["hash": .string($0.key), "time": .int($0.value.storable.milliseconds)]
            })
        let statement = Statement(
            """
            UPDATE api_tokens SET last_used_at = GREATEST(last_used_at, to_timestamp(b.time / 1000.0))
            FROM jsonb_to_recordset($1::jsonb) AS b (hash text, time bigint) WHERE token_hash = b.hash
            """, [.json(JSONText.encode(batch))])
        _ = try await run { connection, deadline throws(StoreError) in
            try connection.run(statement, deadline: deadline)
        }
    }
}
