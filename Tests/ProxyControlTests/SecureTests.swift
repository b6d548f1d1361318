import Certificates
import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import Testing

/// TLS at the edge, as curl sees it.
@Suite(
    .serialized,
    .enabled(
        if: Installed.lua && FileManager.default.fileExists(atPath: Curl.path), "nginx with its Lua module and curl"))
struct SecureTests {
    let authority: CertificateMaterial

    init() throws { authority = try CertificateAuthority.create() }

    private func certificate(_ name: String, days: Int = 30, now: Date = Date()) throws -> AppCertificate {
        let material = try CertificateAuthority.issue(authority: authority, node: name, days: days, now: now)
        return .pair(certificatePEM: material.certificatePEM, keyPEM: material.keyPEM)
    }

    private func secured(
        _ proxy: ProxyFixture, _ name: String, on backends: [Int], _ change: (inout AppSpec.Routing) -> Void = { _ in }
    ) -> RoutingTable.Route {
        proxy.route(name, on: backends) {
            $0.tls = .init(certificateSecret: SecretName(unchecked: "crt"), keySecret: SecretName(unchecked: "key"))
            change(&$0)
        }
    }

    @Test(arguments: [ProxySettings.Mode.lua, .plain])
    func `apps get their own certificates by name, and plain HTTP is sent there`(
        _ mode: ProxySettings.Mode
    ) async throws {
        let ports = try PortHolder.free(2)
        try await ProxyFixture.run(mode: mode, change: { $0.httpsPort = ports[0] }) { proxy in
            let curl = try Curl(authority)
            let web = secured(proxy, "web", on: [0]) { $0.listenPort = ports[1] }
            let shop = secured(proxy, "shop", on: [1]) { $0.tls?.redirect = false }
            let late = secured(proxy, "late", on: [1])
            let result = try await proxy.controller.apply(
                proxy.table(1, web, shop, late, proxy.route("open", on: [1])),
                certificates: [
                    AppName(unchecked: "web"): try certificate("web"),
                    AppName(unchecked: "shop"): try certificate("shop"),
                    AppName(unchecked: "late"): .missing("secret 'crt' is not set"),
                ])
            #expect(result.problems == [])
            #expect(result.certificates[AppName(unchecked: "web")]?.isNew == true)
            #expect(result.certificates[AppName(unchecked: "late")]?.refusal == "secret 'crt' is not set")
            // Each name its certificate: curl checks the name and the authority.
            #expect(try curl.get("https://web:\(ports[0])/") == "A\n200")
            #expect(try curl.get("https://shop:\(ports[0])/") == "B\n200")
            #expect(try curl.get("https://web:\(ports[1])/") == "A\n200")
            for name in ["late", "open", "nobody"] {
                #expect(try curl.get("https://\(name):\(ports[0])/") == "000", "\(name)")
            }
            let seen = try curl.get("https://web:\(ports[0])/echo").lowercased()
            #expect(seen.contains("x-forwarded-proto: https\r\n"))
            let plain = try await proxy.get("web", "/a?b=c")
            #expect(plain.status == 308)
            #expect(plain.headers["location"] == "https://web:\(ports[0])/a?b=c")
            #expect(try await proxy.get("shop").body == "B\n")
            #expect(try await proxy.get("open").body == "B\n")
            // Not in the clear what was to be encrypted.
            #expect(try await proxy.get("late").status == 503)
            let file = try FileManager.default.attributesOfItem(atPath: "\(proxy.settings.folder)/tls/web.pem")
            #expect(file[.posixPermissions] as? Int == 0o600)
        }
    }

    @Test func `a new certificate is shown at once, a bad one never`() async throws {
        let port = try PortHolder.free(1)[0]
        try await ProxyFixture.run(change: { $0.httpsPort = port }) { proxy in
            let curl = try Curl(authority)
            let web = AppName(unchecked: "web")
            let first = try certificate("web")
            func apply(_ number: UInt64, _ certificate: AppCertificate) async throws -> (
                AppliedResult, CertificateState
            ) {
                let result = try await proxy.controller.apply(
                    proxy.table(number, secured(proxy, "web", on: [0])), certificates: [web: certificate])
                return (result, try #require(result.certificates[web]))
            }
            let (begun, state) = try await apply(1, first)
            #expect(begun.reloaded)
            let (again, same) = try await apply(2, first)
            #expect(!again.reloaded && !same.isNew && same.fingerprint == state.fingerprint)
            // A request that is being served when the next one comes ends under the old one.
            async let slow = curl.get("https://web:\(port)/sleep/1")
            _ = try await proxy.counters { $0.inFlight == 1 }
            let (result, next) = try await apply(3, try certificate("web", days: 60))
            #expect(result.reloaded && next.isNew && next.fingerprint != state.fingerprint)
            #expect(try await slow == "A\n200")

            guard case .pair(let other, let otherKey) = try certificate("web") else { return }
            let past = Date(timeIntervalSinceNow: -40 * 86_400)
            let bad: [(AppCertificate, String)] = [
                (try certificate("web", days: 30, now: past), "ended at"),
                (.pair(certificatePEM: other, keyPEM: try CertificateAuthority.create().keyPEM), "nginx refuses"),
                (.pair(certificatePEM: "nonsense", keyPEM: otherKey), "certificate"),
                (.pair(certificatePEM: other, keyPEM: ""), "nginx refuses"),
                (.missing("secret 'crt' is not set"), "not set"),
            ]
            for (index, (certificate, reason)) in bad.enumerated() {
                let (result, kept) = try await apply(UInt64(4 + index), certificate)
                #expect(!result.reloaded)
                #expect(kept.refusal?.contains(reason) == true, "\(reason): \(kept)")
                #expect(kept.fingerprint == next.fingerprint && kept.notAfter == next.notAfter)
                #expect(try curl.get("https://web:\(port)/") == "A\n200")
            }
            // Another process of the node goes on with it, before the cluster has sent anything.
            await proxy.controller.release()
            let second = ProxyFixture.controller(proxy.settings, proxy.events)
            try await second.start()
            #expect(try curl.get("https://web:\(port)/") == "A\n200")
            let gone = try await second.apply(proxy.table(20, proxy.route("web", on: [0])))
            #expect(gone.reloaded)
            #expect(try curl.get("https://web:\(port)/") == "000")
            #expect(!FileManager.default.fileExists(atPath: "\(proxy.settings.folder)/tls/web.pem"))
            await second.stop(graceful: false)
        }
    }
}

/// curl with a certificate authority of its own, every name at 127.0.0.1.
struct Curl: ~Copyable {
    static let path = "/usr/bin/curl"
    private let authorityPath = "/tmp/orc-ca-\(UUID().uuidString.prefix(8)).pem"

    init(_ authority: CertificateMaterial) throws {
        try Data(authority.certificatePEM.utf8).write(to: URL(fileURLWithPath: authorityPath))
    }

    deinit { unlink(authorityPath) }

    /// - Returns: the body with the status behind it; `000` where no answer came.
    borrowing func get(_ url: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.path)
        let name = url.split(separator: "/")[1]
        process.arguments = [
            "-s", "-m", "20", "--noproxy", "*", "--cacert", authorityPath, "--resolve", "\(name):127.0.0.1",
            "-w", "%{http_code}", url,
        ]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return text
    }
}
