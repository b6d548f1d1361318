import OrchestryModel

/// What PostgreSQL holds, once nothing that a leader sent earlier can change it any more.
package struct SettledState: Sendable {
    /// Apps that are not deleted, by name.
    package var applications: [Application]
    /// Of the apps' present revisions, with the spec to go back to while they have not ended.
    package var rollouts: [RolloutRecord]
    package var nodes: [StoredNode]
    /// The turn this took: the writer's next is one higher.
    package var turn: Int64
}

extension StateStore {
    /// Ends a leader's doubt about what became of a write whose answer it never got: takes a turn, after which earlier
    /// ones are refused, and reads what is there in the same transaction.
    /// - Parameter turn: the last one that the leader took.
    /// - Throws: as `write`.
    package func settle(after turn: Int64, epoch: Epoch, leader: NodeID) async throws(StoreError) -> SettledState {
        let statements = [
            Self.fence(epoch: epoch, leader: leader),
            Statement(
                """
                UPDATE write_turns SET epoch = $1::bigint,
                    turn = 1 + CASE WHEN epoch = $1::bigint THEN GREATEST(turn, $2::bigint) ELSE $2::bigint END
                WHERE id = 1 RETURNING turn
                """, [.epoch(epoch), .int(turn)]),
            // A statement of its own: it sees what was committed while the one before waited.
            Self.allApplications, Self.presentRollouts, Self.allNodes,
        ]
        return try await pool.run(within: configuration.operationTimeout) { connection, deadline throws(StoreError) in
            let results = try connection.transaction(statements, deadline: deadline)
            guard let row = results[1].first else { throw .invalidData("write_turns is empty") }
            var state = SettledState(applications: [], rollouts: [], nodes: [], turn: try row.int64(0))
            for row in results[2] { state.applications.append(try Self.application(row)) }
            for row in results[3] { state.rollouts.append(try Self.rollout(row)) }
            for row in results[4] { state.nodes.append(try Self.node(row)) }
            return state
        }
    }

    static func takeTurn(_ turn: Int64, epoch: Epoch) -> Statement {
        Statement("SELECT orchestry_take_turn($1::bigint, $2::bigint)", [.epoch(epoch), .int(turn)])
    }
}
