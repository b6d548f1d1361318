import Crypto
import Foundation
import SwiftASN1
import X509

/// A node's certificate as it would be used, checked before it is.
package struct NodeCertificate: Hashable, Sendable {
    /// Hexadecimal, as `orchestry certs show` and openssl print it.
    package var serial: String
    package var notAfter: Date
    /// SHA-256 fingerprints of the authorities that are trusted, hexadecimal, in the file's order.
    package var authorities: [String]
    /// When the first of them ends.
    package var authoritiesEnd: Date

    /// - Parameters:
    ///   - authoritiesPEM: one certificate or several.
    ///   - certificatePEM: the node's, then intermediate ones if there are any.
    ///   - node: the id that the certificate must name.
    /// - Throws: `unreadable`, `mismatched` (the key is not the certificate's), `invalidName`, `expired`, `untrusted`
    ///   (none of the authorities has signed it).
    package static func check(
        authoritiesPEM: String, certificatePEM: String, keyPEM: String, node: String, now: Date = Date()
    ) async throws(CertificateError) -> NodeCertificate {
        let authorities = try certificates(authoritiesPEM, "the authorities' file")
        let chain = try certificates(certificatePEM, "the node's certificate file")
        let leaf = chain[0]
        let key: Certificate.PrivateKey
        do {
            key = try Certificate.PrivateKey(pemEncoded: keyPEM)
        } catch {
            throw CertificateError(.unreadable, "the node's key file is not a private key in PEM")
        }
        guard leaf.publicKey == key.publicKey else {
            throw CertificateError(.mismatched, "the key does not belong to the certificate: copy both files")
        }
        let names = dnsNames(of: leaf)
        guard names.contains(node) else {
            throw CertificateError(
                .invalidName,
                "the certificate is for \(names.isEmpty ? "nobody" : names.joined(separator: ", ")), not for \(node)")
        }
        guard leaf.notValidAfter > now else {
            throw CertificateError(.expired, "the certificate ended at \(leaf.notValidAfter.ISO8601Format())")
        }
        guard leaf.notValidBefore <= now else {
            throw CertificateError(
                .expired,
                "the certificate is valid from \(leaf.notValidBefore.ISO8601Format()) on: is this clock right?")
        }
        var verifier = Verifier(rootCertificates: CertificateStore(authorities)) { RFC5280Policy() }
        let result = await verifier.validate(leaf: leaf, intermediates: CertificateStore(chain.dropFirst()))
        guard case .validCertificate = result else {
            throw CertificateError(
                .untrusted,
                "none of the \(authorities.count) authorities in the authorities' file has signed the certificate")
        }
        return NodeCertificate(
            serial: leaf.hexadecimalSerial, notAfter: leaf.notValidAfter,
            authorities: try authorities.map { certificate throws(CertificateError) in try certificate.fingerprint() },
            authoritiesEnd: authorities.map(\.notValidAfter).min() ?? leaf.notValidAfter)
    }

    /// All certificates of a PEM text, at least one.
    static func certificates(_ pem: String, _ what: String) throws(CertificateError) -> [Certificate] {
        do {
            let certificates = try PEMDocument.parseMultiple(pemString: pem).map { try Certificate(pemDocument: $0) }
            guard !certificates.isEmpty else { throw CertificateError(.unreadable, "\(what) holds no certificate") }
            return certificates
        } catch let error as CertificateError {
            throw error
        } catch {
            throw CertificateError(.unreadable, "\(what) is not a certificate in PEM: \(error)")
        }
    }

    static func dnsNames(of certificate: Certificate) -> [String] {
        // An extension that can't be read names nobody.
        let names = (try? certificate.extensions.subjectAlternativeNames).flatMap { $0 }
        return names?.compactMap { if case .dnsName(let text) = $0 { text } else { nil } } ?? []
    }
}

extension Certificate {
    var hexadecimalSerial: String { hexadecimal(serialNumber.bytes) }

    /// SHA-256 of its DER form.
    func fingerprint() throws(CertificateError) -> String {
        do {
            var serializer = DER.Serializer()
            try serializer.serialize(self)
            return hexadecimal(SHA256.hash(data: serializer.serializedBytes))
        } catch {
            throw CertificateError(.unreadable, "a certificate has no DER form: \(error)")
        }
    }
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
