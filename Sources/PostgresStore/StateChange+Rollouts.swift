import OrchestryModel

/// Rollouts and what people set of nodes.
extension StateChange {
    /// Written behind, it may come after the transaction of a client that ended the rollout.
    static func save(_ record: RolloutRecord) -> Statement {
        Statement(
            """
            INSERT INTO rollouts (app_name, revision, from_revision, origin, restores, state, phase, reason, started_at,
                ended_at)
            SELECT name, $2::integer, $3::integer, $4, $5::integer, $6, $7, $8, \(SQL.timestamp(9)), \(SQL.timestamp(10))
            FROM applications WHERE name = $1
            ON CONFLICT (app_name, revision) DO UPDATE SET from_revision = EXCLUDED.from_revision,
                state = EXCLUDED.state, phase = EXCLUDED.phase, reason = EXCLUDED.reason, ended_at = EXCLUDED.ended_at,
                paused = rollouts.paused AND EXCLUDED.state = 'running'
            WHERE rollouts.ended_at IS NULL OR EXCLUDED.ended_at IS NOT NULL
            """,
            [
                .id(record.app), .int32(record.revision), .int32(record.from), .text(record.origin.rawValue),
                .int32(record.restores), .text(record.state.rawValue), .text(record.phase.rawValue),
                .text(record.reason), .time(record.startedAt), .time(record.endedAt),
            ])
    }

    static func pause(_ app: AppName, _ revision: Int, _ isPaused: Bool) -> Statement {
        Statement(
            "UPDATE rollouts SET paused = $3::boolean WHERE app_name = $1 AND revision = $2::integer",
            [.id(app), .int32(revision), .bool(isPaused)])
    }

    static func save(_ scheduling: NodeScheduling) -> Statement {
        Statement(
            """
            UPDATE cluster_nodes SET cordoned = $2::boolean, draining = $3::boolean,
                drain_deadline = clock_timestamp() + $4::bigint * interval '1 millisecond'
            WHERE id = $1
            """,
            [
                .id(scheduling.node), .bool(scheduling.isCordoned), .bool(scheduling.isDraining),
                scheduling.drainSecondsLeft.map { .int(Int64(max(0, $0) * 1000)) } ?? nil,
            ])
    }
}
