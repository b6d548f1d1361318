import SecretSealing

/// Who may use the REST facade, and how it is reached.
package struct AccessSettings: Sendable, Hashable {
    package struct WebTokens: Sendable, Hashable {
        /// nil: no HS256.
        package var secretFile: String?
        /// nil: no RS256, ES256, EdDSA.
        package var keySetFile: String?
        package var issuer: String
        package var audience: String
        package var leewaySeconds: Int
        package var roleClaim: String
        package var appsClaim: String
    }
    package struct Certificate: Sendable, Hashable {
        package var certificate: String
        package var key: String
    }

    package var isRequired: Bool
    package var bootstrapTokenFile: String?
    /// nil: JSON Web Tokens are refused.
    package var webTokens: WebTokens?
    /// nil: plain HTTP.
    package var certificate: Certificate?
    /// Lower case.
    package var corsOrigins: Set<String>
}

extension ConfigurationReader {
    mutating func access() -> AccessSettings {
        AccessSettings(
            isRequired: authenticates(), bootstrapTokenFile: privateFile("auth.bootstrap_token_file"),
            webTokens: webTokens(), certificate: facadeCertificate(), corsOrigins: origins("api.cors_origins"))
    }

    /// YAML reads a bare `off` as false.
    private mutating func authenticates() -> Bool {
        switch text("auth.mode").lowercased() {
        case "off", "false": return false
        case "required", "on", "true": return true
        default:
            problems.append("\(origin("auth.mode")) must be one of off, required, got '\(text("auth.mode"))'")
            return true
        }
    }

    /// nil when empty.
    private func optionalText(_ name: String) -> String? { text(name).isEmpty ? nil : text(name) }

    /// A file that only its owner may read; nil when empty.
    private mutating func privateFile(_ name: String) -> String? {
        guard let path = optionalText(name) else { return nil }
        do throws(PrivateFile.Failure) {
            _ = try PrivateFile.read(path)
        } catch {
            problems.append("\(origin(name)): \(error)")
        }
        return path
    }

    private mutating func webTokens() -> AccessSettings.WebTokens? {
        let secret = privateFile("auth.jwt_secret_file")
        let keys = optionalText("auth.jwt_jwks_file")
        let leeway = duration("auth.jwt_leeway", in: .zero ... .seconds(300))
        guard secret != nil || keys != nil else { return nil }
        return AccessSettings.WebTokens(
            secretFile: secret, keySetFile: keys, issuer: required("auth.jwt_issuer"),
            audience: required("auth.jwt_audience"), leewaySeconds: Int(leeway.components.seconds),
            roleClaim: required("auth.jwt_role_claim"), appsClaim: required("auth.jwt_apps_claim"))
    }

    private mutating func facadeCertificate() -> AccessSettings.Certificate? {
        let (certificate, key) = (text("api.tls_certificate"), text("api.tls_key"))
        if certificate.isEmpty, key.isEmpty { return nil }
        let certificatePath = required("api.tls_certificate")
        return AccessSettings.Certificate(certificate: certificatePath, key: required("api.tls_key"))
    }

    private mutating func origins(_ name: String) -> Set<String> {
        var origins: Set<String> = []
        for item in text(name).split(separator: ",") {
            let entry = item.filter { $0 != " " }.lowercased()
            if entry.wholeMatch(of: /https?:\/\/[a-z0-9.\-]+(:[0-9]{1,5})?|https?:\/\/\[[0-9a-f:]+\](:[0-9]{1,5})?/)
                != nil
            {
                origins.insert(entry)
            } else {
                problems.append(
                    "\(origin(name)): '\(entry)' must be an origin such as https://ops.example.com, without a path; `*` is "
                        + "not taken")
            }
        }
        return origins
    }

    /// Whoever reaches the facade can run containers: that it is reached from beyond loopback without credentials must be
    /// somebody's decision.
    mutating func refuseOpenAPI(_ access: AccessSettings, host: String) {
        guard !access.isRequired, !Self.isLoopback(host), !flag("api.allow_unauthenticated") else { return }
        problems.append(
            "api.host must be a loopback address with auth.mode off, got '\(host)': set auth.mode to required (and see "
                + "`orchestry token --help`), or api.allow_unauthenticated to true if its network is trusted")
    }
}
