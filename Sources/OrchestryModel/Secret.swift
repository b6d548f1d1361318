/// A secret's name, as specs and `orchestry secret` write it: 1 to 63 of letters, digits, `.`, `_` and `-`, a letter or
/// digit first.
public struct SecretName: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool {
        guard (1...63).contains(text.utf8.count), let first = text.utf8.first, isAlphanumeric(first) else {
            return false
        }
        return text.utf8.allSatisfy { isAlphanumeric($0) || "._-".utf8.contains($0) }
    }
}

/// One version of a secret, encrypted under a key that only the nodes' configuration holds. This form, and no other, is
/// what PostgreSQL, commands, container labels and memory keep; `SecretSealing.SecretKeys` makes and opens it.
public struct SealedSecret: Hashable, Sendable, Codable {
    public var name: SecretName
    /// 1, 2, 3… per name, for ever, removals included. 0: on its way from the node that took it to the leader.
    public var version: Int
    /// Which key opens it: 16 hexadecimal digits.
    public var keyID: String
    /// Base64 of nonce, ciphertext and tag.
    public var box: String
    public init(name: SecretName, version: Int, keyID: String, box: String) {
        self.name = name
        self.version = version
        self.keyID = keyID
        self.box = box
    }

    /// Longest value, UTF-8 bytes: sixteen of them fit a command's frame beside the spec.
    public static let maximumValueBytes = 32_768
    /// Secrets one app may name.
    public static let maximumPerApp = 16

    /// The body of `PUT /secrets/{secret}`: `{"value": "…"}`.
    /// - Throws: never with the value in its words.
    public static func parseValue(_ body: JSONValue) throws(ValidationError) -> String {
        var reader = DocumentReader()
        guard body.objectValue != nil, let root = reader.object(body, at: "", keys: ["value"]) else {
            throw ValidationError([Violation("", "must be an object: {\"value\": \"…\"}")])
        }
        if case .string(let value)? = root["value"] {
            if value.isEmpty || value.utf8.count > maximumValueBytes || value.utf8.contains(0) {
                reader.report("value", "must be 1 to \(maximumValueBytes) bytes without NUL, got \(value.utf8.count)")
            }
            if reader.violations.isEmpty { return value }
        } else {
            reader.report("value", "is required: a string")
        }
        throw ValidationError(reader.violations)
    }
}

/// What may be shown of a secret.
public struct SecretSummary: Hashable, Sendable, Codable {
    public var sealed: SealedSecret
    public var createdAt: WallTime
    /// When the current version was set, and by whom.
    public var updatedAt: WallTime
    public var updatedBy: String
    public init(sealed: SealedSecret, createdAt: WallTime, updatedAt: WallTime, updatedBy: String) {
        self.sealed = sealed
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.updatedBy = updatedBy
    }
    public var name: SecretName { sealed.name }
}

extension AppSpec {
    /// Secrets whose values become part of a container: a change of one needs new containers. Sorted, each once.
    public var environmentSecrets: [SecretName] {
        Set(
            environment.compactMap { variable in
                if case .secret(let name) = variable.source { name } else { nil }
            }
        ).sorted()
    }

    /// Secrets that only the proxy needs: a change of one is a change of routing. Sorted, each once.
    public var routingSecrets: [SecretName] {
        Set([routing.tls?.certificateSecret, routing.tls?.keySecret].compactMap(\.self)).sorted()
    }

    /// Every secret the spec names. Sorted, each once.
    public var allSecretNames: [SecretName] { Set(secretNames).union(routingSecrets).sorted() }

    /// Every secret the app can't be started without. Sorted, each once.
    public var secretNames: [SecretName] {
        (Set(environmentSecrets).union([imagePullSecret].compactMap(\.self))).sorted()
    }
}
