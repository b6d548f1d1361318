import Crypto
import Foundation
import SwiftASN1
import X509

/// A certificate and its private key, as PEM texts.
package struct CertificateMaterial: Sendable {
    package var certificatePEM: String
    package var keyPEM: String
    package init(certificatePEM: String, keyPEM: String) {
        self.certificatePEM = certificatePEM
        self.keyPEM = keyPEM
    }
}

/// Makes the certificates of a cluster: one authority, and one certificate a node that serves both directions of mTLS.
/// P-256 keys, ECDSA with SHA-256.
package enum CertificateAuthority {
    package static let authorityDays = 3650
    package static let nodeDays = 365
    /// Certificates are valid from a little before now, since nodes' clocks differ.
    private static let backdating: TimeInterval = 3600

    /// A new self-signed authority that may sign node certificates but no further authorities.
    /// - Parameters:
    ///   - name: for people, who see it when they look at the certificate: 1…64 characters.
    ///   - days: how long it is valid.
    package static func create(
        name: String = "Orchestry cluster authority", days: Int = authorityDays, now: Date = Date()
    ) throws(CertificateError) -> CertificateMaterial {
        let key = P256.Signing.PrivateKey()
        do {
            let subject = try DistinguishedName { CommonName(name) }
            let publicKey = Certificate.PublicKey(key.publicKey)
            let certificate = try Certificate(
                version: .v3, serialNumber: .init(), publicKey: publicKey,
                notValidBefore: now.addingTimeInterval(-backdating),
                notValidAfter: now.addingTimeInterval(TimeInterval(days) * 86_400), issuer: subject, subject: subject,
                signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    SubjectKeyIdentifier(hash: publicKey)
                },
                issuerPrivateKey: .init(key))
            return CertificateMaterial(
                certificatePEM: try certificate.serializeAsPEM().pemString + "\n", keyPEM: key.pemRepresentation + "\n")
        } catch {
            throw CertificateError(.unwritable, "the authority's certificate can't be made: \(error)")
        }
    }

    /// A certificate for one node, with a new key.
    /// - Parameters:
    ///   - node: the node's id, a DNS label: the name peers check.
    ///   - addresses: IPv4 or IPv6 literals that REST clients may reach the node by.
    /// - Throws: `invalidName`, `invalidAddress`, `notAnAuthority`.
    package static func issue(
        authority: CertificateMaterial, node: String, addresses: [String] = [], days: Int = nodeDays,
        now: Date = Date()
    ) throws(CertificateError) -> CertificateMaterial {
        guard isDNSLabel(node) else {
            throw CertificateError(.invalidName, "'\(node)' is not a node id: 1 to 63 of a-z, 0-9 and -")
        }
        var names = [GeneralName.dnsName(node)]
        for address in addresses {
            guard let bytes = addressBytes(address) else {
                throw CertificateError(.invalidAddress, "'\(address)' is neither an IPv4 nor an IPv6 address")
            }
            names.append(.ipAddress(ASN1OctetString(contentBytes: bytes[...])))
        }
        let (issuer, issuerKey) = try parse(authority, now: now)
        let key = P256.Signing.PrivateKey()
        do {
            let publicKey = Certificate.PublicKey(key.publicKey)
            // A node must not outlive its authority: that would only fail later and less clearly.
            let end = min(now.addingTimeInterval(TimeInterval(days) * 86_400), issuer.notValidAfter)
            let certificate = try Certificate(
                version: .v3, serialNumber: .init(), publicKey: publicKey,
                notValidBefore: now.addingTimeInterval(-backdating), notValidAfter: end, issuer: issuer.subject,
                subject: try DistinguishedName { CommonName(node) }, signatureAlgorithm: .ecdsaWithSHA256,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage([.serverAuth, .clientAuth])
                    SubjectAlternativeNames(names)
                    SubjectKeyIdentifier(hash: publicKey)
                    AuthorityKeyIdentifier(
                        keyIdentifier: try issuer.extensions.subjectKeyIdentifier?.keyIdentifier)
                },
                issuerPrivateKey: issuerKey)
            return CertificateMaterial(
                certificatePEM: try certificate.serializeAsPEM().pemString + "\n", keyPEM: key.pemRepresentation + "\n")
        } catch {
            throw CertificateError(.unwritable, "the certificate of \(node) can't be made: \(error)")
        }
    }

    private static func parse(
        _ authority: CertificateMaterial, now: Date
    ) throws(CertificateError) -> (Certificate, Certificate.PrivateKey) {
        let certificate: Certificate
        let key: Certificate.PrivateKey
        do {
            certificate = try Certificate(pemEncoded: authority.certificatePEM)
            key = try Certificate.PrivateKey(pemEncoded: authority.keyPEM)
        } catch {
            throw CertificateError(.unreadable, "the authority's certificate or key is not PEM: \(error)")
        }
        // An extension that can't be read is as good as none.
        guard case .isCertificateAuthority? = try? certificate.extensions.basicConstraints else {
            throw CertificateError(.notAnAuthority, "the certificate that should sign is not an authority's")
        }
        guard certificate.publicKey == key.publicKey else {
            throw CertificateError(.notAnAuthority, "the authority's key does not belong to its certificate")
        }
        guard certificate.notValidAfter > now else {
            throw CertificateError(.notAnAuthority, "the authority's certificate ended at \(certificate.notValidAfter)")
        }
        return (certificate, key)
    }

    /// RFC 1123 §2.1, lower case: the rule for node ids.
    private static func isDNSLabel(_ text: String) -> Bool {
        (1...63).contains(text.utf8.count) && !text.hasPrefix("-") && !text.hasSuffix("-")
            && text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
    }

    /// 4 or 16 bytes in network order, as RFC 5280 §4.2.1.6 wants them.
    private static func addressBytes(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var sixteen = in6_addr()
        if inet_pton(AF_INET6, text, &sixteen) == 1 { return withUnsafeBytes(of: sixteen) { Array($0) } }
        return nil
    }
}
