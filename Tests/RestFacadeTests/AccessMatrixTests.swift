import AccessControl
import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// Every route asked with every kind of credentials, through the facade that nodes run: which answer each gets is in
/// `Golden/access.txt`, which `UPDATE_GOLDEN=1` rewrites. A new route is in the table by itself.
struct AccessMatrixTests {
    private static let now = WallTime(seconds: 1_800_000_000)
    private static let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Golden/access.txt")

    /// Column titles with the `Authorization` header of each.
    private struct Credentials {
        var columns: [(title: String, header: String?)] = [("none", nil)]
        let gatekeeper: Gatekeeper

        init() async throws {
            let keys = try WebTokenKeys()
            var throttle = FailureThrottle.Settings()
            throttle.burst = 1_000_000
            gatekeeper = Gatekeeper(
                .init(node: NodeID(unchecked: "n-1"), now: { .zero }, wall: { now }, throttle: throttle))
            var random = SystemRandomNumberGenerator()
            var tokens: [APIToken] = []
            func token(_ title: String, _ role: Role, verbs: [Verb]? = nil, apps: [String]? = nil, ends: Double? = nil)
                -> APIToken
            {
                let text = TokenText.generate(using: &random)
                columns.append((title, "Bearer \(text)"))
                return APIToken(
                    name: TokenName(unchecked: "t"), hash: TokenText.hash(text),
                    grant: AccessGrant(role: role, verbs: verbs, apps: apps?.map(AppName.init(unchecked:))),
                    createdAt: now, createdBy: "ann", expiresAt: ends.map(WallTime.init(seconds:)))
            }
            tokens.append(token("viewer", .viewer))
            tokens.append(token("operator", .operator))
            tokens.append(token("admin", .admin))
            tokens.append(token("read+scale", .operator, verbs: [.read, .scale]))
            tokens.append(token("own app", .admin, apps: ["web"]))
            tokens.append(token("wrong app", .admin, apps: ["other"]))
            tokens.append(token("expired", .admin, ends: now.seconds - 1))
            _ = token("revoked", .admin)  // Not among those in force.
            gatekeeper.use(tokens: tokens)
            gatekeeper.use(
                verifier: try await WebTokenVerifier(
                    secret: keys.secret, keySet: try keys.keySet().jsonText(),
                    rules: WebTokenRules(issuer: "https://id.example", audience: "orchestry")))
            func claims(_ issuer: String = "https://id.example", expires: Double = 60) -> JSONValue {
                [
                    "iss": .string(issuer), "aud": "orchestry", "sub": "ann", "role": "admin",
                    "exp": .double(now.seconds + expires),
                ]
            }
            let none = Base64URL.encode((["alg": "none"] as JSONValue).jsonBytes())
            columns += [
                ("JWT admin", "Bearer \(try keys.token(.es256, claims: claims()))"),
                ("JWT wrong signature", "Bearer \(try WebTokenKeys().token(.es256, claims: claims()))"),
                ("JWT alg none", "Bearer \(none).\(Base64URL.encode(claims().jsonBytes()))."),
                (
                    "JWT public key as secret",
                    "Bearer \(try keys.token(.hs256, claims: claims(), secret: Array(keys.rsaPublicPEM.utf8)))"
                ), ("JWT wrong issuer", "Bearer \(try keys.token(.rs256, claims: claims("https://evil.example")))"),
                ("JWT expired", "Bearer \(try keys.token(.edDSA, claims: claims(expires: -60)))"),
            ]
        }
    }

    private static func body(of route: RestRoute) -> JSONValue? {
        switch route {
        case .register: Samples.document
        case .plan: ["documents": [Samples.document]]
        case .scale: ["replicas": 3]
        case .autoscale: ["action": "pause"]
        case .setPolicy: ["policy": ["maxReplicas": 4]]
        case .simulateMetrics, .simulate: [:]
        case .setSecret: ["value": "x"]
        case .createToken: ["name": "new", "role": "viewer"]
        case .restore: ["checksum": "c"]
        case .changeSettings: ["log.level": "debug"]
        default: nil
        }
    }

    private static func path(of route: RestRoute) -> String {
        route.path.replacing("{name}", with: "web").replacing("{node}", with: "n-1").replacing("{secret}", with: "db")
            .replacing("{token}", with: "ci").replacing("{file}", with: "app.js")
    }

    @Test func `who may use which route`() async throws {
        let credentials = try await Credentials()
        let plane = ScriptedControlPlane()
        let facade = RestFacade(
            configuration: RestFacadeConfiguration(port: 0, version: "1.0.0"), controlPlane: plane,
            identification: credentials.gatekeeper, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            now: { Self.now })
        var table = "Columns, in order:\n"
        for (number, column) in credentials.columns.enumerated() { table += "  \(number + 1) \(column.title)\n" }
        table += "\nroute".padding(toLength: 44, withPad: " ", startingAt: 0)
        table += credentials.columns.indices.map { "\($0 + 1)".padding(toLength: 4, withPad: " ", startingAt: 0) }
            .joined()
        table = table.trimmingCharacters(in: .whitespaces) + "\n"
        let rows = try await facade.application().test(.router) { client in
            var rows: [String] = []
            for route in RestRoute.allCases {
                var line = "\(route.method.rawValue) \(route.path)".padding(toLength: 43, withPad: " ", startingAt: 0)
                for column in credentials.columns {
                    let before = plane.requests.count
                    let status = try await client.execute(
                        uri: Self.path(of: route), method: route.method,
                        headers: column.header.map { [.authorization: $0] } ?? [:],
                        body: Self.body(of: route).map { ByteBuffer(bytes: $0.jsonBytes()) }
                    ) { response in
                        let status = response.status.code
                        #expect((response.headers[.wwwAuthenticate] != nil) == (status == 401))
                        if status >= 400 {
                            #expect(response.headers[.contentType] == "application/problem+json")
                        }
                        return status
                    }
                    // Nothing that was refused reached the control plane.
                    if status != 200 { #expect(plane.requests.count == before, "\(route) \(column.title)") }
                    line += "\(status) "
                }
                rows.append(line.trimmingCharacters(in: .whitespaces) + "\n")
            }
            return rows
        }
        #expect(rows.count == RestRoute.allCases.count)
        table += rows.joined()
        if ProcessInfo.processInfo.environment["UPDATE_GOLDEN"] == "1" {
            try table.write(to: Self.golden, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: Self.golden, encoding: .utf8) == table)
        // Every refused write is told, with who asked, and none that was accepted.
        let refused = plane.refusals
        #expect(refused.allSatisfy { [401, 403].contains($0.status) && $0.outcome == .refused })
        #expect(Set(refused.map(\.actor)) == ["unknown", "token:t"])
    }

    @Test func `no role has less than the one before, and only open routes need none`() {
        for route in RestRoute.allCases {
            let allowed = Role.allCases.filter { role in
                route.objection(to: Caller(name: "x", grant: AccessGrant(role: role))) == nil
            }
            #expect(allowed == Role.allCases.suffix(allowed.count), "\(route)")
            #expect(allowed.contains(.admin), "\(route)")
            if route.isWrite { #expect(!allowed.contains(.viewer), "\(route)") }
        }
        #expect(RestRoute.allCases.filter { $0.access == .open } == [.health, .openAPI, .dashboard, .dashboardFile])
    }

    @Test func `what is missing is named`() async throws {
        func detail(_ grant: AccessGrant, _ route: RestRoute) -> String? {
            route.objection(to: Caller(name: "token:ci", grant: grant))?.detail
        }
        #expect(
            detail(AccessGrant(role: .viewer), .scale)
                == "This needs the verb 'scale', and token:ci has role viewer; roles with it: operator, admin.")
        #expect(
            detail(AccessGrant(role: .operator, verbs: [.read]), .scale)
                == "This needs the verb 'scale', and token:ci was given other verbs only (read).")
        #expect(
            detail(AccessGrant(role: .admin, apps: []), .stepDown)?.contains("about the cluster as a whole") == true)
    }
}
