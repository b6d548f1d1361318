import AccessControl
import AsyncHTTPClient
import Certificates
import Foundation
import Leadership
import NIOCore
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// Who may do what, on real nodes: tokens are known everywhere, count nowhere once revoked, need neither a leader nor
/// PostgreSQL; every write is in the audit trail.
@Suite(
    .serialized, .enabled(if: postgresExpected, "needs PostgreSQL: see configs/dev/test"), .timeLimit(.minutes(8)))
struct AccessTests {
    private static func options() -> Cluster.Options {
        var random = SystemRandomNumberGenerator()
        var options = Cluster.Options.protocolOnly
        options.bootstrapToken = TokenText.generate(using: &random)
        return options
    }

    /// Makes a token through a node.
    private func token(
        _ name: String, _ role: String, apps: [String]? = nil, via member: Cluster.Member, on cluster: Cluster
    ) async throws -> String {
        var body: [String: JSONValue] = ["name": .string(name), "role": .string(role)]
        if let apps { body["apps"] = .array(apps.map { .string($0) }) }
        let answer = try await cluster.post("/tokens", .object(body), to: member)
        #expect(answer.status == 200, "\(answer.text)")
        return try #require(answer.json["token"]?.stringValue)
    }

    private func ask(
        _ method: HTTPMethod, _ path: String, _ body: JSONValue? = nil, token: String?, of member: Cluster.Member,
        on cluster: Cluster, key: String? = nil
    ) async throws -> Cluster.Answer {
        try await cluster.send(
            method, "http://127.0.0.1:\(member.apiPort)\(path)", body: body,
            headers: [("Authorization", token.map { "Bearer \($0)" } ?? "")]
                + (key.map { [("Idempotency-Key", $0)] } ?? []))
    }

    private func trail(_ cluster: Cluster, via member: Cluster.Member) async throws -> (
        chain: AuditChain, records: [JSONValue]
    ) {
        var chain = AuditChain()
        var records: [JSONValue] = []
        while true {
            let page = try await cluster.get("/audit?after=\(chain.head.sequence)&limit=100&raw=true", from: member)
                .json
            let entries = (page["entries"]?.arrayValue ?? []).map {
                AuditEntry(
                    sequence: Int64($0["sequence"]?.intValue ?? 0), record: $0["text"]?.stringValue ?? "",
                    hash: $0["hash"]?.stringValue ?? "")
            }
            chain.add(entries)
            records += try entries.map { try JSONValue(jsonText: $0.record) }
            if entries.count < 100 {
                chain.end(
                    recorded: AuditHead(
                        sequence: Int64(page["head"]?["sequence"]?.intValue ?? 0),
                        hash: page["head"]?["hash"]?.stringValue ?? ""))
                return (chain, records)
            }
        }
    }

    @Test
    func `a token made through one node is known to all, limited as it was made, and refused by all once revoked`()
        async throws
    {
        try await withCluster("access", Self.options()) { cluster in
            let leader = try await cluster.leader()
            let followers = cluster.members.filter { $0.id != leader }
            let (first, second) = (followers[0], followers[1])
            for member in cluster.members {
                #expect(try await ask(.GET, "/apps", token: nil, of: member, on: cluster).status == 401)
                #expect(try await ask(.GET, "/health", token: nil, of: member, on: cluster).status == 200)
            }
            let operatorToken = try await token("ci", "operator", apps: ["web"], via: first, on: cluster)
            let viewer = try await token("eye", "viewer", via: second, on: cluster)
            for member in cluster.members {
                // At once: nobody has to wait for a node to hear of a token.
                #expect(try await ask(.GET, "/apps", token: operatorToken, of: member, on: cluster).status == 200)
                #expect(try await ask(.GET, "/cluster/status", token: viewer, of: member, on: cluster).status == 200)
            }

            // Two apps, of which the token sees and touches one.
            let other = try await cluster.post("/apps/register", Cluster.document("other"), to: first)
            #expect(other.status == 200, "\(other.text)")
            let mine = try await ask(
                .POST, "/apps/register", Cluster.document("web"), token: operatorToken, of: first, on: cluster,
                key: "mine")
            #expect(mine.status == 200, "\(mine.text)")
            let listed = try await ask(.GET, "/apps", token: operatorToken, of: second, on: cluster).json
            #expect(listed["apps"]?.arrayValue?.map { $0["name"] } == ["web"])
            let events = try await ask(.GET, "/events", token: operatorToken, of: second, on: cluster).json
            #expect(events["events"]?.arrayValue?.allSatisfy { $0["app_name"] == "web" } == true)
            #expect(
                events["events"]?.arrayValue?.contains { $0["details"]?["actor"] == "token:ci" } == true,
                "\(events.jsonText())")
            for (method, path) in [
                (HTTPMethod.DELETE, "/apps/other"), (.GET, "/apps/other/status"), (.GET, "/nodes"), (.GET, "/secrets"),
            ] { #expect(try await ask(method, path, token: operatorToken, of: second, on: cluster).status == 403) }
            #expect(try await ask(.DELETE, "/apps/web", token: viewer, of: second, on: cluster).status == 403)
            // Somebody else's key, and a secret of others.
            let key = try await cluster.post(
                "/apps/register", Cluster.document("web"), to: first, headers: [("Idempotency-Key", "mine")])
            #expect(key.status == 422 && key.text.contains("idempotency-key-reused"), "\(key.text)")
            let thief = try await ask(
                .POST, "/apps/register", document("web", secret: "shop-db"), token: operatorToken, of: first,
                on: cluster)
            #expect(thief.status == 403 && thief.text.contains("shop-db"), "\(thief.text)")
            let own = try await ask(
                .POST, "/apps/register", document("web", secret: "web.db"), token: operatorToken, of: first, on: cluster
            )
            #expect(own.status == 200, "\(own.text)")

            // At once for what the leader has a part in, and soon for what a node says by itself.
            let revoked = try await cluster.delete("/tokens/ci", from: second)
            #expect(revoked.status == 200, "\(revoked.text)")
            for member in cluster.members {
                #expect(try await ask(.GET, "/apps", token: operatorToken, of: member, on: cluster).status == 401)
            }
            #expect(try await cluster.delete("/tokens/eye", from: second).status == 200)
            let begun = ContinuousClock.now
            for member in cluster.members {
                try await eventuallyTrue("\(member.id) has heard of it") {
                    try await ask(.GET, "/cluster/status", token: viewer, of: member, on: cluster).status == 401
                }
            }
            print("revoked tokens were refused for local answers too after \(ContinuousClock.now - begun)")
        }
    }

    private func document(_ name: String, secret: String) -> JSONValue {
        guard case .object(var members) = Cluster.document(name), case .object(var spec)? = members["spec"] else {
            return nil
        }
        spec["environment"] = [["name": "X", "source": "secret", "key": .string(secret)]]
        members["spec"] = .object(spec)
        return .object(members)
    }

    @Test func `a worker takes requests as any node, and its word is checked`() async throws {
        var options = Self.options()
        options.workers = 1
        try await withCluster("access-worker", options) { cluster in
            _ = try await cluster.leader()
            let worker = try #require(cluster.workers.first)
            let ci = try await token("ci", "operator", apps: ["web"], via: cluster.members[0], on: cluster)
            try await eventuallyTrue("the worker serves") {
                (try? await ask(.GET, "/apps", token: ci, of: worker, on: cluster))?.status == 200
            }
            #expect(try await ask(.GET, "/apps", token: nil, of: worker, on: cluster).status == 401)
            let registered = try await ask(
                .POST, "/apps/register", Cluster.document("web"), token: ci, of: worker, on: cluster)
            #expect(registered.status == 200, "\(registered.text)")
            #expect(try await ask(.DELETE, "/apps/other", token: ci, of: worker, on: cluster).status == 403)
            // Streams would ask in the worker's own name.
            for path in ["/events/stream", "/apps/web/logs?follow=true"] {
                let stream = try await ask(.GET, path, token: ci, of: worker, on: cluster)
                #expect(stream.status == 503 && stream.text.contains("controller-1"), "\(stream.text)")
            }
            // The worker itself takes the bootstrap token, too: here every node has the file.
            #expect(try await cluster.post("/apps/web/down", to: worker).status == 400)
            let record = try #require(
                try await trail(cluster, via: worker).records.first { $0["operation"] == "register" })
            #expect(record["actor"] == "token:ci" && record["node"]?.stringValue == worker.id.rawValue)
            #expect(!record.jsonText().contains("orc_"))
            #expect(try await cluster.delete("/tokens/ci", from: cluster.members[1]).status == 200)
            #expect(try await ask(.GET, "/apps", token: ci, of: worker, on: cluster).status == 401)
        }
    }

    @Test func `a worker that lies about who asks gets nothing`() async throws {
        try await withCluster("access-liar", Self.options()) { cluster in
            let leader = cluster.member(try await cluster.leader())
            let ci = try await token("ci", "admin", via: leader, on: cluster)
            try cluster.certificates.issue(node: "liar", addresses: ["127.0.0.1"])
            let tls = try WirePeer.tls(cluster.certificates, as: "liar")
            let control = try await WirePeer(port: leader.clusterPort, tls: tls)
            let bulk = try await WirePeer(port: leader.clusterPort, tls: tls)
            defer {
                control.close()
                bulk.close()
            }
            #expect(try await control.introduce("liar", to: cluster.name, .control)?.isAccepted == true)
            #expect(try await bulk.introduce("liar", to: cluster.name, .bulk)?.isAccepted == true)
            let viewer = try await token("eye", "viewer", via: leader, on: cluster)
            func status(
                _ caller: Caller?, _ number: UInt64, _ operation: OrchestryModel.Operation = .listApps
            ) async throws -> Int? {
                let request = ControlRequest(
                    operation: operation, idempotencyKey: "k\(number)", actor: "token:ci", caller: caller)
                try await control.send(.forwardRequest(request, deadlineMilliseconds: 5_000), correlation: number)
                guard case .forwardResponse(let answer)? = await control.next({ $0.type == .forwardResponse }) else {
                    return nil
                }
                return answer.status
            }
            let admin = AccessGrant(role: .admin)
            let fingerprint = APIToken.fingerprint(ofHash: TokenText.hash(ci))
            #expect(try await status(nil, 2) == 401)
            #expect(try await status(Caller(name: "anonymous"), 4) == 401)
            #expect(try await status(Caller(name: "bootstrap", grant: admin), 6) == 401)
            #expect(try await status(Caller(name: "token:ci", grant: admin, token: fingerprint), 8) == 401)
            #expect(try await status(Caller(name: "x", credential: "Bearer \(ci)"), 10) == 200)
            // No routes stand between the worker and the leader: it looks at the verbs itself.
            let weak = Caller(name: "x", grant: admin, credential: "Bearer \(viewer)")
            #expect(try await status(weak, 12) == 200)
            #expect(try await status(weak, 14, .revokeToken(TokenName(unchecked: "ci"))) == 403)
            #expect(try await status(weak, 16, .stepDown) == 403)
            // A node answers for its own containers without asking the leader.
            let other = try await token("other", "viewer", apps: ["other"], via: leader, on: cluster)
            let limited = Caller(name: "x", grant: admin, credential: "Bearer \(other)")
            let log = OrchestryModel.Operation.followLog(
                InstanceID(unchecked: "web-1-a"), session: "s", cursor: nil, tail: nil)
            #expect(try await status(weak, 18, log) == 200)
            #expect(try await status(limited, 20, log) == 403)
        }
    }

    @Test func `tokens are known without PostgreSQL, without a leader, and after a restart without both`() async throws
    {
        try await withCluster("access-alone", Self.options()) { cluster in
            _ = try await cluster.leader()
            let viewer = try await token("eye", "viewer", via: cluster.members[0], on: cluster)
            for member in cluster.members {
                #expect(try await ask(.GET, "/cluster/status", token: viewer, of: member, on: cluster).status == 200)
                let copy = member.folder + "/data/tokens.json"
                try await eventuallyTrue("\(member.id) keeps a copy") { FileManager.default.fileExists(atPath: copy) }
                #expect(try !String(contentsOfFile: copy, encoding: .utf8).contains(viewer))
                #expect(try FileManager.default.attributesOfItem(atPath: copy)[.posixPermissions] as? Int == 0o600)
            }
            cluster.postgres.stop(immediately: true)
            let last = cluster.members[2]
            for member in cluster.members { await cluster.kill(member.id) }
            try await cluster.start(last)
            try await eventuallyTrue("the node answers") {
                // Refused while it starts.
                (try? await ask(.GET, "/health", token: nil, of: last, on: cluster))?.status == 200
            }
            #expect(try await ask(.GET, "/cluster/status", token: viewer, of: last, on: cluster).status == 200)
            #expect(try await ask(.GET, "/cluster/status", token: nil, of: last, on: cluster).status == 401)
            #expect(try await ask(.GET, "/apps", token: viewer, of: last, on: cluster).status == 503)
            #expect(try await ask(.POST, "/apps/web/up", token: viewer, of: last, on: cluster).status == 403)
        }
    }

    @Test func `every write is in the audit trail, and a touched entry is found`() async throws {
        try await withCluster("audit", Self.options()) { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            let ci = try await token("ci", "operator", via: follower, on: cluster)
            func write(_ method: HTTPMethod, _ path: String, _ body: JSONValue? = nil) async throws -> Int {
                try await ask(method, path, body, token: ci, of: follower, on: cluster).status
            }
            #expect(try await write(.POST, "/apps/register", Cluster.document("web")) == 200)
            #expect(try await write(.POST, "/apps/web/policy", ["policy": ["maxReplicas": 9]]) == 200)
            #expect(try await write(.POST, "/apps/register", Cluster.document("web", image: "other:2")) == 200)
            #expect(try await write(.POST, "/apps/none/up") == 404)
            #expect(try await write(.POST, "/apps/web/scale", ["replicas": 101]) == 422)
            #expect(try await write(.DELETE, "/tokens/ci") == 403)
            for _ in 0..<30 { #expect(try await write(.PUT, "/secrets/x", ["value": "s3cret"]) == 403) }
            #expect(try await ask(.POST, "/apps/web/up", token: "orc_wrong", of: follower, on: cluster).status == 401)
            #expect(try await cluster.post("/cluster/step-down", to: follower).status == 200)
            _ = try await cluster.leader()

            var records: [JSONValue] = []
            func find(_ operation: String, _ outcome: String) -> JSONValue? {
                records.first { $0["operation"]?.stringValue == operation && $0["outcome"]?.stringValue == outcome }
            }
            try await eventuallyTrue("all of it is in the trail", within: .seconds(40)) {
                let found = try await trail(cluster, via: follower)
                #expect(found.chain.findings.isEmpty)
                records = found.records
                let secrets = records.filter { $0["operation"] == "setSecret" }
                let counted = secrets.reduce(0) { $0 + 1 + ($1["repeats"]?.intValue ?? 0) }
                return counted == 30 && find("stepDown", "accepted") != nil && find("start", "refused") != nil
            }
            let registered = records.filter { $0["operation"] == "register" }
            #expect(registered.count == 2)
            for record in registered {
                #expect(record["actor"] == "token:ci" && record["address"] == "127.0.0.1" && record["app"] == "web")
                #expect(record["node"]?.stringValue == follower.id.rawValue)
            }
            func change(_ record: JSONValue?, _ field: String) -> JSONValue? {
                record?["changes"]?.arrayValue?.first { $0["field"]?.stringValue == field }
            }
            #expect(change(registered.first, "image")?["new"] == .string(Cluster.image))
            #expect(change(registered.last, "image")?["old"] == .string(Cluster.image))
            #expect(change(registered.last, "image")?["new"] == "other:2")
            #expect(change(find("setPolicy", "accepted"), "scaling.maxReplicas")?["new"] == 9)
            #expect(find("createToken", "accepted")?["arguments"]?["role"] == "operator")
            #expect(find("scale", "refused")?["status"] == 422)
            #expect(find("revokeToken", "refused")?["status"] == 403)
            #expect(records.contains { $0["status"] == 401 && $0["actor"] == "unknown" })
            #expect(!records.contains { $0.jsonText().contains("s3cret") || $0.jsonText().contains("orc_") })
            let shown = try await cluster.get("/audit?app=web&limit=1", from: follower).json
            #expect(
                shown["entries"]?.arrayValue?.count == 1
                    && shown["entries"]?.arrayValue?.first?["record"]?["app"] == "web")

            let sql = "UPDATE audit SET record = replace(record, 'other:2', 'other:3') WHERE record LIKE '%other:2%'"
            _ = try cluster.postgres.query(sql, on: cluster.database)
            #expect(try await trail(cluster, via: follower).chain.findings.count == 1)
        }
    }

    @Test func `10,000 malformed requests through a follower: no server error, no change`() async throws {
        try await withCluster("malformed", Self.options()) { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: follower).status == 200)
            let picture = """
                SELECT (SELECT string_agg(a::text, ';' ORDER BY name) FROM applications a),
                    (SELECT string_agg(r::text, ';' ORDER BY app_name, revision) FROM revisions r),
                    (SELECT count(*) FROM requests), (SELECT count(*) FROM secrets), (SELECT count(*) FROM api_tokens),
                    (SELECT count(*) FROM cluster_nodes WHERE cordoned OR draining),
                    (SELECT count(*) FROM audit WHERE record::jsonb ->> 'outcome' = 'accepted'),
                    (SELECT count(*) FROM scaling_decisions)
                """
            let before = try cluster.postgres.query(picture, on: cluster.database)
            let statuses = try await withThrowingTaskGroup(of: [Int: Int].self) { group in
                for lane in 0..<8 as Range<UInt64> {
                    group.addTask {
                        var random = SplitMix64(seed: 9_000 + lane)
                        var statuses: [Int: Int] = [:]
                        for _ in 0..<1_250 {
                            let request = MalformedRequest.make(&random, app: "web", document: Cluster.document("web"))
                            let status = try await send(request, to: follower, on: cluster)
                            statuses[status, default: 0] += 1
                            // A policy with unknown fields is found out by the leader.
                            #expect(
                                (400..<500).contains(status) || request.path.hasSuffix("/policy") && status == 200,
                                "\(status) \(request)")
                        }
                        return statuses
                    }
                }
                return try await group.reduce(into: [Int: Int]()) { $0.merge($1) { $0 + $1 } }
            }
            print("statuses of 10,000 malformed requests: \(statuses.sorted { $0.key < $1.key })")
            #expect(statuses.values.reduce(0, +) == 10_000 && statuses.keys.allSatisfy { (400..<500).contains($0) })
            let after = try cluster.postgres.query(picture, on: cluster.database)
            #expect(after == before)
        }
    }

    private func send(_ malformed: MalformedRequest, to member: Cluster.Member, on cluster: Cluster) async throws -> Int
    {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(member.apiPort)\(malformed.path)")
        request.method = HTTPMethod(rawValue: malformed.method)
        for (name, value) in malformed.headers { request.headers.add(name: name, value: value) }
        request.headers.add(name: "Authorization", value: "Bearer \(cluster.options.bootstrapToken ?? "")")
        request.body = .bytes(malformed.body)
        let response = try await cluster.http.execute(request, timeout: .seconds(30))
        _ = try await response.body.collect(upTo: 1 << 20)
        return Int(response.status.code)
    }
}
