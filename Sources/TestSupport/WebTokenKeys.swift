import AccessControl
import Crypto
import CryptoExtras
import Foundation
import OrchestryModel

/// Keys of every kind that signs JSON Web Tokens, made anew; signs with what it is told to, right or wrong.
public struct WebTokenKeys: Sendable {
    public enum Kind: String, CaseIterable, Sendable {
        case hs256 = "HS256", rs256 = "RS256", es256 = "ES256", edDSA = "EdDSA"
    }

    public let secret: [UInt8]
    private let rsa: _RSA.Signing.PrivateKey
    private let elliptic = P256.Signing.PrivateKey()
    private let edwards = Curve25519.Signing.PrivateKey()

    public init() throws {
        // Text, as it would be in a file.
        secret = Array(Base64URL.encode((0..<48).map { _ in UInt8.random(in: 0...255) }).utf8)
        rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
    }

    /// The public keys, as an issuer publishes them. Key ids: `RS256`, `ES256`, `EdDSA`.
    public func keySet() throws -> JSONValue {
        let primitives = try rsa.publicKey.getKeyPrimitives()
        let point = Array(elliptic.publicKey.rawRepresentation)
        return [
            "keys": [
                [
                    "kty": "RSA", "kid": "RS256", "use": "sig", "alg": "RS256",
                    "n": .string(Base64URL.encode(primitives.modulus)),
                    "e": .string(Base64URL.encode(primitives.publicExponent)),
                ],
                [
                    "kty": "EC", "crv": "P-256", "kid": "ES256", "x": .string(Base64URL.encode(point[..<32])),
                    "y": .string(Base64URL.encode(point[32...])),
                ],
                [
                    "kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "alg": "EdDSA",
                    "x": .string(Base64URL.encode(edwards.publicKey.rawRepresentation)),
                ],
            ]
        ]
    }

    /// The RSA key's public half as a file of an issuer holds it: what somebody who confuses algorithms takes for a secret.
    public var rsaPublicPEM: String { rsa.publicKey.pemRepresentation }

    /// - Parameters:
    ///   - header: the whole header; nil: `alg` and `kid` of the kind.
    ///   - secret: for HS256, instead of the right one.
    public func token(
        _ kind: Kind, claims: JSONValue, header: JSONValue? = nil, secret: [UInt8]? = nil
    ) throws -> String {
        let header =
            header
            ?? (kind == .hs256
                ? ["alg": "HS256", "typ": "JWT"] : ["alg": .string(kind.rawValue), "kid": .string(kind.rawValue)])
        let signed = Base64URL.encode(header.jsonBytes()) + "." + Base64URL.encode(claims.jsonBytes())
        let data = Data(signed.utf8)
        let signature: [UInt8] =
            switch kind {
            case .hs256:
                Array(HMAC<SHA256>.authenticationCode(for: data, using: SymmetricKey(data: secret ?? self.secret)))
            case .rs256:
                Array(try rsa.signature(for: SHA256.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation)
            case .es256: Array(try elliptic.signature(for: data).rawRepresentation)
            case .edDSA: Array(try edwards.signature(for: data))
            }
        return signed + "." + Base64URL.encode(signature)
    }
}
