import Certificates
import Foundation
import OrchestryModel
import ProxyConfig

/// The apps' certificates as nginx reads them: one file an app, of certificate, intermediate ones and key. A file is
/// replaced only by what nginx takes and what is valid now, so whatever is in here can be served.
struct CertificateShelf {
    private struct Entry {
        var fingerprint: String
        var notAfter: Date
        var names: [String]
    }
    private let folder: String
    private var entries: [AppName: Entry] = [:]

    /// Takes over what an earlier process of this node has left.
    init(folder: String) {
        self.folder = folder
        guard !folder.isEmpty else { return }
        for name in Files.names(in: folder) where name.hasSuffix(".pem") {
            guard let app = AppName(rawValue: String(name.dropLast(4))), let text = Files.text(folder + "/" + name)
            else { continue }
            // Unreadable, of a disk that was full say: as good as none, and overwritten by the next that comes.
            entries[app] = try? Self.entry(text)
        }
    }

    /// By app, for those that have a certificate.
    var fingerprints: [AppName: String] { entries.mapValues(\.fingerprint) }

    /// - Parameters:
    ///   - hosts: names that clients reach the app by.
    ///   - test: throws for a file that nginx refuses.
    /// - Throws: only what is wrong with this node, not with the certificate.
    mutating func take(
        _ material: AppCertificate?, for app: AppName, hosts: [String], now: Date,
        test: (_ path: String) throws(ProxyError) -> Void
    ) throws(ProxyError) -> CertificateState {
        var refusal: String?
        let before = entries[app]?.fingerprint
        switch material {
        case nil: break
        case .missing(let reason): refusal = reason
        case .pair(let certificate, let key):
            refusal = try put(Self.joined(certificate, key), for: app, now, test)
        }
        guard let entry = entries[app] else {
            return CertificateState(refusal: refusal ?? "there is none yet")
        }
        return CertificateState(
            notAfter: entry.notAfter, fingerprint: entry.fingerprint, refusal: refusal,
            isNew: entry.fingerprint != before,
            uncovered: hosts.filter { host in !entry.names.contains { Self.names($0, host) } }.sorted())
    }

    /// - Returns: why it is not taken; nil: it is in place.
    private mutating func put(
        _ text: String, for app: AppName, _ now: Date, _ test: (_ path: String) throws(ProxyError) -> Void
    ) throws(ProxyError) -> String? {
        let path = "\(folder)/\(app).pem"
        // What is in use stays, even past its end: there is nothing better.
        if entries[app] != nil, Files.text(path) == text { return nil }
        let entry: Entry
        let begins: Date
        do {
            let summary = try CertificateSummary(pem: Self.certificatesOnly(text))
            entry = Self.entry(summary, text)
            begins = summary.notBefore
        } catch {
            return error.message
        }
        guard entry.notAfter > now else { return "the certificate ended at \(entry.notAfter.ISO8601Format())" }
        guard begins <= now else { return "the certificate is valid from \(begins.ISO8601Format()) on" }
        let next = folder + "/next"
        try Files.replace(next, text.utf8, mode: 0o600)
        do throws(ProxyError) {
            try test(next)
        } catch {
            unlink(next)
            guard error.code == .rejected else { throw error }
            return "nginx refuses certificate and key: \(error.message)"
        }
        guard rename(next, path) == 0 else { throw .system("replacing a certificate", path, errno) }
        entries[app] = entry
        return nil
    }

    /// Removes the certificates of all other apps.
    mutating func discard(except apps: Set<AppName>) {
        for app in entries.keys where !apps.contains(app) {
            unlink("\(folder)/\(app).pem")
            entries[app] = nil
        }
    }

    private static func joined(_ certificate: String, _ key: String) -> String {
        func ended(_ text: String) -> String { text.hasSuffix("\n") ? text : text + "\n" }
        return ended(certificate) + ended(key)
    }

    /// A file of ours without its key, which parsers of certificates stumble over.
    private static func certificatesOnly(_ text: String) -> String {
        var result = ""
        var isInside = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: true) {
            if line.hasPrefix("-----BEGIN CERTIFICATE-----") { isInside = true }
            if isInside { result += line.filter { $0 != "\r" } + "\n" }
            if line.hasPrefix("-----END CERTIFICATE-----") { isInside = false }
        }
        return result
    }

    private static func entry(_ text: String) throws(CertificateError) -> Entry {
        entry(try CertificateSummary(pem: certificatesOnly(text)), text)
    }

    private static func entry(_ summary: CertificateSummary, _ text: String) -> Entry {
        Entry(
            fingerprint: certificateFingerprint(certificatesOnly(text)), notAfter: summary.notAfter,
            names: summary.dnsNames)
    }

    /// RFC 6125 §6.4: `*.` stands for exactly one label.
    private static func names(_ pattern: String, _ host: String) -> Bool {
        let pattern = pattern.lowercased()
        guard pattern.hasPrefix("*.") else { return pattern == host }
        guard let dot = host.firstIndex(of: ".") else { return false }
        return host[dot...] == pattern.dropFirst()
    }
}
