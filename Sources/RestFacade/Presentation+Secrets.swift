import OrchestryModel

/// What is shown of secrets: never a value, sealed or not.
extension Presentation {
    /// `GET /secrets/{secret}`, and one of `GET /secrets`.
    package static func secret(_ summary: SecretSummary, usedBy apps: [AppName]) -> JSONValue {
        [
            "name": .string(summary.name.rawValue), "version": JSONValue(summary.sealed.version),
            "key_id": .string(summary.sealed.keyID), "created_at": seconds(summary.createdAt),
            "updated_at": seconds(summary.updatedAt), "updated_by": .string(summary.updatedBy),
            "used_by": .array(apps.map { .string($0.rawValue) }),
        ]
    }

    /// `GET /secrets`.
    package static func secretList(_ entries: [(summary: SecretSummary, usedBy: [AppName])]) -> JSONValue {
        ["secrets": .array(entries.map { secret($0.summary, usedBy: $0.usedBy) })]
    }

    /// - Parameters:
    ///   - changed: false when it had that value already.
    ///   - restarted: apps whose instances are replaced, one after the other, to get the new value.
    package static func secretSet(_ summary: SecretSummary, changed: Bool, restarted: [AppName]) -> JSONValue {
        [
            "status": changed ? "set" : "no_change", "secret": .string(summary.name.rawValue),
            "version": JSONValue(summary.sealed.version), "restarting": .array(restarted.map { .string($0.rawValue) }),
        ]
    }

    /// - Parameter heldApps: apps that name it, and can't start instances until it is set again.
    package static func secretRemoved(_ name: SecretName, heldApps: [AppName]) -> JSONValue {
        [
            "status": "removed", "secret": .string(name.rawValue),
            "held": .array(heldApps.map { .string($0.rawValue) }),
        ]
    }
}
