import AccessControl
import Foundation
import OrchestryModel
import TestSupport
import Testing

private let program = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_SCHEMATHESIS"]

/// All roles, with all that Schemathesis can think of, take minutes; what each may do has a test of its own, too.
private let isLong = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_SCHEMATHESIS_ALL"] != nil

/// Schemathesis makes requests of our OpenAPI document, good and bad ones, and compares the answers with it. All of them
/// go to a follower.
@Suite(
    .serialized,
    .enabled(
        if: postgresExpected && program != nil, "needs PostgreSQL, and Schemathesis: configs/dev/test installs both"),
    .timeLimit(.minutes(20)))
struct SchemathesisTests {
    private struct Exchange {
        var method: String
        var path: String
        var status: Int
    }

    @Test func `no role meets a server error or an answer the document doesn't have, and without one nobody gets in`()
        async throws
    {
        var random = SystemRandomNumberGenerator()
        var options = Cluster.Options.protocolOnly
        options.bootstrapToken = TokenText.generate(using: &random)
        try await withCluster("schema", options) { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            let registered = try await cluster.post("/apps/register", Cluster.document("web"), to: follower)
            #expect(registered.status == 200, "\(registered.text)")
            func state() async throws -> [JSONValue] {
                var state: [JSONValue] = []
                for path in ["/apps", "/apps/web/raw", "/apps/web/revisions", "/secrets", "/tokens"] {
                    let answer = try await cluster.get(path, from: follower)
                    #expect(answer.status == 200, "\(path): \(answer.text)")
                    state.append(answer.json)
                }
                return state
            }
            let before = try await state()
            let strangers = try await exchanges(cluster, follower, token: nil)
            // The others say that there were no credentials, or that this was no request.
            let answered = Set(
                strangers.filter { ![400, 401, 404, 405, 413, 431].contains($0.status) }.map(\.path))
            #expect(answered.isSubset(of: ["/health", "/openapi.json", "/ui"]), "\(answered)")
            #expect(answered.contains("/health"), "it got nowhere")
            #expect(try await state() == before)

            for role in isLong ? ["viewer", "operator", "admin"] : ["operator"] {
                let made = try await cluster.post(
                    "/tokens", ["name": .string("fuzz-\(role)"), "role": .string(role)], to: follower)
                let token = try #require(made.json["token"]?.stringValue, "\(made.text)")
                let all = try await exchanges(cluster, follower, token: token)
                let done = all.filter { $0.status == 200 }
                print("schemathesis as \(role): \(all.count) requests, \(done.count) carried out")
                #expect(done.contains { $0.path.hasPrefix("/apps") }, "it got nowhere")
                #expect(!all.contains { $0.status == 401 }, "it was taken for a stranger")
                if role == "viewer" {
                    #expect(done.allSatisfy { ["GET", "HEAD"].contains($0.method) || $0.path.hasSuffix("/simulate") })
                }
                if role != "admin" { #expect(!done.contains { $0.path.hasPrefix("/tokens") || $0.path == "/audit" }) }
            }
            #expect(try await cluster.get("/cluster/health", from: follower).status == 200)
        }
    }

    /// Fails where an answer breaks the document.
    private func exchanges(_ cluster: Cluster, _ member: Cluster.Member, token: String?) async throws -> [Exchange] {
        let address = "http://127.0.0.1:\(member.apiPort)"
        let report = cluster.folder.appending("schemathesis-\(UUID().uuidString).har")
        var arguments = [
            "run", "--url", address, "--seed", "20261128", "--max-examples", "4", "--no-color",
            "--warnings", "off",
            "--phases", isLong ? "examples,coverage,fuzzing" : "fuzzing", "--continue-on-failure",
            "--suppress-health-check", "all",
            "--generation-database", "none", "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            // A cluster that is between two leaders says 503, as it should.
            "--exclude-path", "/cluster/step-down",
            "--report", "har", "--report-har-path", report, address + "/openapi.json",
        ]
        if let token { arguments += ["--header", "Authorization: Bearer \(token)"] }
        // It keeps notes where it runs.
        try await Tool.named("sh").run(
            ["-c", "cd \"$0\" && exec \"$@\"", cluster.folder.path, program ?? ""] + arguments)
        let har = try JSONValue(jsonText: String(contentsOfFile: report, encoding: .utf8))
        return try (har["log"]?["entries"]?.arrayValue ?? []).map { entry in
            let url = try #require(entry["request"]?["url"]?.stringValue)
            return Exchange(
                method: entry["request"]?["method"]?.stringValue ?? "",
                path: URLComponents(string: url)?.percentEncodedPath ?? url,
                status: entry["response"]?["status"]?.intValue ?? 0)
        }
    }
}
