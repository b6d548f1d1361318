import AccessControl
import Certificates
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Leadership
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// Knows one caller, whoever asks.
private struct OneCaller: CallerIdentification {
    var grant: AccessGrant?
    func identify(authorization: String?, address: String?) -> Identification {
        .known(Caller(name: "token:ci", address: address, node: NodeID(unchecked: "n-1"), grant: grant, token: "f"))
    }
}

struct FacadeAccessTests {
    private let plane = ScriptedControlPlane()

    private func facade(
        _ identification: any CallerIdentification = Everybody(), origins: Set<String> = [], proxies: Set<String> = [],
        tls: FacadeTLS? = nil
    ) -> RestFacade {
        RestFacade(
            configuration: RestFacadeConfiguration(port: 0, corsOrigins: origins, proxies: proxies, version: "1.0.0"),
            controlPlane: plane, identification: identification, tls: tls,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func ask(
        _ facade: RestFacade, _ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil,
        headers: HTTPFields = [:]
    ) async throws -> (status: Int, headers: HTTPFields, body: JSONValue) {
        try await facade.application().test(.router) { client in
            try await client.execute(
                uri: path, method: method, headers: headers, body: body.map { ByteBuffer(bytes: $0.jsonBytes()) }
            ) { response in
                let json = (try? JSONValue(json: response.body.readableBytesView)) ?? .null  // Not all are JSON.
                return (response.status.code, response.headers, json)
            }
        }
    }

    @Test func `who asks goes to the leader with the request`() async throws {
        let grant = AccessGrant(role: .operator, apps: [AppName(unchecked: "web")])
        let facade = facade(OneCaller(grant: grant))
        #expect(try await ask(facade, .post, "/apps/web/up").status == 200)
        let request = try #require(plane.requests.first)
        #expect(request.actor == "token:ci")
        #expect(request.caller?.grant == grant && request.caller?.token == "f")
        #expect(try await ask(facade, .post, "/apps/other/up").status == 403)
        #expect(try await ask(facade, .get, "/events?app=other").status == 403)
        #expect(try await ask(facade, .get, "/events").status == 200)
        var other = Samples.document.objectValue ?? [:]
        other["metadata"] = ["name": "other"]
        let refused = try await ask(facade, .post, "/apps/register", .object(other))
        #expect(refused.status == 403)
        #expect(refused.body["detail"] == "token:ci is limited to app web, and this is about app other.")
        #expect(plane.requests.count == 2)
        #expect(plane.refusals.map(\.operation) == ["start", "register"])
        #expect(plane.refusals.first?.app?.rawValue == "other" && plane.refusals.first?.actor == "token:ci")
    }

    @Test func `what the leader refuses is told too, what it can't do now is not`() async throws {
        let plane = ScriptedControlPlane([
            ControlResponse(.appNotFound(AppName(unchecked: "web"))), ControlResponse(.noLeader("none")),
            ControlResponse(.appNotFound(AppName(unchecked: "web"))),
        ])
        let test = FacadeUnderTest(plane)
        _ = try await test.ask(.post, "/apps/web/up")
        _ = try await test.ask(.post, "/apps/web/up")
        _ = try await test.ask(.get, "/apps/web/status")
        _ = try await test.ask(.post, "/apps/web/scale", [:])
        #expect(plane.refusals.map(\.status) == [404, 422])
    }

    @Test func `a token is made by the client, or here and shown once`() async throws {
        let facade = facade()
        let hash = TokenText.hash("x")
        let own = try await ask(facade, .post, "/tokens", ["name": "a", "role": "viewer", "sha256": .string(hash)])
        #expect(own.status == 200 && own.body["token"] == nil)
        let made = try await ask(
            facade, .post, "/tokens",
            [
                "name": "b", "role": "operator", "apps": ["web", "web"], "verbs": ["scale", "read"],
                "expiresSeconds": 60,
            ])
        let text = try #require(made.body["token"]?.stringValue)
        #expect(TokenText.isWellFormed(text))
        #expect(
            plane.requests.map(\.operation) == [
                .createToken(
                    TokenRequest(name: TokenName(unchecked: "a"), grant: AccessGrant(role: .viewer), hash: hash)),
                .createToken(
                    TokenRequest(
                        name: TokenName(unchecked: "b"),
                        grant: AccessGrant(role: .operator, verbs: [.read, .scale], apps: [AppName(unchecked: "web")]),
                        expiresSeconds: 60, hash: TokenText.hash(text))),
            ])
        #expect(try await ask(facade, .get, "/tokens").status == 200)
        #expect(try await ask(facade, .delete, "/tokens/a").status == 200)
        #expect(try await ask(facade, .get, "/audit?app=web&after=5&limit=7&raw=true").status == 200)
        #expect(
            plane.requests.dropFirst(2).map(\.operation) == [
                .listTokens, .revokeToken(TokenName(unchecked: "a")),
                .audit(app: AppName(unchecked: "web"), after: 5, limit: 7, isRaw: true),
            ])
    }

    @Test(
        arguments: [
            ([:], ["name", "role"]), (["name": "a b", "role": "root"], ["name", "role"]),
            (["name": "a", "role": "viewer", "verbs": ["scale"]], ["verbs"]),
            (["name": "a", "role": "viewer", "verbs": ["fly"]], ["verbs[0]"]),
            (["name": "a", "role": "viewer", "verbs": [], "apps": []], ["verbs", "apps"]),
            (["name": "a", "role": "viewer", "apps": ["No App"]], ["apps[0]"]),
            (["name": "a", "role": "viewer", "expiresSeconds": 0, "sha256": "AB"], ["expiresSeconds", "sha256"]),
            (["name": "a", "role": "viewer", "token": "orc_x"], ["token"]), ([1], [""]),
        ] as [(JSONValue, [String])])
    func `a token that can't be one is refused with all its faults`(_ body: JSONValue, _ fields: [String]) async throws
    {
        let answer = try await ask(facade(), .post, "/tokens", body)
        #expect(answer.status == 422)
        let found = answer.body["violations"]?.arrayValue?.compactMap { $0["field"]?.stringValue } ?? []
        #expect(Set(found) == Set(fields), "\(answer.body.jsonText())")
        #expect(plane.requests.isEmpty)
    }

    @Test func `pages of other origins change nothing, and read nothing unless configured`() async throws {
        let closed = facade()
        let page = HTTPFields(dictionaryLiteral: (.origin, "https://evil.example"))
        #expect(try await ask(closed, .post, "/apps/web/down", headers: page).status == 403)
        let read = try await ask(closed, .get, "/apps", headers: page)
        #expect(read.status == 200 && read.headers[FacadeOrigin.allow] == nil)
        #expect(try await ask(closed, .options, "/apps", headers: page).headers[FacadeOrigin.allow] == nil)
        #expect(plane.requests.map(\.operation) == [.listApps])

        let open = facade(origins: ["https://ops.example"])
        let ours = HTTPFields(dictionaryLiteral: (.origin, "https://ops.example"))
        let write = try await ask(open, .post, "/apps/web/down", headers: ours)
        #expect(write.status == 200 && write.headers[FacadeOrigin.allow] == "https://ops.example")
        let failed = try await ask(open, .post, "/apps/web/scale", [:], headers: ours)
        #expect(failed.status == 422 && failed.headers[FacadeOrigin.allow] == "https://ops.example")
        var preflight = ours
        preflight[FacadeOrigin.requestMethod] = "POST"
        let allowed = try await ask(open, .options, "/apps/web/down", headers: preflight)
        #expect(allowed.status == 204 && allowed.headers[FacadeOrigin.methods] == "POST")
        #expect(allowed.headers[FacadeOrigin.headers]?.contains("Authorization") == true)
        #expect(try await ask(open, .post, "/apps/web/down", headers: page).status == 403)
    }

    @Test func `the client's address is the proxy's word only where the proxy is one of the cluster's`() async throws {
        let loopback: Set<String> = ["127.0.0.1", "::1"]
        func address(proxies: Set<String>, _ forwarded: String) async throws -> String? {
            try await facade(OneCaller(), proxies: proxies).application().test(.live) { client in
                let before = plane.requests.count
                try await client.execute(
                    uri: "/apps", method: .get, headers: [HTTPField.Name("X-Forwarded-For")!: forwarded]  // A literal.
                ) { _ in }
                return plane.requests.dropFirst(before).first?.caller?.address
            }
        }
        #expect(loopback.contains(try await address(proxies: [], "9.9.9.9") ?? ""))
        #expect(try await address(proxies: loopback, "1.2.3.4, 9.9.9.9") == "9.9.9.9")
        #expect(try await address(proxies: loopback, "9.9.9.9, 127.0.0.1") == "9.9.9.9")
        #expect(loopback.contains(try await address(proxies: loopback, "nonsense") ?? ""))
    }

    @Test func `10,000 malformed requests: no server error, no change`() async throws {
        let statuses = try await facade().application().test(.router) { client in
            var random = SplitMix64(seed: 20_261_128)
            var statuses: [Int: Int] = [:]
            for number in 0..<10_000 {
                let request = MalformedRequest.make(&random, app: "web", document: Samples.document)
                var headers: HTTPFields = [:]
                for (name, value) in request.headers {
                    if let name = HTTPField.Name(name) { headers[name] = value }
                }
                let method = try #require(HTTPRequest.Method(rawValue: request.method))
                let status = try await client.execute(
                    uri: request.path, method: method, headers: headers, body: ByteBuffer(bytes: request.body)
                ) { $0.status.code }
                statuses[status, default: 0] += 1
                // A policy's fields are the leader's to check: this kind gets so far.
                let isOpen = request.path.hasSuffix("/policy")
                #expect((400..<500).contains(status) || isOpen && status == 200, "\(number): \(status) \(request)")
            }
            return statuses
        }
        #expect(plane.requests.allSatisfy { if case .setPolicy = $0.operation { true } else { false } })
        #expect(statuses.keys.allSatisfy { $0 < 500 } && statuses.values.reduce(0, +) == 10_000, "\(statuses)")
    }

    @Test func `HTTPS, and a certificate taken up while it listens`() async throws {
        func issue() throws -> (certificate: [UInt8], key: [UInt8], authority: [UInt8]) {
            let folder = try TemporaryFolder("orchestry-api-tls")
            let certificates = CertificateFolder(path: folder.path)
            try certificates.initialize()
            try certificates.issue(node: "api", addresses: ["127.0.0.1"], days: 2)
            func bytes(_ name: String) throws -> [UInt8] {
                Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder.path)/\(name)")))
            }
            return (try bytes("api.pem"), try bytes("api.key"), try bytes("ca.pem"))
        }
        let (first, second) = (try issue(), try issue())
        let tls = try FacadeTLS(certificatePEM: first.certificate, keyPEM: first.key)
        #expect(throws: (any Error).self) { try tls.use(certificatePEM: first.certificate, keyPEM: second.key) }
        try await facade(tls: tls).application().test(.live) { client in
            let port = try #require(client.port)
            #expect(try await TLSProbe.status(port: port, trusting: first.authority) == "HTTP/1.1 200 OK")
            await #expect(throws: (any Error).self) {
                try await TLSProbe.status(port: port, trusting: second.authority)
            }
            try tls.use(certificatePEM: second.certificate, keyPEM: second.key)
            #expect(try await TLSProbe.status(port: port, trusting: second.authority) == "HTTP/1.1 200 OK")
            await #expect(throws: (any Error).self) { try await TLSProbe.status(port: port, trusting: first.authority) }
        }
    }
}

enum FacadeOrigin {
    static let allow = HTTPField.Name("Access-Control-Allow-Origin")!  // A literal that is a header's name.
    static let methods = HTTPField.Name("Access-Control-Allow-Methods")!  // As above.
    static let headers = HTTPField.Name("Access-Control-Allow-Headers")!  // As above.
    static let requestMethod = HTTPField.Name("Access-Control-Request-Method")!  // As above.
}

/// One request over TLS, by hand.
enum TLSProbe {
    /// - Returns: the answer's first line to `GET /health`.
    static func status(port: Int, trusting authority: [UInt8]) async throws -> String {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(authority))
        let context = try NIOSSLContext(configuration: configuration)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: nil))
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            for try await part in inbound {
                return String(String(buffer: part).prefix { $0 != "\r" && $0 != "\r\n" })
            }
            throw ChannelError.eof
        }
    }
}
