extension AppSpec.Routing {
    /// The proxy ends TLS for the app, with a certificate kept as two secrets.
    public struct TLS: Hashable, Sendable, Codable {
        /// Secret with the certificate in PEM, then intermediate ones if there are any.
        public var certificateSecret: SecretName
        /// Secret with its private key in PEM, without a passphrase.
        public var keySecret: SecretName
        /// Whether plain HTTP is answered with a redirect (308) to HTTPS. Default true.
        public var redirect: Bool
        public init(certificateSecret: SecretName, keySecret: SecretName, redirect: Bool = true) {
            self.certificateSecret = certificateSecret
            self.keySecret = keySecret
            self.redirect = redirect
        }
    }

    /// The proxy answers 503 in the app's place.
    public struct Maintenance: Hashable, Sendable, Codable {
        /// What `Retry-After` says, 1…86,400 s. Default 60.
        public var retryAfterSeconds: Int
        /// For people: 1 to 200 bytes; nil: that the app is being worked on.
        public var message: String?
        public init(retryAfterSeconds: Int = 60, message: String? = nil) {
            self.retryAfterSeconds = retryAfterSeconds
            self.message = message
        }
        public static let maximumMessageBytes = 200
    }

    /// Most entries of `allow`, and of `deny`.
    public static let maximumRanges = 128
}

/// An IPv4 or IPv6 address, or a network of them: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7` (RFC 4632 §3.1, RFC 4291 §2.3).
public struct AddressRange: Hashable, Sendable, CustomStringConvertible, RawRepresentable, Codable {
    public let rawValue: String
    public init?(rawValue text: String) {
        guard Self.isValid(text) else { return nil }
        rawValue = text
    }
    public var description: String { rawValue }

    private static func isValid(_ text: String) -> Bool {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let isSix = parts[0].utf8.contains(UInt8(ascii: ":"))
        guard isSix ? isAddressSix(parts[0]) : isAddressFour(parts[0]) else { return false }
        guard parts.count == 2 else { return true }
        return decimal(parts[1], atMost: isSix ? 128 : 32)
    }

    /// Digits without a sign or a leading zero.
    private static func decimal(_ text: some StringProtocol, atMost limit: Int) -> Bool {
        guard (1...3).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            text == "0" || !text.hasPrefix("0"), let value = Int(text)
        else { return false }
        return value <= limit
    }

    private static func isAddressFour(_ text: some StringProtocol) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { decimal($0, atMost: 255) }
    }

    /// Eight groups, or fewer and one `::`; no embedded IPv4 and no zone.
    private static func isAddressSix(_ text: some StringProtocol) -> Bool {
        func groups(_ half: some StringProtocol) -> Int? {
            if half.isEmpty { return 0 }
            let parts = half.split(separator: ":", omittingEmptySubsequences: false)
            let good = parts.allSatisfy { part in
                (1...4).contains(part.utf8.count)
                    && part.utf8.allSatisfy {
                        (48...57).contains($0) || (97...102).contains($0) || (65...70).contains($0)
                    }
            }
            return good ? parts.count : nil
        }
        let bytes = Array(text.utf8)
        let gap = bytes.indices.dropLast().first { bytes[$0] == UInt8(ascii: ":") && bytes[$0 + 1] == bytes[$0] }
        guard let gap else { return groups(text) == 8 }
        let head = groups(String(decoding: bytes[..<gap], as: UTF8.self))
        let tail = groups(String(decoding: bytes[(gap + 2)...], as: UTF8.self))
        guard let head, let tail else { return false }
        return head + tail < 8
    }
}
