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

    // MARK: Rotation

    /// What the nodes of a test hold: copies of the folder's files, each as old as its last distribution.
    private struct Held {
        var authorities: String
        var certificate: String
        var key: String

        init(_ folder: CertificateFolder, _ node: String) throws {
            authorities = try String(contentsOfFile: folder.authorityCertificatePath, encoding: .utf8)
            certificate = try String(contentsOfFile: folder.certificatePath(node: node), encoding: .utf8)
            key = try String(contentsOfFile: folder.keyPath(node: node), encoding: .utf8)
        }

        /// Whether this node's authorities vouch for the other's certificate.
        func accepts(_ other: Held, node: String) async -> Bool {
            do {
                _ = try await NodeCertificate.check(
                    authoritiesPEM: authorities, certificatePEM: other.certificate, keyPEM: other.key, node: node)
                return true
            } catch {
                return false
            }
        }
    }

    @Test func `while the authority is rotated node by node, everyone accepts everyone at every moment`() async throws {
        let path = FileManager.default.temporaryDirectory.path + "/certs-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let folder = CertificateFolder(path: path)
        try folder.initialize()
        let nodes = ["a", "b", "c"]
        for node in nodes { try folder.issue(node: node, addresses: ["10.0.0.1", "fd00::1"]) }
        var held = try nodes.map { try Held(folder, $0) }
        let outsider = held[0]
        func allAccept(_ step: String) async {
            for one in nodes.indices {
                for other in nodes.indices {
                    let isAccepted = await held[one].accepts(held[other], node: nodes[other])
                    #expect(isAccepted, "\(step): \(nodes[one]) does not accept \(nodes[other])")
                }
            }
        }
        func distribute(_ step: String) async throws {
            for index in nodes.indices {
                held[index] = try Held(folder, nodes[index])
                await allAccept("\(step), \(index + 1) of \(nodes.count) nodes")
            }
        }
        try folder.beginAuthority(name: "next")
        #expect(try folder.authorityRotation == .begun)
        // A node that joins now gets a certificate of the old authority, which all accept.
        try folder.issue(node: "a")
        try await distribute("both trusted")
        #expect(try folder.switchAuthority() == nodes)
        #expect(try folder.authorityRotation == .switched)
        try await distribute("the new one signs")
        try folder.dropAuthority()
        #expect(try folder.authorityRotation == .none)
        try await distribute("the old one dropped")
        #expect(await !held[1].accepts(outsider, node: "a"), "what only the old authority signed is over")
        let summary = try CertificateSummary(pem: held[1].certificate)
        #expect(summary.issuer == "CN=next")
        #expect(summary.addresses == ["10.0.0.1", "fd00::1"], "addresses survive")
        let files = try FileManager.default.contentsOfDirectory(atPath: path).sorted()
        #expect(files == ["a.key", "a.pem", "b.key", "b.pem", "c.key", "c.pem", "ca.key", "ca.pem"])
        for name in ["ca.key", "a.key"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: path + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    @Test func `a step of the rotation that was interrupted can be repeated`() throws {
        let path = FileManager.default.temporaryDirectory.path + "/certs-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let folder = CertificateFolder(path: path)
        try folder.initialize()
        try folder.issue(node: "a")
        #expect(code { () throws(CertificateError) in _ = try folder.switchAuthority() } == .unreadable)
        #expect(code { () throws(CertificateError) in try folder.dropAuthority() } == .unreadable)
        try folder.beginAuthority(name: "next")
        #expect(code { () throws(CertificateError) in try folder.beginAuthority(name: "third") } == .exists)
        // Step 2 got as far as the key, and no further.
        let files = FileManager.default
        try files.removeItem(atPath: folder.authorityKeyPath)
        try files.copyItem(atPath: path + "/ca-next.key", toPath: folder.authorityKeyPath)
        #expect(try folder.authorityRotation == .begun)
        #expect(code { () throws(CertificateError) in try folder.dropAuthority() } == .unreadable)
        #expect(try folder.switchAuthority() == ["a"])
        // A certificate that the old authority signed keeps step 3 from happening.
        let other = CertificateFolder(path: path + "-other")
        defer { try? FileManager.default.removeItem(atPath: other.path) }
        try other.initialize()
        try other.issue(node: "b")
        try files.copyItem(atPath: other.certificatePath(node: "b"), toPath: folder.certificatePath(node: "b"))
        #expect(code { () throws(CertificateError) in try folder.dropAuthority() } == .untrusted)
        try folder.rotate(node: "b")
        try folder.dropAuthority()
        #expect(try CertificateSummary.all(pem: String(contentsOfFile: path + "/ca.pem", encoding: .utf8)).count == 1)
        #expect(code { () throws(CertificateError) in try folder.rotate(node: "z") } == .unreadable)
    }

    @Test func `a node's files are checked as a whole before they are used`() async throws {
        let real = Date()
        let authority = try CertificateAuthority.create(now: real)
        let other = try CertificateAuthority.create(now: real)
        let node = try CertificateAuthority.issue(authority: authority, node: "node-a", now: real)
        let stranger = try CertificateAuthority.issue(authority: other, node: "node-a", now: real)
        let bundle = other.certificatePEM + authority.certificatePEM
        let rows: [(String, String, String, String, TimeInterval, CertificateError.Code?)] = [
            (bundle, node.certificatePEM, node.keyPEM, "node-a", 0, nil),
            (authority.certificatePEM, node.certificatePEM, stranger.keyPEM, "node-a", 0, .mismatched),
            (authority.certificatePEM, stranger.certificatePEM, stranger.keyPEM, "node-a", 0, .untrusted),
            (authority.certificatePEM, node.certificatePEM, node.keyPEM, "node-b", 0, .invalidName),
            (authority.certificatePEM, node.certificatePEM, node.keyPEM, "node-a", 366 * 86_400, .expired),
            (authority.certificatePEM, node.certificatePEM, node.keyPEM, "node-a", -2 * 86_400, .expired),
            ("", node.certificatePEM, node.keyPEM, "node-a", 0, .unreadable),
            (authority.certificatePEM, "nonsense", node.keyPEM, "node-a", 0, .unreadable),
            (authority.certificatePEM, node.certificatePEM, "nonsense", "node-a", 0, .unreadable),
        ]
        for (index, row) in rows.enumerated() {
            do throws(CertificateError) {
                let found = try await NodeCertificate.check(
                    authoritiesPEM: row.0, certificatePEM: row.1, keyPEM: row.2, node: row.3,
                    now: real.addingTimeInterval(row.4))
                #expect(row.5 == nil, "row \(index)")
                #expect(found.authorities.count == 2 && !found.serial.isEmpty)
            } catch {
                #expect(error.code == row.5, "row \(index): \(error)")
                #expect(!error.message.contains("PRIVATE KEY"))
            }
        }
    }
}
