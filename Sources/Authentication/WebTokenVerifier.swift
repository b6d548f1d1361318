import AccessControl
import Foundation
import JWTKit
import OrchestryModel

/// Verifies JSON Web Tokens (RFC 7519) with keys from files: HS256 under a shared secret, RS256, ES256 and EdDSA under a
/// set of public keys (RFC 7517).
///
/// A key is used for one algorithm, which is found out when the key is read and never taken from a token. So a public key
/// can't be made to serve as the secret of HS256, and `none` has no key (RFC 8725 §3.1).
package struct WebTokenVerifier: Sendable {
    package struct KeyError: Error, Hashable, CustomStringConvertible {
        package var description: String
    }

    private struct Key: Sendable {
        var id: String?
        var algorithm: String
        var verify: @Sendable (_ signature: [UInt8], _ signed: [UInt8]) -> Bool
    }

    private let keys: [Key]
    private let rules: WebTokenRules
    /// Longest token, bytes.
    package static let maximumBytes = 8_192

    /// - Parameters:
    ///   - secret: for HS256, 32 bytes or more (RFC 7518 §3.2); nil: HS256 is refused.
    ///   - keySet: the text of a JWKS; nil: public-key algorithms are refused.
    /// - Throws: `KeyError` for a short secret, a set that can't be read or has no key that can be used.
    package init(secret: [UInt8]?, keySet: String?, rules: WebTokenRules) async throws(KeyError) {
        var keys: [Key] = []
        if let secret {
            guard secret.count >= 32 else {
                throw KeyError(description: "the secret of HS256 must have 32 bytes or more, has \(secret.count)")
            }
            let collection = JWTKeyCollection()
            await collection.add(hmac: HMACKey(from: Data(secret)), digestAlgorithm: .sha256)
            keys.append(try await Self.key(id: nil, "HS256", collection))
        }
        if let keySet { keys += try await Self.keys(of: keySet) }
        self.keys = keys
        self.rules = rules
    }

    /// What keys there are, `RS256 key-1`, for the log.
    package var keyNames: [String] { keys.map { "\($0.algorithm) \($0.id ?? "(no kid)")" } }

    // MARK: Keys

    private static func key(id: String?, _ algorithm: String, _ collection: JWTKeyCollection) async throws(KeyError)
        -> Key
    {
        let verifier: any JWTAlgorithm
        do {
            verifier = try await collection.getKey(for: id.map { JWKIdentifier(string: $0) }, alg: algorithm)
        } catch {
            throw KeyError(description: "the key \(id ?? "") can't be used for \(algorithm): \(error)")
        }
        guard verifier.name == algorithm else {
            throw KeyError(description: "the key \(id ?? "") is for \(verifier.name), not \(algorithm)")
        }
        return Key(id: id, algorithm: algorithm) { signature, signed in
            // A signature that can't even be read is a wrong one.
            (try? verifier.verify(signature, signs: signed)) ?? false
        }
    }

    private static func keys(of text: String) async throws(KeyError) -> [Key] {
        let document: JSONValue
        do {
            document = try JSONValue(json: Array(text.utf8))
        } catch {
            throw KeyError(description: "not JSON: \(error)")
        }
        guard let entries = document["keys"]?.arrayValue else {
            throw KeyError(description: "not a key set: it must be an object with a list `keys`")
        }
        var keys: [Key] = []
        for (index, entry) in entries.enumerated() {
            // RFC 7517 §5: what is not understood is passed over.
            guard let algorithm = algorithm(of: entry), entry["use"] == nil || entry["use"] == "sig" else { continue }
            // Our own name, so that a key without one can be found.
            let place = "key-\(index)"
            guard case .object(var members) = entry else { continue }
            // RFC 7518 §3.3.
            if algorithm == "RS256", (Base64URL.decode(entry["n"]?.stringValue ?? "")?.count ?? 0) < 256 {
                throw KeyError(description: "keys[\(index)] is an RSA key of fewer than 2048 bits")
            }
            members["kid"] = .string(place)
            members["alg"] = .string(algorithm)
            members["d"] = nil  // A private key has no business here, and is not needed.
            let collection = JWTKeyCollection()
            do {
                try await collection.add(jwksJSON: JSONValue.object(["keys": [.object(members)]]).jsonText())
            } catch {
                throw KeyError(description: "keys[\(index)] can't be read: \(error)")
            }
            var key = try await Self.key(id: place, algorithm, collection)
            key.id = entry["kid"]?.stringValue
            keys.append(key)
        }
        guard !keys.isEmpty else {
            throw KeyError(description: "it has no key for RS256 (RSA), ES256 (EC, P-256) or EdDSA (OKP, Ed25519)")
        }
        return keys
    }

    /// The one algorithm that a key of the set is used for; nil: none of ours.
    private static func algorithm(of key: JSONValue) -> String? {
        let fitting: String? =
            switch (key["kty"]?.stringValue, key["crv"]?.stringValue) {
            case ("RSA", _): "RS256"
            case ("EC", "P-256"): "ES256"
            case ("OKP", "Ed25519"): "EdDSA"
            default: nil  // `oct` too: a secret does not belong among public keys.
            }
        let named = key["alg"]?.stringValue
        return named == nil || named == fitting ? fitting : nil
    }

    // MARK: Tokens

    /// Whether a credential looks like a JSON Web Token.
    package static func looksLike(_ text: String) -> Bool {
        text.utf8.count <= maximumBytes && text.split(separator: ".", omittingEmptySubsequences: false).count == 3
    }

    /// - Throws: `WebTokenRules.Refusal` with the reason, which says nothing about keys.
    package func verify(
        _ token: String, now: WallTime
    ) throws(WebTokenRules.Refusal) -> (name: String, grant: AccessGrant) {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard Self.looksLike(token), let header = Self.object(parts[0]), let signature = Base64URL.decode(parts[2])
        else { throw .init("it is not a JSON Web Token in compact form") }
        // RFC 7515 §4.1.11: what must be understood and is not.
        guard header["crit"] == nil else { throw .init("its header has `crit`, which is not supported") }
        guard let algorithm = header["alg"]?.stringValue,
            ["HS256", "RS256", "ES256", "EdDSA"].contains(algorithm)
        else { throw .init("its algorithm is not one of HS256, RS256, ES256, EdDSA") }
        let id = header["kid"]?.stringValue
        let candidates = keys.filter { $0.algorithm == algorithm && (id == nil || $0.id == nil || $0.id == id) }
        guard !candidates.isEmpty else {
            throw .init("there is no key for its algorithm \(algorithm)\(id == nil ? "" : " and key id")")
        }
        let signed = Array("\(parts[0]).\(parts[1])".utf8)
        guard candidates.contains(where: { $0.verify(signature, signed) }) else {
            throw .init("its signature is wrong")
        }
        guard let claims = Self.object(parts[1]) else { throw .init("its claims are not JSON") }
        return try rules.caller(claims: claims, now: now)
    }

    private static func object(_ part: Substring) -> JSONValue? {
        // Not JSON, or with a member twice: refused, whichever.
        guard let bytes = Base64URL.decode(part), let value = try? JSONValue(json: bytes), value.objectValue != nil
        else {
            return nil
        }
        return value
    }
}
