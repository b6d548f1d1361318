import AccessControl
import OrchestryModel

/// What is shown of tokens (never one) and of the audit trail.
extension Presentation {
    /// One of `GET /tokens`, and what `POST /tokens` makes.
    package static func token(_ token: APIToken, now: WallTime) -> JSONValue {
        [
            "name": .string(token.name.rawValue), "fingerprint": .string(token.fingerprint),
            "role": .string(token.grant.role.rawValue),
            "verbs": token.grant.verbs.map { .array($0.map { .string($0.rawValue) }) } ?? .null,
            "apps": token.grant.apps.map { .array($0.map { .string($0.rawValue) }) } ?? .null,
            "created_at": seconds(token.createdAt), "created_by": .string(token.createdBy),
            "expires_at": seconds(token.expiresAt), "last_used_at": seconds(token.lastUsedAt),
            "expired": .bool(token.hasExpired(at: now)),
        ]
    }

    package static func tokenList(_ tokens: [APIToken], now: WallTime) -> JSONValue {
        ["tokens": .array(tokens.map { token($0, now: now) })]
    }

    package static func tokenRevoked(_ name: TokenName) -> JSONValue {
        ["status": "revoked", "token": .string(name.rawValue)]
    }

    /// `GET /audit`.
    /// - Parameter isRaw: with the text that was hashed, instead of what it says.
    package static func audit(_ entries: [AuditEntry], head: AuditHead, isRaw: Bool) -> JSONValue {
        [
            "entries": .array(
                entries.map { entry in
                    var members: [String: JSONValue] = [
                        "sequence": .int(entry.sequence), "hash": .string(entry.hash),
                    ]
                    if isRaw {
                        members["text"] = .string(entry.record)
                    } else {
                        // What is not JSON was not written by a node.
                        members["record"] = (try? JSONValue(jsonText: entry.record)) ?? .string(entry.record)
                    }
                    return .object(members)
                }), "head": ["sequence": .int(head.sequence), "hash": .string(head.hash)],
        ]
    }
}
