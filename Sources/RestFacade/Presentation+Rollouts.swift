import OrchestryModel

extension Presentation {
    /// A rollout with its figures of now.
    package struct RolloutFigures: Hashable, Sendable {
        package var record: RolloutRecord
        /// Under way, or failed and waiting for somebody to decide.
        package var isActive: Bool
        package var wanted: Int
        /// Instances of the revision, those of them that count as ready, and those of other revisions.
        package var updated: Int
        package var ready: Int
        package var old: Int
        /// Null: there is none.
        package var canary: JSONValue
        package init(
            record: RolloutRecord, isActive: Bool, wanted: Int, updated: Int, ready: Int, old: Int,
            canary: JSONValue = .null
        ) {
            self.record = record
            self.isActive = isActive
            self.wanted = wanted
            self.updated = updated
            self.ready = ready
            self.old = old
            self.canary = canary
        }

        /// `running`, `paused`, or what became of it.
        package var state: String {
            record.state == .running && record.isPaused ? "paused" : record.state.rawValue
        }
    }

    /// `GET /apps/{name}/rollout`.
    /// - Parameter shown: nil: the present revision never needed a rollout.
    package static func rollout(_ app: AppName, revision: Int, shown: RolloutFigures?) -> JSONValue {
        var members = shown.map(figures) ?? ["state": "none", "active": false, "reason": ""]
        members["app"] = .string(app.rawValue)
        members["revision"] = JSONValue(revision)
        return .object(members)
    }

    static func figures(_ shown: RolloutFigures) -> [String: JSONValue] {
        let record = shown.record
        return [
            "state": .string(shown.state), "active": .bool(shown.isActive), "phase": .string(record.phase.rawValue),
            "origin": .string(record.origin.rawValue), "revision": JSONValue(record.revision),
            "from": record.from.map { JSONValue($0) } ?? .null,
            "restores": record.restores.map { JSONValue($0) } ?? .null, "reason": .string(record.reason),
            "started_at": seconds(record.startedAt), "ended_at": seconds(record.endedAt),
            "wanted": JSONValue(shown.wanted), "updated": JSONValue(shown.updated), "ready": JSONValue(shown.ready),
            "old": JSONValue(shown.old), "canary": shown.canary,
        ]
    }

    /// `GET /apps/{name}/revisions`, newest first as given.
    package static func revisions(_ app: AppName, _ revisions: [JSONValue]) -> JSONValue {
        ["app": .string(app.rawValue), "revisions": .array(revisions)]
    }

    /// One revision of `GET /apps/{name}/revisions`.
    /// - Parameter rollout: what became of it; nil: it was registered while the app did not run.
    package static func revision(
        _ number: Int, image: String, createdAt: WallTime, isCurrent: Bool, rollout: RolloutRecord?
    ) -> JSONValue {
        [
            "revision": JSONValue(number), "image": .string(image), "created_at": seconds(createdAt),
            "current": .bool(isCurrent), "state": .string(rollout?.state.rawValue ?? "none"),
            "origin": .string(rollout?.origin.rawValue ?? "deploy"),
            "restores": rollout?.restores.map { JSONValue($0) } ?? .null, "reason": .string(rollout?.reason ?? ""),
        ]
    }

    // MARK: Answers to writes

    /// - Parameters:
    ///   - revision: the app's from now on.
    ///   - target: whose content it has.
    ///   - changed: false: it had that already.
    package static func rolledBack(_ app: AppName, revision: Int, to target: Int, changed: Bool) -> JSONValue {
        [
            "status": changed ? "rolling_back" : "no_change", "app": .string(app.rawValue),
            "revision": JSONValue(revision), "restores": JSONValue(target),
        ]
    }

    /// - Parameter status: `paused`, `resumed` or `no_change`.
    package static func rolloutSteered(_ app: AppName, revision: Int, _ status: String) -> JSONValue {
        ["status": .string(status), "app": .string(app.rawValue), "revision": JSONValue(revision)]
    }
}
