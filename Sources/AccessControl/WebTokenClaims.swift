import OrchestryModel

/// Which JSON Web Tokens are believed, apart from their signature (RFC 7519 §4.1).
package struct WebTokenRules: Hashable, Sendable {
    /// `iss` must be this.
    package var issuer: String
    /// `aud` must be or hold this.
    package var audience: String
    /// How far clocks may be apart.
    package var leewaySeconds: Int
    /// Where the role is: members separated by dots, `realm_access.roles`. A text, or a list, of which the strongest role
    /// counts.
    package var roleClaim: String
    /// Where the apps are, a list; tokens without it are for all apps.
    package var appsClaim: String
    package init(
        issuer: String, audience: String, leewaySeconds: Int = 30, roleClaim: String = "role",
        appsClaim: String = "apps"
    ) {
        self.issuer = issuer
        self.audience = audience
        self.leewaySeconds = leewaySeconds
        self.roleClaim = roleClaim
        self.appsClaim = appsClaim
    }

    /// Why a token is refused, in words that may be shown to whoever sent it.
    package struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
        package var description: String
        package init(_ description: String) { self.description = description }
    }

    /// What the claims of a token whose signature is good give.
    /// - Parameter now: by the wall clock: the issuer's times are.
    /// - Throws: what is wrong with them.
    package func caller(claims: JSONValue, now: WallTime) throws(Refusal) -> (name: String, grant: AccessGrant) {
        guard claims.objectValue != nil else { throw Refusal("its claims are not an object") }
        guard claims["iss"]?.stringValue == issuer else { throw Refusal("it is from another issuer") }
        guard isMeantForUs(claims["aud"]) else { throw Refusal("it is for another audience") }
        try checkTimes(claims, now: now)
        guard let subject = claims["sub"]?.stringValue, (1...200).contains(subject.utf8.count),
            subject.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7F })
        else { throw Refusal("it has no subject (sub), or one of more than 200 bytes or with spaces") }
        return (subject, AccessGrant(role: try role(claims), apps: try apps(claims)))
    }

    private func isMeantForUs(_ audience: JSONValue?) -> Bool {
        switch audience {
        case .string(let text)?: text == self.audience
        case .array(let list)?: list.contains(.string(self.audience))
        default: false
        }
    }

    private func checkTimes(_ claims: JSONValue, now: WallTime) throws(Refusal) {
        func seconds(_ name: String) throws(Refusal) -> Double? {
            guard let value = claims[name] else { return nil }
            guard let number = value.doubleValue, number.isFinite else { throw Refusal("\(name) is not a number") }
            return number
        }
        let leeway = Double(leewaySeconds)
        guard let expires = try seconds("exp") else { throw Refusal("it never expires (no exp)") }
        guard now.seconds < expires + leeway else { throw Refusal("it has expired") }
        for name in ["nbf", "iat"] {
            if let from = try seconds(name), now.seconds < from - leeway {
                throw Refusal("it is not valid yet (\(name))")
            }
        }
    }

    private func claim(_ path: String, in claims: JSONValue) -> JSONValue? {
        // A claim whose name has dots (a URL) is found by its whole name.
        if let whole = claims[path] { return whole }
        return path.split(separator: ".").reduce(JSONValue?(claims)) { $0?[String($1)] }
    }

    private func role(_ claims: JSONValue) throws(Refusal) -> Role {
        let value = claim(roleClaim, in: claims)
        let words = value?.arrayValue?.compactMap(\.stringValue) ?? [value?.stringValue].compactMap { $0 }
        guard let role = Role.allCases.last(where: { words.contains($0.rawValue) }) else {
            throw Refusal("it names no role (\(roleClaim): viewer, operator or admin)")
        }
        return role
    }

    private func apps(_ claims: JSONValue) throws(Refusal) -> [AppName]? {
        guard let value = claim(appsClaim, in: claims) else { return nil }
        let names = value.arrayValue?.compactMap { $0.stringValue.flatMap(AppName.init(rawValue:)) }
        guard let names, names.count == value.arrayValue?.count, names.count <= 100 else {
            throw Refusal("\(appsClaim) is not a list of up to 100 apps")
        }
        return Set(names).sorted()
    }
}
