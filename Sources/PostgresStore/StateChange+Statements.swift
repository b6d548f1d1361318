import Glibc
import OrchestryModel

extension StateChange {
    /// The SQL of the change, in order.
    /// - Parameter epoch: recorded with events.
    /// - Throws: `.invalidData` for what can't be written as JSON.
    func statements(epoch: Epoch) throws(StoreError) -> [Statement] {
        switch self {
        case .saveApplication(let application): [try Self.save(application)]
        case .deleteApplication(let name, let time): [Self.delete(name, at: time)]
        case .saveRevision(let app, let revision, let document, let spec, let secrets, let digest, let time):
            [
                try Self.save(
                    revision: revision, of: app, document: document, spec: spec, secrets: secrets, digest: digest,
                    at: time)
            ]
        case .pinImage(let app, let revision, let digest):
            [
                Statement(
                    "UPDATE revisions SET image_digest = $3 WHERE app_name = $1 AND revision = $2::integer",
                    [.id(app), .int32(revision), .text(digest)])
            ]
        case .pinSecrets(let app, let revision, let secrets): [Self.pin(secrets, revision: revision, of: app)]
        case .saveSecret(let secret, let actor, let time): Self.save(secret, by: actor, at: time)
        case .removeSecret(let name): Self.removeSecret(name)
        case .saveToken(let token): [Self.save(token)]
        case .revokeToken(let hash, let actor, let time): [Self.revokeToken(hash, by: actor, at: time)]
        case .saveInstance(let status): Self.save(status)
        case .removeInstance(let instance):
            [Statement("DELETE FROM instances WHERE instance_id = $1", [.id(instance)])]
        case .appendEvents(let node, let events): Self.append(events, of: node, epoch: epoch)
        case .appendDecisions(let node, let decisions): Self.append(decisions, of: node)
        case .recordEvent(let event): [Self.record(event, epoch: epoch)]
        case .recordDecision(let decision): [Self.record(decision)]
        case .appendMetrics(let rows): Self.append(rows)
        case .saveNode(let info, let time): [Self.save(info, seenAt: time)]
        case .saveRollout(let record): [Self.save(record)]
        case .pauseRollout(let app, let revision, let isPaused): [Self.pause(app, revision, isPaused)]
        case .saveScheduling(let scheduling): [Self.save(scheduling)]
        case .endNodeDrain(let node):
            [
                Statement(
                    "UPDATE cluster_nodes SET draining = FALSE, drain_deadline = NULL WHERE id = $1", [.id(node)])
            ]
        case .restore(let state): Self.restore(state)
        case .saveSetting(let key, let value, let actor, let time):
            [Self.save(setting: key, value, by: actor, at: time)]
        case .audit(let record): [Self.audit(record)]
        case .completeRequest(let key, let response, let actor, let time, let fingerprint):
            [Self.complete(key: key, response: response, actor: actor, at: time, fingerprint: fingerprint)]
        }
    }

    private static func save(_ application: Application) throws(StoreError) -> Statement {
        Statement(
            """
            INSERT INTO applications (name, spec, status, created_at, updated_at, replicas, last_scaled_at, mode,
                document, revision, secret_versions, image_review, equal_revisions, scaling_control, deleted_at)
            VALUES ($1, $2::jsonb, $3, \(SQL.timestamp(4)), \(SQL.timestamp(5)), $6::integer, \(SQL.timestamp(7)), $8,
                $9::jsonb, $10::integer, $11::jsonb, $12::jsonb, $13::jsonb, $14::jsonb, NULL)
            ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec, status = EXCLUDED.status,
                created_at = EXCLUDED.created_at, updated_at = EXCLUDED.updated_at, replicas = EXCLUDED.replicas,
                last_scaled_at = EXCLUDED.last_scaled_at, mode = EXCLUDED.mode, document = EXCLUDED.document,
                revision = EXCLUDED.revision, secret_versions = EXCLUDED.secret_versions,
                image_review = EXCLUDED.image_review, equal_revisions = EXCLUDED.equal_revisions,
                scaling_control = EXCLUDED.scaling_control, deleted_at = NULL
            """,
            [
                .id(application.name), .json(try JSONText.encode(application.spec, what: "a specification")),
                .text(application.status.rawValue), .time(application.createdAt), .time(application.updatedAt),
                .int32(application.replicas), .time(application.lastScaledAt),
                .text(application.spec.scaling.mode.rawValue),
                .json(JSONText.encode(application.document)), .int32(application.revision),
                .json(pins(application.secrets)),
                .json(try JSONText.encode(application.imageReview, what: "a review")),
                .json(JSONText.encode(.array(application.equalRevisions.sorted().map { JSONValue($0) }))),
                .json(try JSONText.encode(application.control, what: "a scaling control")),
            ])
    }

    private static func delete(_ name: AppName, at time: WallTime) -> Statement {
        Statement(
            """
            UPDATE applications SET deleted_at = \(SQL.timestamp(2)), updated_at = \(SQL.timestamp(2)),
                status = 'stopped', replicas = 0
            WHERE name = $1 AND deleted_at IS NULL
            """,
            [.id(name), .time(time)])
    }

    /// A number taken by other content violates the primary key: two leaders' histories never mix unnoticed.
    private static func save(
        revision: Int, of app: AppName, document: JSONValue, spec: AppSpec, secrets: [SealedSecret], digest: String?,
        at time: WallTime
    ) throws(StoreError) -> Statement {
        Statement(
            """
            INSERT INTO revisions (app_name, revision, document, spec, created_at, secret_versions,
                image_digest)
            SELECT $1::varchar, $2::integer, $3::jsonb, $4::jsonb, \(SQL.timestamp(5)), $6::jsonb, $7
            WHERE NOT EXISTS (SELECT FROM revisions WHERE app_name = $1 AND revision = $2::integer
                AND document = $3::jsonb AND spec = $4::jsonb)
            """,
            [
                .id(app), .int32(revision), .json(JSONText.encode(document)),
                .json(try JSONText.encode(spec, what: "a specification")), .time(time), .json(pins(secrets)),
                .text(digest),
            ])
    }

    private static func save(_ status: InstanceStatus) -> [Statement] {
        let common: [Statement.Parameter] = [
            .id(status.instance), .text(status.state.label), .int32(status.failures), .time(status.lastProbeAt),
            .int32(status.restarts), .int32(status.exitCode), .bool(status.outOfMemory), .text(status.message),
            .time(status.startedAt), .time(status.since), .id(status.node), .int32(status.revision),
        ]
        guard let container = status.containerID, let endpoint = status.endpoint, endpoint.isStorable else {
            return [
                Statement(
                    """
                    UPDATE instances SET status = $2, failure_count = $3::integer,
                        last_health_check = \(SQL.timestamp(4)), restarts = $5::integer, exit_code = $6::integer,
                        out_of_memory = $7::boolean, message = $8, started_at = \(SQL.timestamp(9)),
                        since = \(SQL.timestamp(10)), node_id = $11, revision = $12::integer, updated_at = NOW()
                    WHERE instance_id = $1
                    """, common)
            ]
        }
        return [
            // A container belongs to one instance for ever, but a row left behind must not block its successor.
            Statement(
                "DELETE FROM instances WHERE container_id = $1 AND instance_id <> $2",
                [.text(container), .id(status.instance)]),
            Statement(
                """
                INSERT INTO instances (instance_id, status, failure_count, last_health_check, restarts, exit_code,
                    out_of_memory, message, started_at, since, node_id, revision, container_id, ip, port, app_name)
                SELECT $1, $2, $3::integer, \(SQL.timestamp(4)), $5::integer, $6::integer, $7::boolean, $8,
                    \(SQL.timestamp(9)), \(SQL.timestamp(10)), $11, $12::integer, $13, $14::inet, $15::integer, name
                FROM applications WHERE name = $16
                ON CONFLICT (instance_id) DO UPDATE SET status = EXCLUDED.status,
                    failure_count = EXCLUDED.failure_count, last_health_check = EXCLUDED.last_health_check,
                    restarts = EXCLUDED.restarts, exit_code = EXCLUDED.exit_code,
                    out_of_memory = EXCLUDED.out_of_memory, message = EXCLUDED.message,
                    started_at = EXCLUDED.started_at, since = EXCLUDED.since, node_id = EXCLUDED.node_id,
                    revision = EXCLUDED.revision, container_id = EXCLUDED.container_id, ip = EXCLUDED.ip,
                    port = EXCLUDED.port, updated_at = NOW()
                """,
                common + [.text(container), .text(endpoint.host), .int32(endpoint.port), .id(status.app)]),
        ]
    }

    private static func save(_ info: NodeInfo, seenAt time: WallTime) -> Statement {
        Statement(
            """
            INSERT INTO cluster_nodes (id, role, host, cluster_port, api_url, first_seen_at, last_seen_at)
            VALUES ($1, $2, $3, $4::integer, $5, \(SQL.timestamp(6)), \(SQL.timestamp(6)))
            ON CONFLICT (id) DO UPDATE SET role = EXCLUDED.role, host = EXCLUDED.host,
                cluster_port = EXCLUDED.cluster_port, api_url = EXCLUDED.api_url,
                last_seen_at = GREATEST(cluster_nodes.last_seen_at, EXCLUDED.last_seen_at)
            """,
            [
                .id(info.id), .text(info.role == .controller ? "controller" : "worker"), .text(info.host),
                .int32(info.clusterPort), .text(info.apiURL), .time(time),
            ])
    }

    private static func complete(
        key: String, response: ControlResponse, actor: String, at time: WallTime, fingerprint: String
    ) -> Statement {
        let stored: JSONValue = [
            "status": JSONValue(response.status), "body": response.body,
            "retryAfterSeconds": response.retryAfterSeconds.map { JSONValue($0) } ?? .null,
            // Beside the answer, so that a release without it can read and write the same rows.
            "fingerprint": .string(fingerprint),
        ]
        return Statement(
            "INSERT INTO requests (key, response, actor, created_at) VALUES ($1, $2::jsonb, $3, \(SQL.timestamp(4)))",
            [.text(key), .json(JSONText.encode(stored)), .text(actor), .time(time)])
    }
}

// MARK: Batches

extension StateChange {
    /// Locks a stream's progress to the end of the transaction, so that two batches of it come one after the other, and
    /// each of the statements that follow sees what the earlier batch committed.
    private static func lockProgress(of node: NodeID, stream: String) -> Statement {
        Statement(
            """
            INSERT INTO outbox_progress (node_id, stream, last_seq) VALUES ($1, $2, 0)
            ON CONFLICT (node_id, stream) DO UPDATE SET last_seq = outbox_progress.last_seq
            """,
            [.id(node), .text(stream)])
    }

    private static func advanceProgress(of node: NodeID, stream: String, to sequence: Int64) -> Statement {
        Statement(
            """
            UPDATE outbox_progress SET last_seq = GREATEST(last_seq, $3::bigint)
            WHERE node_id = $1 AND stream = $2
            """,
            [.id(node), .text(stream), .int(sequence)])
    }

    private static func append(_ events: [Event], of node: NodeID, epoch: Epoch) -> [Statement] {
        guard let last = events.map(\.sequence).max() else { return [] }
        let batch = JSONValue.array(
            events.map { event in
                [
                    "seq": .int(event.sequence), "time": .int(event.time.storable.milliseconds),
                    "app": JSONValue(event.app?.rawValue), "kind": .string(event.kind),
                    "message": .string(event.message), "details": event.details,
                ]
            })
        return [
            lockProgress(of: node, stream: "events"),
            Statement(
                // An app that PostgreSQL does not know is named in the details: an event is never refused.
                """
                INSERT INTO events (app_name, event_type, message, timestamp, details, node_id, sequence, epoch)
                SELECT a.name, left(b.kind, 50), b.message, to_timestamp(b.time / 1000.0),
                    CASE WHEN b.app IS NULL OR a.name IS NOT NULL THEN b.details
                        ELSE jsonb_build_object('app', b.app, 'details', b.details) END,
                    $1, b.seq, $3::bigint
                FROM (
                    SELECT DISTINCT ON (seq) *
                    FROM jsonb_to_recordset($2::jsonb)
                        AS r (seq bigint, time bigint, app text, kind text, message text, details jsonb)
                    WHERE seq > (SELECT last_seq FROM outbox_progress WHERE node_id = $1 AND stream = 'events')
                    ORDER BY seq
                ) b LEFT JOIN applications a ON a.name = b.app
                ORDER BY b.seq
                """,
                [.id(node), .json(JSONText.encode(batch)), .epoch(epoch)]),
        ]
            + (events.contains { $0.details["audit"] != nil }
                ? [Statement(auditOfBatch, [.id(node), .json(JSONText.encode(batch))])] : [])
            + [advanceProgress(of: node, stream: "events", to: last)]
    }

    private static func append(_ decisions: [ScalingDecision], of node: NodeID) -> [Statement] {
        guard let last = decisions.map(\.sequence).max() else { return [] }
        let batch = JSONValue.array(
            decisions.map { decision in
                [
                    "seq": .int(decision.sequence), "time": .int(decision.time.storable.milliseconds),
                    "app": .string(decision.app.rawValue),
                    "source": .int(Int64(Int32(clamping: decision.fromReplicas))),
                    "target": .int(Int64(Int32(clamping: decision.toReplicas))), "reason": .string(decision.reason),
                    "trigger": .string(decision.triggeredBy), "metrics": decision.metrics,
                    "explanation": decision.explanation, "epoch": .int(Int64(clamping: decision.epoch.rawValue)),
                ]
            })
        return [
            lockProgress(of: node, stream: "decisions"),
            Statement(
                """
                INSERT INTO scaling_decisions (app_name, timestamp, from_replicas, to_replicas, reason, triggered_by,
                    metrics, explanation, node_id, sequence, epoch)
                SELECT DISTINCT ON (seq) app, to_timestamp(time / 1000.0), source, target, reason, left(trigger, 50),
                    metrics, explanation, $1::varchar, seq, epoch
                FROM jsonb_to_recordset($2::jsonb)
                    AS r (seq bigint, time bigint, app text, source integer, target integer, reason text, trigger text,
                        metrics jsonb, explanation jsonb, epoch bigint)
                WHERE seq > (SELECT last_seq FROM outbox_progress WHERE node_id = $1 AND stream = 'decisions')
                ORDER BY seq
                """,
                [.id(node), .json(JSONText.encode(batch))]),
            advanceProgress(of: node, stream: "decisions", to: last),
        ]
    }

    private static func append(_ rows: [MetricRow]) -> [Statement] {
        guard !rows.isEmpty else { return [] }
        /// REAL ends at 3.4e38.
        func real(_ value: Double?) -> JSONValue { value.map { JSONValue(min(max($0, -1e37), 1e37)) } ?? .null }
        func integer(_ value: Int?) -> JSONValue { value.map { .int(Int64(Int32(clamping: $0))) } ?? .null }
        let batch = JSONValue.array(
            rows.map { row in
                [
                    "app": .string(row.app.rawValue), "time": .int(row.time.storable.milliseconds),
                    "cpu": real(row.cpuPercent), "memory": real(row.memoryPercent), "rps": real(row.rps),
                    "p95": real(row.latencyP95Milliseconds), "connections": integer(row.activeConnections),
                    "replicas": integer(row.replicas),
                ]
            })
        return [
            Statement(
                """
                INSERT INTO metrics (app_name, timestamp, cpu_percent, memory_percent, rps, latency_p95_ms,
                    active_connections, replicas)
                SELECT a.name, to_timestamp(b.time / 1000.0), b.cpu, b.memory, b.rps, b.p95, b.connections, b.replicas
                FROM jsonb_to_recordset($1::jsonb)
                    AS b (app text, time bigint, cpu float8, memory float8, rps float8, p95 float8, connections integer,
                        replicas integer)
                JOIN applications a ON a.name = b.app
                """,
                [.json(JSONText.encode(batch))])
        ]
    }
}

extension Endpoint {
    /// Whether `instances.ip` and `port` can hold it: a literal address, not a name.
    fileprivate var isStorable: Bool {
        var bytes = in6_addr()
        let isLiteral = inet_pton(AF_INET, host, &bytes) == 1 || inet_pton(AF_INET6, host, &bytes) == 1
        return isLiteral && (0...65535).contains(port)
    }
}
