import Certificates
import Crypto
import Foundation
import SwiftASN1
import Testing
import X509

// X509 has an error of the same name.
import struct Certificates.CertificateError

@Suite struct CertificateTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)

    /// The error of a call that must fail.
    private func code(_ body: () throws(CertificateError) -> Void) -> CertificateError.Code? {
        do throws(CertificateError) { try body() } catch { return error.code }
        return nil
    }

    @Test func `an authority signs nodes and nothing else`() throws {
        let authority = try CertificateAuthority.create(now: now)
        let certificate = try Certificate(pemEncoded: authority.certificatePEM)
        #expect(try certificate.extensions.basicConstraints == .isCertificateAuthority(maxPathLength: 0))
        #expect(try certificate.extensions.keyUsage == KeyUsage(keyCertSign: true, cRLSign: true))
        #expect(certificate.notValidAfter == now.addingTimeInterval(3650 * 86_400))
        #expect(certificate.publicKey.isValidSignature(certificate.signature, for: certificate))
    }

    @Test func `a node's certificate names it and serves both directions`() throws {
        let authority = try CertificateAuthority.create(now: now)
        let node = try CertificateAuthority.issue(
            authority: authority, node: "node-a", addresses: ["10.0.0.1", "fd00::1"], now: now)
        let certificate = try Certificate(pemEncoded: node.certificatePEM)
        let issuer = try Certificate(pemEncoded: authority.certificatePEM)
        #expect(issuer.publicKey.isValidSignature(certificate.signature, for: certificate))
        #expect(certificate.issuer == issuer.subject)
        #expect(certificate.notValidAfter == now.addingTimeInterval(365 * 86_400))
        #expect(certificate.notValidBefore < now)
        let names = try #require(try certificate.extensions.subjectAlternativeNames)
        #expect(
            Array(names) == [
                .dnsName("node-a"), .ipAddress(ASN1OctetString(contentBytes: [10, 0, 0, 1])),
                .ipAddress(ASN1OctetString(contentBytes: [0xFD] + Array(repeating: 0, count: 14) + [1])),
            ])
        let usages = try #require(try certificate.extensions.extendedKeyUsage)
        #expect(Set(usages) == [.serverAuth, .clientAuth])
        #expect(try certificate.extensions.basicConstraints == .notCertificateAuthority)
        #expect(
            try certificate.extensions.authorityKeyIdentifier?.keyIdentifier
                == issuer.extensions.subjectKeyIdentifier?.keyIdentifier)
        let key = try P256.Signing.PrivateKey(pemRepresentation: node.keyPEM)
        #expect(Certificate.PublicKey(key.publicKey) == certificate.publicKey)
    }

    @Test func `the chain verifies, and another authority's does not`() async throws {
        let real = Date()
        let authority = try CertificateAuthority.create(now: real)
        let other = try CertificateAuthority.create(now: real)
        let node = try CertificateAuthority.issue(authority: authority, node: "node-a", now: real)
        let leaf = try Certificate(pemEncoded: node.certificatePEM)
        for (root, isTrusted) in [(authority, true), (other, false)] {
            let store = CertificateStore([try Certificate(pemEncoded: root.certificatePEM)])
            var verifier = Verifier(rootCertificates: store) { RFC5280Policy() }
            let result = await verifier.validate(leaf: leaf, intermediates: CertificateStore())
            if case .validCertificate = result { #expect(isTrusted) } else { #expect(!isTrusted, "\(result)") }
        }
    }

    @Test func `a certificate does not outlive its authority`() throws {
        let authority = try CertificateAuthority.create(days: 10, now: now)
        let node = try CertificateAuthority.issue(authority: authority, node: "a", now: now)
        #expect(try CertificateSummary(pem: node.certificatePEM).notAfter == now.addingTimeInterval(10 * 86_400))
        let later = now.addingTimeInterval(11 * 86_400)
        #expect(
            code { () throws(CertificateError) in
                _ = try CertificateAuthority.issue(authority: authority, node: "a", now: later)
            } == .notAnAuthority)
    }

    @Test(
        arguments: [
            ("Node", [], .invalidName), ("", [], .invalidName), ("a.b", [], .invalidName), ("-a", [], .invalidName),
            (String(repeating: "a", count: 64), [], .invalidName), ("a", ["10.0.0"], .invalidAddress),
            ("a", ["host.example"], .invalidAddress), ("a", ["10.0.0.1", "::1"], nil),
        ] as [(String, [String], CertificateError.Code?)])
    func `names and addresses are checked`(_ node: String, _ addresses: [String], _ expected: CertificateError.Code?)
        throws
    {
        let authority = try CertificateAuthority.create(now: now)
        #expect(
            code { () throws(CertificateError) in
                _ = try CertificateAuthority.issue(authority: authority, node: node, addresses: addresses, now: now)
            } == expected)
    }

    @Test func `only an authority with its own key may sign`() throws {
        let authority = try CertificateAuthority.create(now: now)
        let other = try CertificateAuthority.create(now: now)
        let node = try CertificateAuthority.issue(authority: authority, node: "a", now: now)
        let mixed = CertificateMaterial(certificatePEM: authority.certificatePEM, keyPEM: other.keyPEM)
        let broken = CertificateMaterial(certificatePEM: "no", keyPEM: "no")
        for (material, expected) in [
            (node, CertificateError.Code.notAnAuthority), (mixed, .notAnAuthority), (broken, .unreadable),
        ] {
            #expect(
                code { () throws(CertificateError) in
                    _ = try CertificateAuthority.issue(authority: material, node: "b", now: now)
                } == expected)
        }
    }

    @Test func `the folder keeps keys private and its authority safe`() throws {
        let path = FileManager.default.temporaryDirectory.path + "/certs-\(UUID().uuidString)/deep"
        defer { try? FileManager.default.removeItem(atPath: (path as NSString).deletingLastPathComponent) }
        let folder = CertificateFolder(path: path)
        #expect(code { () throws(CertificateError) in try folder.issue(node: "a") } == .unreadable)
        try folder.initialize()
        #expect(code { () throws(CertificateError) in try folder.initialize() } == .exists)
        #expect(code { () throws(CertificateError) in try folder.issue(node: "ca") } == .invalidName)
        try folder.issue(node: "node-a", addresses: ["127.0.0.1"])
        let first = try String(contentsOfFile: folder.certificatePath(node: "node-a"), encoding: .utf8)
        try folder.issue(node: "node-a")
        let second = try String(contentsOfFile: folder.certificatePath(node: "node-a"), encoding: .utf8)
        #expect(first != second)
        #expect(try CertificateSummary(pem: second).dnsNames == ["node-a"])
        #expect(try CertificateSummary(pem: second).isAuthority == false)
        for (file, mode) in [
            (folder.authorityKeyPath, 0o600), (folder.keyPath(node: "node-a"), 0o600),
            (folder.authorityCertificatePath, 0o644), (path, 0o700),
        ] {
            let attributes = try FileManager.default.attributesOfItem(atPath: file)
            #expect(attributes[.posixPermissions] as? Int == mode, "\(file)")
        }
        // Nothing half-written stays behind.
        let files = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        #expect(files == ["ca.key", "ca.pem", "node-a.key", "node-a.pem"])
    }
}
