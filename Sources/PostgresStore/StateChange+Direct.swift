import OrchestryModel

/// Records that belong to one transaction and have no outbox behind them: their sequence is 0.
extension StateChange {
    static func record(_ event: Event, epoch: Epoch) -> Statement {
        Statement(
            """
            INSERT INTO events (app_name, event_type, message, timestamp, details, node_id, sequence, epoch)
            SELECT (SELECT name FROM applications WHERE name = $1), left($2, 50), $3, \(SQL.timestamp(4)), $5::jsonb, $6,
                0, $7::bigint
            """,
            [
                event.app.map { .id($0) } ?? .text(""), .text(event.kind), .text(event.message), .time(event.time),
                .json(JSONText.encode(event.details)), .id(event.node), .epoch(epoch),
            ])
    }

    static func record(_ decision: ScalingDecision) -> Statement {
        Statement(
            """
            INSERT INTO scaling_decisions (app_name, timestamp, from_replicas, to_replicas, reason, triggered_by,
                metrics, explanation, node_id, sequence, epoch)
            VALUES ($1, \(SQL.timestamp(2)), $3::integer, $4::integer, $5, left($6, 50), $7::jsonb, $8::jsonb, $9, 0,
                $10::bigint)
            """,
            [
                .id(decision.app), .time(decision.time), .int32(decision.fromReplicas), .int32(decision.toReplicas),
                .text(decision.reason), .text(decision.triggeredBy), .json(JSONText.encode(decision.metrics)),
                .json(JSONText.encode(decision.explanation)), .id(decision.node), .epoch(decision.epoch),
            ])
    }
}
