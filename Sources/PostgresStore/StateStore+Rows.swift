import OrchestryModel

/// The statements that read whole tables, and how their rows are understood.
extension StateStore {
    static let selectApplication = """
        SELECT spec, document, revision, status, replicas, \(SQL.milliseconds("created_at")),
            \(SQL.milliseconds("updated_at")), \(SQL.milliseconds("last_scaled_at")), name,
            orchestry_secrets(secret_versions), image_review, equal_revisions, scaling_control
        FROM applications
        """

    static let allApplications = Statement("\(selectApplication) WHERE deleted_at IS NULL ORDER BY name")

    /// An app that can't be read is an error, never skipped: whoever does not see it would stop its containers.
    @Sendable static func application(_ row: Row) throws(StoreError) -> Application {
        guard let status = Application.Status(rawValue: try row.text(3)) else {
            throw .invalidData("applications.status of \(try row.text(8))")
        }
        let spec = try JSONText.decode(AppSpec.self, from: try row.text(0), what: "the spec of \(try row.text(8))")
        return Application(
            spec: spec, document: try row.jsonValue(1), revision: try row.int(2), status: status,
            replicas: try row.int(4), createdAt: try row.time(5), updatedAt: try row.time(6),
            lastScaledAt: try row.optionalTime(7), secrets: try row.json(9, as: [SealedSecret].self),
            imageReview: row.values[10] == nil ? nil : try row.json(10, as: ImageReview?.self),
            equalRevisions: Set(try row.json(11, as: [Int].self)),
            control: row.values[12] == nil ? nil : try row.json(12, as: ScalingControl?.self))
    }

    static let allInstances = Statement(
        """
        SELECT instance_id, app_name, revision, node_id, status, container_id, host(ip), port, restarts,
            failure_count, exit_code, out_of_memory, message, \(SQL.milliseconds("started_at")),
            \(SQL.milliseconds("last_health_check")), \(SQL.milliseconds("since"))
        FROM instances ORDER BY instance_id
        """)

    @Sendable static func instance(_ row: Row) throws(StoreError) -> InstanceStatus {
        guard let state = InstanceState(label: try row.text(4)) else {
            throw .invalidData("instances.status of \(try row.text(0))")
        }
        return InstanceStatus(
            instance: InstanceID(unchecked: try row.text(0)), app: AppName(unchecked: try row.text(1)),
            revision: try row.int(2), node: NodeID(unchecked: try row.text(3)), state: state,
            containerID: try row.text(5), endpoint: Endpoint(host: try row.text(6), port: try row.int(7)),
            restarts: try row.int(8), failures: try row.int(9), exitCode: try row.optionalInt(10),
            outOfMemory: try row.bool(11), message: try row.text(12), startedAt: try row.optionalTime(13),
            lastProbeAt: try row.optionalTime(14), since: try row.time(15))
    }

    static let allNodes = Statement(
        """
        SELECT id, role, host, cluster_port, api_url, \(SQL.milliseconds("last_seen_at")), cordoned, draining,
            GREATEST(0, round(extract(epoch FROM drain_deadline - clock_timestamp()) * 1000))::bigint, drain_deadline
        FROM cluster_nodes ORDER BY id
        """)

    @Sendable static func node(_ row: Row) throws(StoreError) -> StoredNode {
        let id = NodeID(unchecked: try row.text(0))
        // GREATEST passes over a deadline that is NULL.
        let left = row.values[9] == nil ? nil : try row.optionalInt(8)
        return StoredNode(
            info: NodeInfo(
                id: id, role: try row.text(1) == "worker" ? .worker : .controller,
                host: try row.text(2), clusterPort: try row.int(3), apiURL: try row.text(4)),
            lastSeenAt: try row.time(5),
            scheduling: NodeScheduling(
                node: id, isCordoned: try row.bool(6), isDraining: try row.bool(7),
                drainSecondsLeft: left.map { Double($0) / 1000 }))
    }

    private static let rolloutColumns = """
        SELECT rollouts.app_name, rollouts.revision, from_revision, origin, restores, state, phase, paused, reason,
            \(SQL.milliseconds("started_at")), \(SQL.milliseconds("ended_at"))
        """

    /// Those of the apps' present revisions; with the spec to go back to while they have not ended.
    static let presentRollouts = Statement(
        """
        \(rolloutColumns), revisions.spec, image_digest, orchestry_secrets(revisions.secret_versions)
        FROM rollouts
            JOIN applications ON name = rollouts.app_name AND applications.revision = rollouts.revision
            LEFT JOIN revisions ON revisions.app_name = rollouts.app_name AND revisions.revision = from_revision
                AND ended_at IS NULL
        WHERE deleted_at IS NULL ORDER BY rollouts.app_name
        """)

    static func rollouts(of app: AppName) -> Statement {
        Statement(
            "\(rolloutColumns), NULL, NULL, '[]' FROM rollouts WHERE app_name = $1 ORDER BY revision DESC", [.id(app)])
    }

    @Sendable static func rollout(_ row: Row) throws(StoreError) -> RolloutRecord {
        guard let origin = RolloutRecord.Origin(rawValue: try row.text(3)),
            let state = RolloutRecord.State(rawValue: try row.text(5)),
            let phase = RolloutRecord.Phase(rawValue: try row.text(6))
        else { throw .invalidData("a rollout of \(try row.text(0))") }
        return RolloutRecord(
            app: AppName(unchecked: try row.text(0)), revision: try row.int(1), from: try row.optionalInt(2),
            origin: origin, restores: try row.optionalInt(4), state: state, phase: phase, isPaused: try row.bool(7),
            reason: try row.text(8), startedAt: try row.time(9), endedAt: try row.optionalTime(10),
            previousSpec: row.values[11] == nil
                ? nil : try row.json(11, as: AppSpec.self).pinned(to: row.values[12]),
            previousSecrets: try row.json(13, as: [SealedSecret].self))
    }
}
