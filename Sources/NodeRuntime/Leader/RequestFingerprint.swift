import Crypto
import Foundation
import OrchestryModel
import SecretSealing

/// Tells two requests under one idempotency key apart.
///
/// `<release> <SHA-256>`, and for a secret's value ` <key>`: the value goes in as a code under that key of the cluster's
/// key file, so that whoever reads PostgreSQL can't try values. Empty when the operation has no JSON form.
enum RequestFingerprint {
    /// - Parameter keyID: of the key that a value goes in under; nil: the one that seals.
    /// - Throws: when a secret's value can't be opened here, or not under that key.
    static func of(
        _ operation: OrchestryModel.Operation, keys: SecretKeys?, under keyID: String? = nil
    ) throws(SecretSealingError) -> String {
        var operation = operation
        var suffix = ""
        // Sealed anew by each node that takes it: the same value has another form each time.
        if case .setSecret(let sealed) = operation {
            guard let keys else { throw .notConfigured }
            let value = try keys.fingerprint(of: sealed, under: keyID)
            operation = .setSecret(SealedSecret(name: sealed.name, version: 0, keyID: "", box: value.digest))
            suffix = " " + value.keyID
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Then nothing is told apart, as before there were fingerprints.
        guard let text = try? encoder.encode(operation) else { return "" }
        let digest = SHA256.hash(data: text).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return "\(Node.version) \(digest)" + suffix
    }

    /// Another release may write the same request another way: a retry during an upgrade gets the benefit of the doubt.
    /// - Throws: as `of`.
    static func mayBeSame(
        _ stored: String, as operation: OrchestryModel.Operation, keys: SecretKeys?
    ) throws(SecretSealingError) -> Bool {
        let parts = stored.split(separator: " ").map(String.init)
        guard parts.first == Node.version else { return true }
        // Under the key of then: another may have come to the top of the file since.
        return try stored == of(operation, keys: keys, under: parts.count > 2 ? parts[2] : nil)
    }
}
