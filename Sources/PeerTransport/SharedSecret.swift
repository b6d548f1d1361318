import Crypto
import OrchestryModel
import WireProtocol

/// Proofs for connections without TLS: HMAC-SHA256 over both nonces and who talks to whom (`proto-spec/framing.md`).
package struct SharedSecret: Sendable {
    enum Side: String { case acceptor, dialer }

    /// What both sides must agree on.
    struct Transcript {
        var cluster: ClusterID
        var dialer: NodeID
        var acceptor: NodeID
        var channel: ChannelKind
        var dialerNonce: [UInt8]
        var acceptorNonce: [UInt8]
    }

    static let minimumBytes = 16
    private let key: SymmetricKey

    /// - Returns: nil when the secret has fewer than 16 bytes.
    package init?(_ secret: String) {
        guard secret.utf8.count >= Self.minimumBytes else { return nil }
        key = SymmetricKey(data: Array(secret.utf8))
    }

    func proof(of side: Side, _ transcript: Transcript) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Self.message(side, transcript), using: key))
    }

    /// Takes the same time for every wrong proof.
    func isValid(_ proof: [UInt8], of side: Side, _ transcript: Transcript) -> Bool {
        HMAC<SHA256>.isValidAuthenticationCode(proof, authenticating: Self.message(side, transcript), using: key)
    }

    /// The names hold no zero byte and the nonces have a fixed length, so no two transcripts give the same bytes. The
    /// side is part of it: a proof can't be sent back to the one that made it.
    private static func message(_ side: Side, _ transcript: Transcript) -> [UInt8] {
        let words = [
            "orchestry-1", side.rawValue, transcript.cluster.rawValue, transcript.dialer.rawValue,
            transcript.acceptor.rawValue, transcript.channel.description,
        ]
        return words.flatMap { Array($0.utf8) + [0] } + transcript.dialerNonce + transcript.acceptorNonce
    }
}
