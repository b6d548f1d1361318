import Crypto
import Foundation
import SwiftASN1
import X509

/// New certificates for nodes, and a new authority in steps none of which locks a node out.
///
/// A node accepts whom its own `ca.pem` vouches for. So the new authority is trusted everywhere before it signs
/// anything, and the old one is trusted until nothing signed by it is in use:
///
/// 1. `beginAuthority`: `ca.pem` trusts both, the old one still signs. Distribute `ca.pem`.
/// 2. `switchAuthority`: the new one signs, and all nodes' certificates are made anew. Distribute those.
/// 3. `dropAuthority`: `ca.pem` trusts the new one only. Distribute `ca.pem`.
///
/// The files themselves say how far it has come, each appears whole, and each step can be repeated after it was
/// interrupted: in steps 1 and 2 `ca-next.key` is there; `ca.pem` holds two certificates until step 3.
extension CertificateFolder {
    package enum AuthorityRotation: Hashable, Sendable {
        case none
        /// Step 1 is done (or step 2 was interrupted).
        case begun
        /// Step 2 is done.
        case switched
    }

    private var nextCertificatePath: String { file("ca-next.pem") }
    private var nextKeyPath: String { file("ca-next.key") }

    /// Nodes that have a certificate here, sorted.
    package var nodes: [String] {
        get throws(CertificateError) {
            do {
                return try FileManager.default.contentsOfDirectory(atPath: path)
                    .filter { $0.hasSuffix(".pem") && !["ca.pem", "ca-next.pem"].contains($0) }
                    .map { String($0.dropLast(4)) }.sorted()
            } catch {
                throw CertificateError(.unreadable, "\(path): \(error.localizedDescription)")
            }
        }
    }

    package var authorityRotation: AuthorityRotation {
        get throws(CertificateError) {
            let trusted = try authorities()
            guard trusted.count > 1 else { return .none }
            return FileManager.default.fileExists(atPath: nextKeyPath) ? .begun : .switched
        }
    }

    /// Makes a node's certificate and key anew, for the addresses of the present one.
    /// - Throws: `unreadable` when the node has none; otherwise as `issue`.
    package func rotate(
        node: String, days: Int = CertificateAuthority.nodeDays, now: Date = Date()
    ) throws(CertificateError) {
        guard FileManager.default.fileExists(atPath: certificatePath(node: node)) else {
            throw CertificateError(
                .unreadable, "\(node) has no certificate in \(path): `orchestry certs issue \(node)` makes the first")
        }
        let present = try CertificateSummary(pem: try read(certificatePath(node: node)))
        try issue(node: node, addresses: present.addresses, days: days, now: now)
    }

    /// Step 1.
    /// - Throws: `exists` when a rotation is under way.
    package func beginAuthority(
        name: String, days: Int = CertificateAuthority.authorityDays, now: Date = Date()
    ) throws(CertificateError) {
        guard try authorityRotation == .none else {
            throw CertificateError(.exists, "a rotation of the authority is under way")
        }
        let next = try CertificateAuthority.create(name: name, days: days, now: now)
        // The bundle comes last: until it is there, nothing has happened.
        try AtomicFile.write(next.keyPEM, to: nextKeyPath, mode: 0o600)
        try AtomicFile.write(next.certificatePEM, to: nextCertificatePath, mode: 0o644)
        let present = try read(authorityCertificatePath)
        try AtomicFile.write(present + next.certificatePEM, to: authorityCertificatePath, mode: 0o644)
    }

    /// Step 2.
    /// - Returns: the nodes whose certificates were made.
    /// - Throws: `unreadable` unless step 1 is done.
    package func switchAuthority(
        days: Int = CertificateAuthority.nodeDays, now: Date = Date()
    ) throws(CertificateError) -> [String] {
        guard try authorityRotation == .begun else {
            throw CertificateError(.unreadable, "the new authority has not been made yet, or signs already")
        }
        // From here on the new one signs, since `ca.pem` holds the certificate that belongs to the key.
        try AtomicFile.write(try read(nextKeyPath), to: authorityKeyPath, mode: 0o600)
        let nodes = try nodes
        for node in nodes { try rotate(node: node, days: days, now: now) }
        try remove(nextKeyPath)
        try remove(nextCertificatePath)
        return nodes
    }

    /// Step 3.
    /// - Throws: `unreadable` unless step 2 is done; `untrusted` while a node's certificate here is not signed by the
    ///   new authority.
    package func dropAuthority() throws(CertificateError) {
        guard try authorityRotation == .switched else {
            throw CertificateError(
                .unreadable, "the new authority does not sign yet, or the old one is dropped already")
        }
        let signing = try signingAuthority()
        let authority = try NodeCertificate.certificates(signing.certificatePEM, authorityCertificatePath)[0]
        for node in try nodes {
            let path = certificatePath(node: node)
            let certificate = try NodeCertificate.certificates(try read(path), path)[0]
            guard authority.publicKey.isValidSignature(certificate.signature, for: certificate) else {
                throw CertificateError(
                    .untrusted,
                    "\(path) is not signed by the new authority: `orchestry certs rotate \(node)` makes one that is")
            }
        }
        try AtomicFile.write(signing.certificatePEM, to: authorityCertificatePath, mode: 0o644)
    }

    // MARK: Files

    private func authorities() throws(CertificateError) -> [Certificate] {
        try NodeCertificate.certificates(try read(authorityCertificatePath), authorityCertificatePath)
    }

    /// Of the trusted authorities the one that `ca.key` belongs to.
    /// - Throws: `notAnAuthority` when there is none.
    func signingAuthority() throws(CertificateError) -> CertificateMaterial {
        let keyPEM = try read(authorityKeyPath)
        let trusted = try authorities()
        do {
            let key = try Certificate.PrivateKey(pemEncoded: keyPEM)
            if let certificate = trusted.first(where: { $0.publicKey == key.publicKey }) {
                return CertificateMaterial(
                    certificatePEM: try certificate.serializeAsPEM().pemString + "\n", keyPEM: keyPEM)
            }
        } catch {
            throw CertificateError(.unreadable, "\(authorityKeyPath) is not a private key in PEM: \(error)")
        }
        throw CertificateError(
            .notAnAuthority, "the authority's key does not belong to any certificate in \(authorityCertificatePath)")
    }

    private func remove(_ path: String) throws(CertificateError) {
        guard FileManager.default.fileExists(atPath: path) else { return }
        do {
            try FileManager.default.removeItem(atPath: path)
        } catch {
            throw CertificateError(.unwritable, "\(path) can't be removed: \(error.localizedDescription)")
        }
    }
}
