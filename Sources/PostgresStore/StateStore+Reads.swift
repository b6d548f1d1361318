import OrchestryModel

/// Reads, not fenced: they may be a moment behind. All throw `.unavailable`, `.query` or `.invalidData`.
extension StateStore {
    /// Apps that are not deleted, by name.
    package func applications() async throws(StoreError) -> [Application] {
        try await read(Self.allApplications, Self.application)
    }

    /// - Returns: nil when there is none, or it is deleted.
    package func application(_ name: AppName) async throws(StoreError) -> Application? {
        try await read(
            Statement("\(Self.selectApplication) WHERE deleted_at IS NULL AND name = $1", [.id(name)]), Self.application
        ).first
    }

    /// The highest revision an app of this name ever had, deleted or not; 0: none. The next one is one higher.
    package func lastRevision(of name: AppName) async throws(StoreError) -> Int {
        let statement = Statement(
            """
            SELECT GREATEST((SELECT max(revision) FROM applications WHERE name = $1),
                (SELECT max(revision) FROM revisions WHERE app_name = $1), 0)
            """, [.id(name)])
        return try await read(statement) { row throws(StoreError) in try row.int(0) }.first ?? 0
    }

    /// Newest first; of deleted apps too.
    package func revisions(of app: AppName) async throws(StoreError) -> [StoredRevision] {
        let statement = Statement(
            """
            SELECT revision, document, spec, \(SQL.milliseconds("created_at")), orchestry_secrets(secret_versions),
                image_digest
            FROM revisions WHERE app_name = $1 ORDER BY revision DESC
            """, [.id(app)])
        return try await read(statement) { row throws(StoreError) in
            StoredRevision(
                revision: try row.int(0), document: try row.jsonValue(1), spec: try row.json(2, as: AppSpec.self),
                secrets: try row.json(4, as: [SealedSecret].self), imageDigest: row.values[5],
                createdAt: try row.time(3))
        }
    }

    /// What became of an app's revisions, newest first.
    package func rollouts(of app: AppName) async throws(StoreError) -> [RolloutRecord] {
        try await read(Self.rollouts(of: app), Self.rollout)
    }

    /// By instance.
    package func instances() async throws(StoreError) -> [InstanceStatus] {
        try await read(Self.allInstances, Self.instance)
    }

    /// Newest first.
    /// - Parameters:
    ///   - app: nil: all apps and the cluster.
    ///   - among: only of these apps; nil: of all, and of none.
    ///   - limit: at least 0.
    ///   - beforeID: only events older than this one, for paging.
    package func events(
        app: AppName?, among: [AppName]? = nil, limit: Int, beforeID: Int64? = nil
    ) async throws(StoreError) -> [StoredEvent] {
        let statement = Statement(
            """
            \(Self.selectEvents)
            WHERE ($1::text IS NULL OR app_name = $1)
                AND ($4::jsonb IS NULL OR $4::jsonb ? app_name)
                AND ($3::bigint IS NULL
                    OR (timestamp, id) < (SELECT timestamp, id FROM events WHERE id = $3::bigint))
            ORDER BY timestamp DESC, id DESC LIMIT $2::bigint
            """,
            [
                .text(app?.rawValue), .int(max(limit, 0)), beforeID.map { .int($0) } ?? nil,
                .optionalJSON(among.map { JSONText.encode(.array($0.map { .string($0.rawValue) })) }),
            ])
        return try await readRecent(statement, Self.event)
    }

    /// Newest first.
    /// - Parameters:
    ///   - app: nil: all apps.
    ///   - limit: at least 0.
    package func decisions(app: AppName?, limit: Int) async throws(StoreError) -> [StoredDecision] {
        let statement = Statement(
            """
            SELECT id, node_id, sequence, epoch, \(SQL.milliseconds("timestamp")), app_name, from_replicas, to_replicas,
                reason, triggered_by, metrics, explanation
            FROM scaling_decisions WHERE $1::text IS NULL OR app_name = $1
            ORDER BY timestamp DESC, id DESC LIMIT $2::bigint
            """, [.text(app?.rawValue), .int(max(limit, 0))])
        return try await readRecent(statement) { row throws(StoreError) in
            StoredDecision(
                id: try row.int64(0),
                decision: ScalingDecision(
                    node: NodeID(unchecked: try row.text(1)), sequence: try row.int64(2), epoch: try row.epoch(3),
                    time: try row.time(4), app: AppName(unchecked: try row.text(5)), fromReplicas: try row.int(6),
                    toReplicas: try row.int(7), reason: try row.text(8), triggeredBy: try row.text(9),
                    metrics: try row.jsonValue(10), explanation: try row.jsonValue(11)))
        }
    }

    /// An app's rows of `metrics` with `time` at or after `since`, oldest first, at most `limit` of the newest.
    package func metrics(app: AppName, since: WallTime, limit: Int) async throws(StoreError) -> [MetricRow] {
        let statement = Statement(
            """
            SELECT \(SQL.milliseconds("timestamp")), cpu_percent, memory_percent, rps, latency_p95_ms, active_connections,
                replicas
            FROM metrics WHERE app_name = $1 AND timestamp >= \(SQL.timestamp(2))
            ORDER BY timestamp DESC, id DESC LIMIT $3::bigint
            """, [.id(app), .time(since), .int(max(limit, 0))])
        return try await readRecent(statement) { row throws(StoreError) in
            MetricRow(
                app: app, time: try row.time(0), cpuPercent: row.values[1].flatMap(Double.init),
                memoryPercent: row.values[2].flatMap(Double.init), rps: row.values[3].flatMap(Double.init),
                latencyP95Milliseconds: row.values[4].flatMap(Double.init),
                activeConnections: try row.optionalInt(5), replicas: try row.optionalInt(6))
        }.reversed()
    }

    /// The answer that was given to a write with this idempotency key; nil: none was carried out (in the last day).
    package func request(_ key: String) async throws(StoreError) -> ControlResponse? {
        try await storedRequest(key)?.response
    }

    /// The same, with who asked and the fingerprint of the request that was answered; empty: it has none.
    package func storedRequest(
        _ key: String
    ) async throws(StoreError) -> (response: ControlResponse, fingerprint: String, actor: String)? {
        let statement = Statement("SELECT response, actor FROM requests WHERE key = $1", [.text(key)])
        return try await read(statement) { row throws(StoreError) in
            let stored = try row.jsonValue(0)
            guard let status = stored["status"]?.intValue, let body = stored["body"] else {
                throw .invalidData("requests.response")
            }
            let response = ControlResponse(
                status: status, body: body, retryAfterSeconds: stored["retryAfterSeconds"]?.intValue)
            return (
                response: response, fingerprint: stored["fingerprint"]?.stringValue ?? "", actor: try row.text(1)
            )
        }.first
    }

    /// nil while nobody has led.
    package func leaseRow() async throws(StoreError) -> LeaseRow? {
        try await run { connection, deadline throws(StoreError) in
            try LeaseStatements.row(of: connection.run(LeaseStatements.read, deadline: deadline))
        }
    }

    /// By id.
    package func nodes() async throws(StoreError) -> [StoredNode] {
        try await read(Self.allNodes, Self.node)
    }

    /// How much of a node's outbox PostgreSQL has.
    package func appliedProgress(_ node: NodeID) async throws(StoreError) -> OutboxProgress {
        let statement = Statement("SELECT stream, last_seq FROM outbox_progress WHERE node_id = $1", [.id(node)])
        let rows = try await read(statement) { row throws(StoreError) in (try row.text(0), try row.int64(1)) }
        func last(_ stream: String) -> Int64 { rows.first { $0.0 == stream }?.1 ?? 0 }
        return OutboxProgress(events: last("events"), decisions: last("decisions"))
    }

    // MARK: -

    func read<Value: Sendable>(
        _ statement: Statement, _ decode: @escaping @Sendable (Row) throws(StoreError) -> Value
    ) async throws(StoreError) -> [Value] {
        try await run { connection, deadline throws(StoreError) in
            var values: [Value] = []
            for row in try connection.run(statement, deadline: deadline) { values.append(try decode(row)) }
            return values
        }
    }

    /// As `read`, from the replica where there is one that keeps up: for records of what has happened, not for state
    /// that something is decided by.
    func readRecent<Value: Sendable>(
        _ statement: Statement, _ decode: @escaping @Sendable (Row) throws(StoreError) -> Value
    ) async throws(StoreError) -> [Value] {
        guard let rows = await replica?.rows(statement) else { return try await read(statement, decode) }
        var values: [Value] = []
        for row in rows { values.append(try decode(row)) }
        return values
    }

    func run<Value: Sendable>(
        _ body: @escaping @Sendable (DatabaseConnection, Deadline) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        do throws(StoreError) {
            return try await pool.run(within: configuration.operationTimeout, body)
        } catch .outcomeUnknown(let reason) {
            throw .unavailable(reason)  // A read changes nothing.
        } catch {
            throw error
        }
    }
}
