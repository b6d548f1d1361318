import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import SecretSealing

/// Certificates of apps: opened where they are used, and what became of them said once.
extension RoutingApplier {
    /// Warned of this long before the end of a certificate.
    static let warning: TimeInterval = 14 * 86_400

    static func certificates(of table: RoutingTable, with keys: SecretKeys?) -> [AppName: AppCertificate] {
        var result: [AppName: AppCertificate] = [:]
        for route in table.routes {
            guard let tls = route.routing.tls else { continue }
            do throws(SecretSealingError) {
                guard let certificate = route.secrets.first(where: { $0.name == tls.certificateSecret }) else {
                    result[route.app] = .missing(absent(tls.certificateSecret))
                    continue
                }
                guard let key = route.secrets.first(where: { $0.name == tls.keySecret }) else {
                    result[route.app] = .missing(absent(tls.keySecret))
                    continue
                }
                guard let keys else { throw .notConfigured }
                result[route.app] = .pair(
                    certificatePEM: try keys.open(certificate), keyPEM: try keys.open(key))
            } catch {
                result[route.app] = .missing("\(error)")
            }
        }
        return result
    }

    private static func absent(_ name: SecretName) -> String {
        "secret '\(name)' is not set: orchestry secret set \(name)"
    }

    /// Says what is new since the last result.
    func report(_ result: AppliedResult, now: Date) {
        for problem in result.problems where !problems.contains(problem) {
            onEvent(
                .proxyRejected, problem.app, "nginx of \(node) leaves out a part of \(problem.app): \(problem.message)",
                ["reason": .string(problem.message)])
        }
        problems = Set(result.problems)
        for (app, state) in result.certificates.sorted(by: { $0.key < $1.key }) {
            report(state, of: app, before: certificates[app])
        }
        certificates = result.certificates
        watchCertificates(now: now)
    }

    private func report(_ state: CertificateState, of app: AppName, before: CertificateState?) {
        if let refusal = state.refusal, refusal != before?.refusal {
            let rest =
                state.notAfter.map { "the one it had, which ends at \($0.ISO8601Format()), goes on being served" }
                ?? "the app is not served over TLS"
            onEvent(
                .certificateRefused, app, "The certificate of \(app) can't be used on \(node): \(refusal); \(rest)",
                ["reason": .string(refusal)])
        }
        guard state.isNew, let notAfter = state.notAfter else { return }
        let gap = state.uncovered.isEmpty ? "" : "; it does not name \(state.uncovered.joined(separator: ", "))"
        onEvent(
            .certificateReplaced, app,
            "\(app) has a new certificate on \(node), which ends at \(notAfter.ISO8601Format())\(gap)",
            ["notAfter": .string(notAfter.ISO8601Format()), "uncovered": .array(state.uncovered.map { .string($0) })])
    }

    /// Says of each certificate once that it ends soon. To be called now and then.
    func watchCertificates(now: Date) {
        for (app, state) in certificates.sorted(by: { $0.key < $1.key }) {
            guard let end = state.notAfter, let fingerprint = state.fingerprint,
                end.timeIntervalSince(now) < Self.warning, warned.insert("\(app) \(fingerprint)").inserted
            else { continue }
            let verb = end <= now ? "ended" : "ends"
            onEvent(
                .certificateExpiring, app, "The certificate of \(app) on \(node) \(verb) at \(end.ISO8601Format())",
                ["notAfter": .string(end.ISO8601Format())])
        }
    }
}
