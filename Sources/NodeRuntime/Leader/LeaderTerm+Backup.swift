import Foundation
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RecordArchive
import RestFacade
import SecretSealing

/// Backups are read from PostgreSQL, by any node; restoring one is a write of the leader's like all others.
enum Backups {
    /// - Throws: `StoreError`.
    static func make(
        from store: StateStore, cluster: ClusterID, at time: WallTime
    ) async throws(StoreError) -> ControlResponse {
        let tables = try await store.backup()
        return ControlResponse(
            body: ControlBackup.document(
                tables: tables.rows, schema: tables.schema, cluster: cluster, release: Node.version, at: time))
    }
}

extension LeaderTerm {
    /// All of it in one transaction, after which this leader reads everything again.
    func planRestore(_ checksum: String, merge: Bool, _ request: ControlRequest) async throws -> Plan {
        guard let document = try await surroundings.store.stagedRestore(checksum) else {
            throw Problem(
                status: 409, code: "backup-not-there", title: "The backup is not there any more",
                detail: "The backup \(checksum) was not found in PostgreSQL. Send it again.")
        }
        let backup = try ControlBackup(document)
        guard backup.schema <= surroundings.store.schema else {
            throw Problem(
                status: 409, code: "backup-too-new", title: "A newer release made this backup",
                detail: "It is of schema \(backup.schema), this release knows up to \(surroundings.store.schema). "
                    + "Restore it with the release that made it, or a later one.")
        }
        if !merge { try refuseUnlessEmpty() }
        try refuseTokens(of: backup, request)
        try refuseUnopened(backup)
        let apps = try restorableApps(of: backup)
        let liveSecrets = Set(secrets.keys)
        func name(_ row: JSONValue, _ key: String) -> String { row[key]?.stringValue ?? "" }
        let secretNames = Set((backup.tables["secrets"] ?? []).map { SecretName(unchecked: name($0, "name")) })
        let secretsTaken = secretNames.subtracting(liveSecrets)
        let settingsThere = Set(try await surroundings.store.settings().map(\.key))

        var rows = backup.tables
        for (table, key) in [("applications", "name"), ("revisions", "app_name"), ("rollouts", "app_name")] {
            rows[table]?.removeAll { !apps.contains(AppName(unchecked: name($0, key))) }
        }
        rows["secrets"]?.removeAll { !secretsTaken.contains(SecretName(unchecked: name($0, "name"))) }
        rows["settings"]?.removeAll { settingsThere.contains(name($0, "key")) }
        rows["api_tokens"] = try await newTokens(of: backup)
        let cordoned = (backup.tables["cluster_nodes"] ?? []).map { NodeID(unchecked: name($0, "id")) }
            .filter { nodeInfos[$0] != nil }
        let state = RestoredState(
            rows: rows, apps: apps.sorted(), secrets: secretsTaken.sorted(), cordoned: cordoned, checksum: checksum)
        func names(_ table: String, _ key: String, in tables: [String: [JSONValue]]) -> [String] {
            Set((tables[table] ?? []).map { name($0, key) }).sorted()
        }
        let answer = Presentation.restored(
            apps: state.apps, secrets: state.secrets, settings: names("settings", "key", in: rows),
            tokens: names("api_tokens", "name", in: rows), cordoned: cordoned,
            keptApps: names("applications", "name", in: backup.tables).map { AppName(unchecked: $0) }
                .filter { !apps.contains($0) },
            keptSecrets: secretNames.intersection(liveSecrets).sorted(),
            keptSettings: names("settings", "key", in: backup.tables).filter(settingsThere.contains),
            keptTokens: Set(names("api_tokens", "name", in: backup.tables))
                .subtracting(names("api_tokens", "name", in: rows)).sorted())
        var plan = Plan(
            response: ControlResponse(body: answer),
            changes: [
                .restore(state),
                event(
                    .stateRestored, nil,
                    "A backup of cluster \(backup.cluster) was restored: \(apps.count) apps, \(secretsTaken.count) secrets",
                    request, ["restored": answer["restored"] ?? .null, "checksum": .string(checksum)]),
            ])
        plan.readsAgain = true
        return plan
    }

    /// Nobody gives more than they have: the backup's tokens may be an admin's.
    private func refuseTokens(of backup: ControlBackup, _ request: ControlRequest) throws {
        guard backup.tables["api_tokens"]?.isEmpty == false, let grant = request.caller?.grant else { return }
        guard let verb = Verb.allCases.sorted().first(where: { !grant.allows($0) }) else { return }
        throw Problem.forbidden(
            "The backup holds tokens, which may allow everything, and \(request.actor) has not the verb "
                + "'\(verb.rawValue)': an admin must restore it. Nothing was changed.")
    }

    /// The backup's tokens whose names are free here, and that were never revoked here.
    private func newTokens(of backup: ControlBackup) async throws -> [JSONValue] {
        let taken = Set(tokens.keys.map(\.rawValue))
        var found: [JSONValue] = []
        for row in backup.tables["api_tokens"] ?? [] {
            guard let name = row["name"]?.stringValue, let hash = row["token_hash"]?.stringValue, !taken.contains(name),
                try await !surroundings.store.knowsToken(hash)
            else { continue }
            found.append(row)
        }
        return found
    }

    private func refuseUnlessEmpty() throws {
        guard !applications.isEmpty || !secrets.isEmpty else { return }
        func some(_ names: [String]) -> String {
            names.sorted().prefix(5).joined(separator: ", ") + (names.count > 5 ? "…" : "")
        }
        let apps = applications.isEmpty ? "" : "\(applications.count) apps (\(some(applications.keys.map(\.rawValue))))"
        let kept = secrets.isEmpty ? "" : "\(secrets.count) secrets (\(some(secrets.keys.map(\.rawValue))))"
        let there = [apps, kept].filter { !$0.isEmpty }.joined(separator: " and ")
        throw Problem(
            status: 409, code: "cluster-not-empty", title: "The cluster is not empty",
            detail: "It has \(there). Nothing was changed. To add what is missing and leave these as they are: "
                + "orchestry restore FILE --merge (merge=true).")
    }

    /// Secrets that nobody here can open would hold their apps back for ever.
    private func refuseUnopened(_ backup: ControlBackup) throws {
        let sealed = (backup.tables["secrets"] ?? []).compactMap { row -> SealedSecret? in
            guard let name = row["name"]?.stringValue, let version = row["version"]?.intValue,
                let key = row["key_id"]?.stringValue, let box = row["box"]?.stringValue
            else { return nil }  // What a removed secret leaves behind.
            return SealedSecret(name: SecretName(unchecked: name), version: version, keyID: key, box: box)
        }
        guard !sealed.isEmpty else { return }
        let keys = Set(sealed.map(\.keyID)).sorted().joined(separator: ", ")
        func refusal(_ reason: String) -> Problem {
            Problem(
                status: 409, code: "secrets-unusable", title: "The backup's secrets can't be opened here",
                detail:
                    "\(reason). They are sealed under key \(keys), for cluster '\(backup.cluster)': give every node "
                    + "the key file of that cluster (secrets.key_file) and the same cluster.id. Nothing was changed.")
        }
        guard let keyring = surroundings.secretKeys else { throw refusal("This node has no key for secrets") }
        for secret in sealed {
            do {
                _ = try keyring.open(secret)
            } catch {
                throw refusal("\(error)")
            }
        }
    }

    /// The backup's apps that are not here.
    /// - Throws: `ValidationError` with everything that is wrong with them.
    private func restorableApps(of backup: ControlBackup) throws -> Set<AppName> {
        var found: Set<AppName> = []
        var violations: [Violation] = []
        for (index, row) in (backup.tables["applications"] ?? []).enumerated() {
            let path = "tables.applications[\(index)]"
            guard let name = row["name"]?.stringValue.flatMap({ AppName(rawValue: $0) }) else {
                violations.append(Violation("\(path).name", "must be an app's name"))
                continue
            }
            guard applications[name] == nil else { continue }
            do {
                let spec = try JSONDecoder().decode(
                    AppSpec.self, from: Data((row["spec"] ?? .null).jsonBytes()))
                try refuseTakenHosts(of: spec, among: applications)
                found.insert(name)
            } catch let error as ValidationError {
                violations += error.violations.map { Violation("\(path).\($0.field)", $0.rule) }
            } catch {
                violations.append(Violation("\(path).spec", "must be a specification that this release reads"))
            }
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
        return found
    }
}
