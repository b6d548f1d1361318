/// A token's name: 1 to 63 of letters, digits, `.`, `_` and `-`, a letter or digit first.
public struct TokenName: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool { SecretName.isValid(text) }
}

/// A token as the cluster keeps it: all but the token.
public struct APIToken: Hashable, Sendable, Codable {
    public var name: TokenName
    /// SHA-256 of the token's text, 64 hexadecimal digits.
    public var hash: String
    public var grant: AccessGrant
    public var createdAt: WallTime
    public var createdBy: String
    /// nil: never.
    public var expiresAt: WallTime?
    /// By the minute; nil: not since it was made, as far as is known.
    public var lastUsedAt: WallTime?
    public init(
        name: TokenName, hash: String, grant: AccessGrant, createdAt: WallTime, createdBy: String,
        expiresAt: WallTime? = nil, lastUsedAt: WallTime? = nil
    ) {
        self.name = name
        self.hash = hash
        self.grant = grant
        self.createdAt = createdAt
        self.createdBy = createdBy
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
    }

    /// Tells tokens apart where people look: the first 16 digits of the hash.
    public var fingerprint: String { Self.fingerprint(ofHash: hash) }
    public static func fingerprint(ofHash hash: String) -> String { String(hash.prefix(16)) }

    public func hasExpired(at time: WallTime) -> Bool { expiresAt.map { $0 <= time } ?? false }

    /// Tokens in force at one time.
    public static let maximum = 1_000
    /// Longest life, seconds: ten years.
    public static let longestSeconds = 315_360_000
}

/// A token that somebody wants: the body of `POST /tokens`, with the hash of the token that was made for it.
public struct TokenRequest: Hashable, Sendable, Codable {
    public var name: TokenName
    public var grant: AccessGrant
    /// nil: it never expires.
    public var expiresSeconds: Int?
    public var hash: String
    public init(name: TokenName, grant: AccessGrant, expiresSeconds: Int? = nil, hash: String) {
        self.name = name
        self.grant = grant
        self.expiresSeconds = expiresSeconds
        self.hash = hash
    }

    /// - Returns: with an empty hash where the body has none: the node that reads it makes the token.
    public static func parse(_ body: JSONValue) throws(ValidationError) -> TokenRequest {
        var reader = DocumentReader()
        var name: TokenName?
        var role: Role?
        var grant = AccessGrant(role: .viewer)
        var expires: Int?
        var hash = ""
        let keys = ["name", "role", "verbs", "apps", "expiresSeconds", "sha256"]
        if body.objectValue == nil {
            reader.report("", "must be an object such as {\"name\": \"ci\", \"role\": \"operator\"}")
        } else if let root = reader.object(body, at: "", keys: keys) {
            if root["name"] == nil { reader.report("name", "is required") }
            name = reader.text(
                root, "name", atMost: 63, "1 to 63 letters, digits, '.', '_' and '-', a letter or digit first",
                TokenName.isValid
            ).map(TokenName.init(unchecked:))
            if root["role"] == nil { reader.report("role", "is required: viewer, operator or admin") }
            role = reader.choice(root, "role", Role.allCases.map { ($0.rawValue, $0) })
            grant.verbs = reader.list(root, "verbs", atMost: Verb.allCases.count, of: "verbs").map { list in
                list.compactMap { path, value in
                    if let verb = value.stringValue.flatMap(Verb.init) { return verb }
                    let words = Verb.allCases.map(\.rawValue).joined(separator: ", ")
                    reader.report(path, "must be one of \(words), got \(DocumentReader.describe(value))")
                    return nil
                }
            }
            grant.apps = reader.list(root, "apps", atMost: 100, of: "apps").map { list in
                list.compactMap { path, value in
                    reader.text(value, at: path, atMost: 63, "an app's name (a DNS label)", AppName.isValid)
                        .map(AppName.init(unchecked:))
                }
            }
            for key in ["verbs", "apps"] where root[key] == [] {
                reader.report(key, "must not be empty; leave it out for all")
            }
            expires = reader.integer(root, "expiresSeconds", 1...APIToken.longestSeconds)
            hash =
                reader.text(
                    root, "sha256", atMost: 64, "the SHA-256 of the token, 64 hexadecimal digits in lower case"
                ) { $0.utf8.count == 64 && $0.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) } }
                ?? ""
            if let role, let verb = grant.verbs?.first(where: { !role.verbs.contains($0) }) {
                let roles = Role.having(verb).map(\.rawValue).joined(separator: " or ")
                reader.report("verbs", "must be verbs of the role: \(verb.rawValue) needs role \(roles)")
            }
        }
        guard reader.violations.isEmpty, let name, let role else { throw ValidationError(reader.violations) }
        grant.role = role
        grant.verbs = grant.verbs.map { Set($0).sorted() }
        grant.apps = grant.apps.map { Set($0).sorted() }
        return TokenRequest(name: name, grant: grant, expiresSeconds: expires, hash: hash)
    }
}

extension Problem {
    public static func tokenNotFound(_ name: TokenName) -> Problem {
        Problem(
            status: 404, code: "token-not-found", title: "No such token",
            detail: "Token \(name) not found. `orchestry token list` shows the tokens in force.")
    }
}
