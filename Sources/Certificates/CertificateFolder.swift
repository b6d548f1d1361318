import Foundation

/// The folder an operator keeps a cluster's certificates in: `ca.pem`, `ca.key`, and `<node>.pem`, `<node>.key` for
/// each node. Keys are readable by their owner only; every file appears whole or not at all.
package struct CertificateFolder: Sendable {
    package let path: String
    package init(path: String) { self.path = path }

    package var authorityCertificatePath: String { file("ca.pem") }
    package var authorityKeyPath: String { file("ca.key") }
    package func certificatePath(node: String) -> String { file("\(node).pem") }
    package func keyPath(node: String) -> String { file("\(node).key") }

    func file(_ name: String) -> String { path.hasSuffix("/") ? path + name : path + "/" + name }

    /// Makes the folder (mode 0700 when it is new) and an authority in it.
    /// - Throws: `exists` when there is one; `unwritable`.
    package func initialize(
        name: String = "Orchestry cluster authority", days: Int = CertificateAuthority.authorityDays,
        now: Date = Date()
    ) throws(CertificateError) {
        for path in [authorityCertificatePath, authorityKeyPath] where FileManager.default.fileExists(atPath: path) {
            throw CertificateError(.exists, "\(path) exists: a second authority would lock out every node")
        }
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw CertificateError(.unwritable, "\(path): \(error.localizedDescription)")
        }
        let authority = try CertificateAuthority.create(name: name, days: days, now: now)
        try AtomicFile.write(authority.keyPEM, to: authorityKeyPath, mode: 0o600)
        try AtomicFile.write(authority.certificatePEM, to: authorityCertificatePath, mode: 0o644)
    }

    /// Makes a node's certificate and key, replacing earlier ones (renewal).
    /// - Throws: `unreadable` without an authority; otherwise as `CertificateAuthority.issue`.
    package func issue(
        node: String, addresses: [String] = [], days: Int = CertificateAuthority.nodeDays, now: Date = Date()
    ) throws(CertificateError) {
        let authority = try signingAuthority()
        guard !["ca", "ca-next"].contains(node) else {
            throw CertificateError(.invalidName, "a node called '\(node)' would overwrite the authority's files")
        }
        let material = try CertificateAuthority.issue(
            authority: authority, node: node, addresses: addresses, days: days, now: now)
        try AtomicFile.write(material.keyPEM, to: keyPath(node: node), mode: 0o600)
        try AtomicFile.write(material.certificatePEM, to: certificatePath(node: node), mode: 0o644)
    }

    func read(_ path: String) throws(CertificateError) -> String {
        do {
            return try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw CertificateError(
                .unreadable, "\(path) can't be read; where there is no authority yet, `orchestry certs init` makes one")
        }
    }
}
