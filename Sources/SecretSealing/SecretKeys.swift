import Crypto
import Foundation
import OrchestryModel

/// The cluster's keys for secrets, from a file that each node's configuration names (`secrets.key_file`). The first
/// seals, all of them open: a new key is added below on every node first, then moved to the top, and the old one removed
/// when nothing is sealed under it any more.
///
/// ChaCha20-Poly1305 with a random nonce; cluster, name and version are authenticated with the value, so that what was
/// sealed for one can't be passed off as another, or as an older version.
package struct SecretKeys: Sendable {
    private struct Key: Sendable {
        var id: String
        var key: SymmetricKey
    }
    static let keyBytes = 32
    private let keys: [Key]
    private let cluster: ClusterID

    /// - Parameters:
    ///   - text: base64 of 32 bytes a line; empty lines and lines that begin with `#` are passed over.
    ///   - cluster: whose secrets they are.
    /// - Throws: `badKeyFile` with the number of the line, never with the line.
    package init(text: String, cluster: ClusterID) throws(SecretSealingError) {
        var keys: [Key] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let content = line.trimmingCharacters(in: .whitespaces)
            guard !content.isEmpty, !content.hasPrefix("#") else { continue }
            guard let bytes = Data(base64Encoded: content), bytes.count == Self.keyBytes else {
                throw .badKeyFile("line \(index + 1) is not base64 of \(Self.keyBytes) bytes")
            }
            let key = Key(id: Self.identifier(of: bytes), key: SymmetricKey(data: bytes))
            guard !keys.contains(where: { $0.id == key.id }) else {
                throw .badKeyFile("line \(index + 1) repeats a key")
            }
            keys.append(key)
        }
        guard !keys.isEmpty else { throw .badKeyFile("it holds no key") }
        self.keys = keys
        self.cluster = cluster
    }

    /// A new key, as a line of a key file without its end.
    package static func generateLine() -> String {
        SymmetricKey(size: .bits256).withUnsafeBytes { Data($0).base64EncodedString() }
    }

    /// The first 16 hexadecimal digits of a hash that tells keys apart and says nothing about them.
    private static func identifier(of key: Data) -> String {
        let digest = SHA256.hash(data: Data("orchestry secret key\0".utf8) + key)
        return hexadecimal(digest.prefix(8))
    }

    /// The key that seals.
    package var sealingKeyID: String { keys[0].id }

    /// - Parameter version: 0 on the way to the leader.
    package func seal(_ value: String, name: SecretName, version: Int) -> SealedSecret {
        let sealed: ChaChaPoly.SealedBox
        do {
            sealed = try ChaChaPoly.seal(
                Data(value.utf8), using: keys[0].key, authenticating: context(name: name, version: version))
        } catch {
            preconditionFailure("\(error)")  // Key and nonce are of the right length, by `init` and by default.
        }
        return SealedSecret(
            name: name, version: version, keyID: keys[0].id, box: sealed.combined.base64EncodedString())
    }

    /// - Throws: `unknownKey`, `damaged`.
    package func open(_ secret: SealedSecret) throws(SecretSealingError) -> String {
        guard let key = keys.first(where: { $0.id == secret.keyID }) else {
            throw .unknownKey(secret.name, keyID: secret.keyID)
        }
        do {
            guard let bytes = Data(base64Encoded: secret.box) else { throw SecretSealingError.damaged(secret.name) }
            let opened = try ChaChaPoly.open(
                ChaChaPoly.SealedBox(combined: bytes), using: key.key,
                authenticating: context(name: secret.name, version: secret.version))
            guard let value = String(validating: opened, as: UTF8.self) else {
                throw SecretSealingError.damaged(secret.name)
            }
            return value
        } catch {
            throw .damaged(secret.name)
        }
    }

    /// Tells the value apart from others of its name, however often and by whichever node it was sealed: the same value has
    /// the same fingerprint under the same key. HMAC-SHA256 under a key of its own that HKDF derives from the sealing key,
    /// so that a value can't be guessed from it without the key file. The version plays no part.
    /// - Parameter keyID: which key; nil: the one that seals.
    /// - Returns: the key's id and 64 hexadecimal digits.
    /// - Throws: `unknownKey`, `damaged`.
    package func fingerprint(
        of secret: SealedSecret, under keyID: String? = nil
    ) throws(SecretSealingError) -> (keyID: String, digest: String) {
        let keyID = keyID ?? sealingKeyID
        guard let key = keys.first(where: { $0.id == keyID }) else { throw .unknownKey(secret.name, keyID: keyID) }
        let value = try open(secret)
        let derived = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: key.key, info: Data("orchestry secret fingerprint 1".utf8),
            outputByteCount: Self.keyBytes)
        let code = HMAC<SHA256>.authenticationCode(
            for: context(name: secret.name, version: 0) + Data("\0\(value)".utf8), using: derived)
        return (keyID, Self.hexadecimal(code))
    }

    private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// No part can hold a NUL, so no two contexts give the same bytes.
    private func context(name: SecretName, version: Int) -> Data {
        Data("orchestry secret 1\0\(cluster)\0\(name)\0\(version)".utf8)
    }
}

/// Why a secret can't be sealed or opened. Says which secret and which key, never what is in them.
package enum SecretSealingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// This node's configuration names no key file.
    case notConfigured
    case badKeyFile(String)
    case unknownKey(SecretName, keyID: String)
    /// Changed since it was sealed, or sealed for another cluster, name or version.
    case damaged(SecretName)

    package var description: String {
        switch self {
        case .notConfigured:
            "this node has no key for secrets: make one with `orchestry secret key FILE`, copy it to every node and name it "
                + "in secrets.key_file"
        case .badKeyFile(let reason): "the key file can't be used: \(reason)"
        case .unknownKey(let name, let keyID):
            "secret '\(name)' is sealed under key \(keyID), which is not in this node's secrets.key_file"
        case .damaged(let name): "secret '\(name)' does not open: it was changed, or sealed for another cluster"
        }
    }
}
