import Crypto
import Foundation
import OrchestryModel

/// Tells two requests under one idempotency key apart.
enum RequestFingerprint {
    /// `<release> <SHA-256>`; empty when the operation has no JSON form.
    static func of(_ operation: OrchestryModel.Operation) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var operation = operation
        // Sealed anew by each node that takes it: the same value has another form each time.
        if case .setSecret(let sealed) = operation {
            operation = .setSecret(SealedSecret(name: sealed.name, version: 0, keyID: "", box: ""))
        }
        // Then nothing is told apart, as before there were fingerprints.
        guard let text = try? encoder.encode(operation) else { return "" }
        let digest = SHA256.hash(data: text).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return "\(Node.version) \(digest)"
    }

    /// Another release may write the same request another way: a retry during an upgrade gets the benefit of the doubt.
    static func mayBeSame(_ stored: String, _ now: String) -> Bool {
        guard let release = stored.split(separator: " ").first, release == now.split(separator: " ").first else {
            return true
        }
        return stored == now
    }
}
