import AccessControl
import Certificates
import Foundation
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// Tokens and the audit trail by the built `orchestry`; the fake server's facade is a node's.
struct AccessCommandTests {
    private static let answer = ControlResponse(body: ["name": "ci"])

    @Test func `a token is made here, shown once, and only its hash is sent`() async throws {
        try await FakeServer.run({ _, _ in Self.answer }) { server in
            let arguments = [
                "token", "create", "ci", "--role", "operator", "--apps", "web, api", "--verbs", "read,scale",
                "--expires", "30d",
            ]
            let run = try await CommandLineRun.run(arguments, server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            let text = run.output.trimmingCharacters(in: .newlines)
            #expect(TokenText.isWellFormed(text))
            #expect(
                server.plane.requests.map(\.operation) == [
                    .createToken(
                        TokenRequest(
                            name: TokenName(unchecked: "ci"),
                            grant: AccessGrant(
                                role: .operator, verbs: [.read, .scale],
                                apps: ["api", "web"].map(AppName.init(unchecked:))),
                            expiresSeconds: 2_592_000, hash: TokenText.hash(text)))
                ])
            for wrong in [["--expires", "soon"], ["--role", "root"], ["--apps", "No App"]] {
                let refused = try await CommandLineRun.run(
                    ["token", "create", "x", "--role", "viewer"] + wrong, server: server.url)
                #expect([1, 2].contains(refused.exitCode), "\(refused.errors)")
            }
            #expect(server.plane.requests.count == 1)
        }
    }

    @Test func `a token goes into a file of its owner's`() async throws {
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("token").path
            try await FakeServer.run({ _, _ in Self.answer }) { server in
                let run = try await CommandLineRun.run(
                    ["token", "create", "ci", "--role", "viewer", "--to", file], server: server.url)
                #expect(run.exitCode == 0 && !run.output.contains("orc_"), "\(run.errors)")
            }
            let made = try await CommandLineRun.run(["token", "generate", file + "2"])
            #expect(made.exitCode == 0 && !made.output.contains("orc_"), "\(made.errors)")
            for path in [file, file + "2"] {
                let text = try String(contentsOfFile: path, encoding: .utf8)
                #expect(TokenText.isWellFormed(text.trimmingCharacters(in: .newlines)))
                let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                #expect(mode == 0o600)
            }
            #expect(try await CommandLineRun.run(["token", "generate", file]).exitCode == 1)
        }
    }

    @Test func `credentials come from a file, the environment or the stored configuration`() async throws {
        var random = SystemRandomNumberGenerator()
        let text = TokenText.generate(using: &random)
        try await CommandLineRun.withFolder { home in
            let file = home.appendingPathComponent("token").path
            try Data("\(text)\n".utf8).write(to: URL(fileURLWithPath: file))
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
            try await FakeServer.run(only: text) { server in
                func run(_ arguments: [String], token: String? = nil, server url: String? = nil) async throws
                    -> CommandLineRun
                {
                    try await CommandLineRun.run(arguments, server: url ?? server.url, home: home, token: token)
                }
                let none = try await run(["list"])
                #expect(none.exitCode == 1 && none.errors.contains("no credentials"), "\(none.errors)")
                let open = try await run(["list", "--token-file", file])
                #expect(open.exitCode == 2 && open.errors.contains("chmod 600"), "\(open.errors)")
                try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
                #expect(try await run(["list", "--token-file", file]).exitCode == 0)
                #expect(try await run(["list"], token: text).exitCode == 0)
                let wrong = try await run(["list"], token: text + "x")
                #expect(
                    wrong.exitCode == 1 && wrong.errors.contains("refused") && !wrong.errors.contains("orc_"),
                    "\(wrong.errors)")

                let stored = try await run(
                    ["config", "set", "--host", "127.0.0.1", "--port", String(server.port), "--token-file", file])
                #expect(stored.exitCode == 0 && !stored.output.contains("orc_"), "\(stored.errors)")
                let configuration = home.appendingPathComponent(".config/orchestry/config.yaml").path
                let mode = try FileManager.default.attributesOfItem(atPath: configuration)[.posixPermissions] as? Int
                #expect(mode == 0o600)
                #expect(try await run(["list"], server: "").exitCode == 0)
                let shown = try await run(["config", "show"], server: "")
                #expect(shown.output.contains("stored, for that server") && !shown.output.contains("orc_"))
                // Another server does not get it.
                #expect(
                    try await run(["list"], server: "http://localhost:\(server.port)").errors.contains("no credentials")
                )
                try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: configuration)
                #expect(try await run(["list"], server: "").exitCode == 2)
            }
        }
    }

    @Test func `HTTPS with an authority of one's own`() async throws {
        let folder = try TemporaryFolder("orchestry-cli-tls")
        let certificates = CertificateFolder(path: folder.path)
        try certificates.initialize()
        try certificates.issue(node: "api", addresses: ["127.0.0.1"], days: 2)
        func bytes(_ name: String) throws -> [UInt8] {
            Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder.path)/\(name)")))
        }
        let tls = try FacadeTLS(certificatePEM: try bytes("api.pem"), keyPEM: try bytes("api.key"))
        try await FakeServer.run(tls: tls, { _, _ in ControlResponse(body: ["apps": []]) }) { server in
            let url = "https://127.0.0.1:\(server.port)"
            let good = try await CommandLineRun.run(["list", "--ca", folder.path + "/ca.pem"], server: url)
            #expect(good.exitCode == 0, "\(good.errors)")
            let untrusted = try await CommandLineRun.run(["list", "--timeout", "0"], server: url)
            #expect(untrusted.exitCode == 3 && untrusted.errors.contains("not trusted"), "\(untrusted.errors)")
            let plain = try await CommandLineRun.run(["list", "--timeout", "0"], server: server.url)
            #expect(plain.exitCode == 3, "\(plain.errors)")
            #expect(try await CommandLineRun.run(["list", "--ca", "/no/file"], server: url).exitCode == 2)
        }
    }

    // MARK: The audit trail

    /// A server with a chain of entries, of which one may be changed.
    private static func trail(_ count: Int, broken: Int64? = nil) -> @Sendable (ControlRequest, Int) -> ControlResponse
    {
        var head = AuditHead.origin
        var made: [AuditEntry] = []
        for number in 1...Int64(count) {
            let record = AuditRecord(
                time: WallTime(seconds: 1_795_391_840), actor: "token:ci", address: "10.0.0.9",
                node: NodeID(unchecked: "n-1"), operation: "scale", app: AppName(unchecked: "web"), outcome: .accepted,
                status: 200, changes: DocumentDifference.between(["replicas": 1], ["replicas": .int(number)]))
            let text = record.json.jsonText()
            let hash = AuditChain.hash(sequence: number, previous: head.hash, record: text)
            head = AuditHead(sequence: number, hash: hash)
            made.append(AuditEntry(sequence: number, record: number == broken ? text + " " : text, hash: hash))
        }
        let (entries, last) = (made, head)
        return { request, _ in
            guard case .audit(_, let after, let limit, let isRaw) = request.operation else {
                return ControlResponse(body: .null)
            }
            let page =
                after.map { after in entries.filter { $0.sequence > after }.prefix(limit) }.map(Array.init)
                ?? Array(entries.reversed().prefix(limit))
            return ControlResponse(body: Presentation.audit(page, head: last, isRaw: isRaw))
        }
    }

    @Test func `the chain is recomputed here`() async throws {
        try await FakeServer.run(Self.trail(2_500)) { server in
            let run = try await CommandLineRun.run(["audit", "verify"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output.hasPrefix("2500 entries, the chain is whole.\nHead: 2500:"))
            let head = try #require(run.output.split(separator: " ").last).trimmingCharacters(in: .newlines)
            #expect(
                try await CommandLineRun.run(["audit", "verify", "--head", head], server: server.url).exitCode == 0)
            let other = "1200:" + String(repeating: "0", count: 64)
            let anew = try await CommandLineRun.run(["audit", "verify", "--head", other], server: server.url)
            #expect(anew.exitCode == 1 && anew.output.contains("entry 1200"), "\(anew.output)")
            #expect(try await CommandLineRun.run(["audit", "verify", "--head", "x"], server: server.url).exitCode == 2)
        }
        try await FakeServer.run(Self.trail(2_500, broken: 1_777)) { server in
            let run = try await CommandLineRun.run(["audit", "verify"], server: server.url)
            #expect(run.exitCode == 1 && run.output.contains("entry 1777 was changed"), "\(run.output) \(run.errors)")
        }
    }

    @Test func `entries are shown with what changed`() async throws {
        try await FakeServer.run(Self.trail(3)) { server in
            let run = try await CommandLineRun.run(["audit", "list", "--limit", "2"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            let lines = run.output.split(separator: "\n")
            #expect(lines.count == 3 && lines[0].hasPrefix("NO"))
            #expect(lines[1].hasPrefix("3") && lines[1].contains("token:ci") && lines[1].contains("replicas: 1 → 3"))
        }
    }
}
