import Foundation
import SwiftASN1
import X509

/// What an operator wants to know of a certificate.
package struct CertificateSummary: Hashable, Sendable {
    package var subject: String
    package var issuer: String
    /// The DNS names it is for; for a node, its id.
    package var dnsNames: [String]
    /// IPv4 and IPv6 literals.
    package var addresses: [String]
    /// Hexadecimal.
    package var serial: String
    /// SHA-256 of the certificate, hexadecimal.
    package var fingerprint: String
    package var notBefore: Date
    package var notAfter: Date
    package var isAuthority: Bool

    /// The first certificate of a PEM text.
    /// - Throws: `unreadable` unless the text holds one.
    package init(pem: String) throws(CertificateError) {
        try self.init(try NodeCertificate.certificates(pem, "the text")[0])
    }

    /// All certificates of a PEM text, in order; at least one.
    package static func all(pem: String) throws(CertificateError) -> [CertificateSummary] {
        var summaries: [CertificateSummary] = []
        for certificate in try NodeCertificate.certificates(pem, "the text") {
            summaries.append(try CertificateSummary(certificate))
        }
        return summaries
    }

    private init(_ certificate: Certificate) throws(CertificateError) {
        subject = certificate.subject.description
        issuer = certificate.issuer.description
        notBefore = certificate.notValidBefore
        notAfter = certificate.notValidAfter
        serial = certificate.hexadecimalSerial
        fingerprint = try certificate.fingerprint()
        do {
            let names = try certificate.extensions.subjectAlternativeNames.map(Array.init) ?? []
            dnsNames = names.compactMap { if case .dnsName(let text) = $0 { text } else { nil } }
            addresses = names.compactMap {
                if case .ipAddress(let bytes) = $0 { Self.address(bytes.bytes) } else { nil }
            }
            if case .isCertificateAuthority? = try certificate.extensions.basicConstraints {
                isAuthority = true
            } else {
                isAuthority = false
            }
        } catch {
            throw CertificateError(.unreadable, "a certificate's extensions can't be read: \(error)")
        }
    }

    /// nil unless there are 4 or 16 bytes.
    private static func address(_ bytes: ArraySlice<UInt8>) -> String? {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let isWritten = Array(bytes).withUnsafeBytes { raw in
            inet_ntop(
                bytes.count == 4 ? AF_INET : AF_INET6, raw.baseAddress, &text, socklen_t(text.count)) != nil
        }
        return isWritten ? String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
    }
}
