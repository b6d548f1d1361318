import Foundation
import OrchestryModel

/// What an app's `routing.tls` came to on this node.
package enum AppCertificate: Hashable, Sendable, CustomStringConvertible {
    /// PEM texts: the certificate with intermediate ones after it, and its private key.
    case pair(certificatePEM: String, keyPEM: String)
    /// It could not be had: why, safe to show.
    case missing(String)

    package var description: String {
        switch self {
        case .pair: "a certificate"
        case .missing(let reason): "none (\(reason))"
        }
    }
}

/// How an app that asks for TLS stands after an `apply`.
package struct CertificateState: Hashable, Sendable {
    /// When the certificate in use ends; nil: there is none, and the app is not served over TLS.
    package var notAfter: Date?
    /// 16 hexadecimal digits that tell certificates apart; nil as above.
    package var fingerprint: String?
    /// Why the one that was given is not in use; nil: it is, or none was given.
    package var refusal: String?
    /// Whether the one in use was put there by this `apply`.
    package var isNew: Bool
    /// Hosts of the app that the certificate in use does not name, sorted.
    package var uncovered: [String]
    package init(
        notAfter: Date? = nil, fingerprint: String? = nil, refusal: String? = nil, isNew: Bool = false,
        uncovered: [String] = []
    ) {
        self.notAfter = notAfter
        self.fingerprint = fingerprint
        self.refusal = refusal
        self.isNew = isNew
        self.uncovered = uncovered
    }
}
