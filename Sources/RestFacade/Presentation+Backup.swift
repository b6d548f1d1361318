import OrchestryModel

extension Presentation {
    /// `POST /restore`. Kept is what was there already.
    package static func restored(
        apps: [AppName], secrets: [SecretName], settings: [String], tokens: [String], cordoned: [NodeID],
        keptApps: [AppName], keptSecrets: [SecretName], keptSettings: [String], keptTokens: [String]
    ) -> JSONValue {
        func list(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
        return [
            "status": "restored",
            "restored": [
                "apps": list(apps.map(\.rawValue)), "secrets": list(secrets.map(\.rawValue)),
                "settings": list(settings), "tokens": list(tokens), "cordoned": list(cordoned.map(\.rawValue)),
            ],
            "kept": [
                "apps": list(keptApps.map(\.rawValue)), "secrets": list(keptSecrets.map(\.rawValue)),
                "settings": list(keptSettings), "tokens": list(keptTokens),
            ],
        ]
    }

    /// One runtime setting.
    package struct Setting: Sendable {
        package var name: String
        package var kind: String
        /// nil: it is not set at run time.
        package var value: String?
        /// What the answering node's own configuration says.
        package var configured: String
        /// Where the answering node has that from: `default`, `file <path>`, `environment <NAME>`…
        package var configuredFrom: String
        package var updatedAt: WallTime?
        package var updatedBy: String?
        package var summary: String
        package init(
            name: String, kind: String, value: String?, configured: String, configuredFrom: String,
            updatedAt: WallTime?, updatedBy: String?,
            summary: String
        ) {
            self.name = name
            self.kind = kind
            self.value = value
            self.configured = configured
            self.configuredFrom = configuredFrom
            self.updatedAt = updatedAt
            self.updatedBy = updatedBy
            self.summary = summary
        }
    }

    /// `GET /settings`, `PATCH /settings`.
    package static func settings(_ settings: [Setting]) -> JSONValue {
        [
            "settings": .array(
                settings.map {
                    [
                        "name": .string($0.name), "kind": .string($0.kind), "value": JSONValue($0.value),
                        "configured": .string($0.configured), "configured_from": .string($0.configuredFrom),
                        "source": .string($0.value == nil ? $0.configuredFrom : "run time"),
                        "updated_at": $0.updatedAt.map(seconds) ?? .null,
                        "updated_by": JSONValue($0.updatedBy), "summary": .string($0.summary),
                    ]
                })
        ]
    }
}
