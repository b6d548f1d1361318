import OrchestryModel

/// All that a new leader starts from.
package struct DesiredState: Sendable {
    /// A change of an app's replicas that counts against its rate limits and cooldown.
    package struct PastScaling: Hashable, Sendable {
        package var app: AppName
        package var time: WallTime
        package var fromReplicas: Int
        package var toReplicas: Int
    }

    /// Apps that are not deleted, by name.
    package var applications: [Application]
    package var instances: [InstanceStatus]
    package var nodes: [StoredNode]
    /// Oldest first, per app the last `StateStore.rememberedScalings` of the last hour.
    package var scalings: [PastScaling]
    /// The newest version of each, by name.
    package var secrets: [SecretSummary]
    /// Of the apps' present revisions, with the spec to go back to while they have not ended.
    package var rollouts: [RolloutRecord]
    /// Those not revoked, by name.
    package var tokens: [APIToken]
}

extension StateStore {
    static let rememberedScalings = 50

    /// Reads what a new leader needs in one round trip: until it has it, every client's write waits. Brings the database
    /// to this release's schema first where that is needed.
    /// - Throws: `.schemaTooNew` when a newer release has migrated it, else as a read does.
    package func load() async throws(StoreError) -> DesiredState {
        do throws(StoreError) {
            if let state = try await loadIfCurrent() { return state }
        } catch .query(sqlState: "42P01", message: _) {
            // No tables yet: a new database.
        } catch {
            throw error
        }
        try await migrate()
        guard let state = try await loadIfCurrent() else {
            throw .unavailable("the schema changed while it was read")
        }
        return state
    }

    /// - Returns: nil when the database has an older schema than this release.
    private func loadIfCurrent() async throws(StoreError) -> DesiredState? {
        let known = knownSchema
        return try await run { connection, deadline throws(StoreError) in
            let results: [[Row]]
            do throws(StoreError) {
                results = try connection.transaction([Self.schemaVersion] + Self.everything, deadline: deadline)
            } catch .query(sqlState: let state, message: let message) where state != "42P01" {
                // Another release's tables may lack what is asked for here: then its version is the answer.
                let found = try connection.run(Self.schemaVersion, deadline: deadline)[0].int(0)
                if found > known { throw .schemaTooNew(found: found, known: known) }
                if found < known { return nil }
                throw .query(sqlState: state, message: message)
            } catch {
                throw error
            }
            let found = try results[0][0].int(0)
            if found > known { throw .schemaTooNew(found: found, known: known) }
            if found < known { return nil }
            return try Self.desiredState(Array(results.dropFirst()))
        }
    }

    /// What `desiredState` is made of.
    static let everything = [
        allApplications, allInstances, allNodes, pastScalings, allSecrets, presentRollouts, allTokens,
    ]

    /// - Parameter results: of `everything`.
    static func desiredState(_ results: [[Row]]) throws(StoreError) -> DesiredState {
        var state = DesiredState(
            applications: [], instances: [], nodes: [], scalings: [], secrets: [], rollouts: [], tokens: [])
        for row in results[0] { state.applications.append(try application(row)) }
        for row in results[1] { state.instances.append(try instance(row)) }
        for row in results[2] { state.nodes.append(try node(row)) }
        for row in results[3] {
            state.scalings.append(
                DesiredState.PastScaling(
                    app: AppName(unchecked: try row.text(0)), time: try row.time(1),
                    fromReplicas: try row.int(2), toReplicas: try row.int(3)))
        }
        for row in results[4] { state.secrets.append(try secret(row)) }
        for row in results[5] { state.rollouts.append(try rollout(row)) }
        for row in results[6] { if let token = try token(row) { state.tokens.append(token) } }
        return state
    }

    static let schemaVersion = Statement("SELECT COALESCE(max(version), 0) FROM schema_migrations")

    static let pastScalings = Statement(
        """
        SELECT app_name, \(SQL.milliseconds("timestamp")), from_replicas, to_replicas
        FROM applications CROSS JOIN LATERAL (
            SELECT app_name, timestamp, id, from_replicas, to_replicas FROM scaling_decisions
            WHERE app_name = applications.name AND timestamp > NOW() - interval '1 hour'
            ORDER BY timestamp DESC, id DESC LIMIT \(rememberedScalings)) AS past
        WHERE deleted_at IS NULL ORDER BY timestamp, id
        """)
}
