import AsyncHTTPClient
import Certificates
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import OrchestryModel
import TestSupport
import Testing

/// What clients outside see: TLS with certificates out of secrets, and one address for the API.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct EdgeTests {
    private func document(maintenance: Bool = false) -> JSONValue {
        let document = Cluster.document("web")
        guard case .object(var members) = document, case .object(var spec)? = members["spec"] else { return document }
        spec["routing"] = [
            "tls": ["certificateSecret": "web.crt", "keySecret": "web.key"], "maintenance": .bool(maintenance),
        ]
        members["spec"] = .object(spec)
        return .object(members)
    }

    private func events(_ kind: String, on cluster: Cluster, via member: Cluster.Member) async throws -> [String] {
        let answer = try await cluster.get("/events?app=web&limit=100", from: member)
        return (answer.json["events"]?.arrayValue ?? []).filter {
            ($0["event_type"] ?? $0["kind"])?.stringValue == kind
        }
        .compactMap { $0["message"]?.stringValue }
    }

    @Test func `an app behind TLS: the certificate comes from secrets, changes, and a bad one is refused`() async throws
    {
        var options = Cluster.Options()
        options.hasEdge = true
        try await withCluster("edge", options) { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            let authority = try CertificateAuthority.create()
            var configuration = HTTPClient.Configuration()
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(Array(authority.certificatePEM.utf8)))
            configuration.tlsConfiguration = tls
            configuration.dnsOverride = ["web": "127.0.0.1"]
            configuration.redirectConfiguration = .disallow
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            func status(_ port: Int) async -> UInt? {
                // No connection is what some of these are waiting for to end.
                try? await client.execute(
                    HTTPClientRequest(url: "https://web:\(port)/"), timeout: .seconds(5)
                ).status.code
            }
            func set(_ name: String, _ value: String) async throws {
                let answer = try await cluster.put("/secrets/\(name)", ["value": .string(value)], to: member)
                #expect(answer.status == 200, "\(answer.text)")
            }
            do {
                _ = try await cluster.post("/apps/register", document(), to: member)
                _ = try await cluster.post("/apps/web/up", to: member)
                // Its instances need no certificate; its clients do.
                try await cluster.waitForReady("web", 1, via: member)
                try await eventuallyTrue("the lack of a certificate is said") {
                    try await events("certificate_refused", on: cluster, via: member).contains {
                        $0.contains("secret 'web.crt' is not set")
                    }
                }
                #expect(try await cluster.app("web", via: member).status == 503)

                let first = try CertificateAuthority.issue(authority: authority, node: "web", days: 30)
                try await set("web.crt", first.certificatePEM)
                try await set("web.key", first.keyPEM)
                for member in cluster.members {
                    try await eventuallyTrue("\(member.id) serves the app over TLS") {
                        await status(member.httpsPort) == 200
                    }
                    let plain = try await client.execute(
                        HTTPClientRequest(url: "http://web:\(member.proxyPort)/x"), timeout: .seconds(5))
                    #expect(plain.status == .permanentRedirect)
                    #expect(plain.headers.first(name: "Location") == "https://web:\(member.httpsPort)/x")
                }
                // Two secrets, set one after the other: between them they don't fit, and the old ones are served.
                let second = try CertificateAuthority.issue(authority: authority, node: "web", days: 60)
                try await set("web.crt", second.certificatePEM)
                try await eventuallyTrue("a certificate without its key is refused") {
                    try await events("certificate_refused", on: cluster, via: member).contains {
                        $0.contains("nginx refuses certificate and key")
                    }
                }
                for member in cluster.members { #expect(await status(member.httpsPort) == 200) }
                try await set("web.key", second.keyPEM)
                try await eventuallyTrue("both are taken on all three nodes, after the first ones") {
                    try await events("certificate_replaced", on: cluster, via: member).count >= 6
                }
                for member in cluster.members { #expect(await status(member.httpsPort) == 200) }
                #expect(try await cluster.delete("/secrets/web.key", from: member).status == 409)

                _ = try await cluster.post("/apps/register", document(maintenance: true), to: member)
                try await eventuallyTrue("maintenance") { await status(cluster.members[2].httpsPort) == 503 }
            } catch {
                try await client.shutdown()
                throw error
            }
            try await client.shutdown()
        }
    }

    @Test func `one address for the API: writes survive the leader, through the dead node's own nginx too`()
        async throws
    {
        var options = Cluster.Options()
        options.hasEdge = true
        try await withCluster("facade", options) { cluster in
            let leader = cluster.member(try await cluster.leader())
            let first = cluster.members[0]
            func send(_ path: String, _ body: JSONValue? = nil, via member: Cluster.Member) async throws
                -> Cluster.Answer
            {
                try await cluster.post(path, body, toPort: member.facadePort)
            }
            let registered = try await send("/apps/register", Cluster.document("web"), via: first)
            #expect(registered.status == 200, "\(registered.text)")
            let started = try await send("/apps/web/up", via: cluster.members[1])
            #expect(started.status == 200, "\(started.text)")
            try await cluster.waitForReady("web", 1, via: first)

            await cluster.kill(leader.id)
            for (round, member) in (cluster.members + cluster.members).enumerated() {
                let body: JSONValue = ["replicas": .int(Int64(1 + round % 2))]
                try await eventuallyTrue("round \(round) via \(member.id) is carried out", within: .seconds(2)) {
                    let answer = try await send("/apps/web/scale", body, via: member)
                    // On a machine with other work a client was told to try again once in ten runs.
                    if answer.status >= 500 { print("round \(round): \(answer.status) \(answer.text)") }
                    #expect(answer.status == 200 || answer.status >= 500, "round \(round): \(answer.text)")
                    return answer.status == 200
                }
            }
            let seen = try await cluster.get("/cluster/leader", port: leader.facadePort)
            #expect(seen.status == 200 && seen.json["leader_id"]?.stringValue != leader.id.rawValue, "\(seen.text)")
        }
    }
}
