import Foundation
import SwiftASN1
import X509

/// What an operator wants to know of a certificate.
package struct CertificateSummary: Hashable, Sendable {
    package var subject: String
    package var issuer: String
    /// The DNS names it is for; for a node, its id.
    package var dnsNames: [String]
    package var notBefore: Date
    package var notAfter: Date
    package var isAuthority: Bool

    /// - Throws: `unreadable` unless the text is one certificate in PEM.
    package init(pem: String) throws(CertificateError) {
        do {
            let certificate = try Certificate(pemEncoded: pem)
            subject = certificate.subject.description
            issuer = certificate.issuer.description
            notBefore = certificate.notValidBefore
            notAfter = certificate.notValidAfter
            dnsNames =
                try certificate.extensions.subjectAlternativeNames?.compactMap { name in
                    if case .dnsName(let text) = name { text } else { nil }
                } ?? []
            if case .isCertificateAuthority? = try certificate.extensions.basicConstraints {
                isAuthority = true
            } else {
                isAuthority = false
            }
        } catch {
            throw CertificateError(.unreadable, "not a certificate in PEM: \(error)")
        }
    }
}
