import Foundation
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(3)))
struct RefusalTests {
    private func changed(_ change: (inout [String: JSONValue], inout [String: JSONValue]) -> Void) -> JSONValue {
        guard case .object(var root) = Cluster.document("bad"), case .object(var spec)? = root["spec"] else {
            return .null
        }
        change(&root, &spec)
        root["spec"] = .object(spec)
        return .object(root)
    }

    @Test func `bad documents get a 4xx with field and rule, and change nothing`() async throws {
        try await withCluster("refuse") { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            let cases: [(name: String, document: JSONValue, field: String)] = [
                ("missing image", changed { $1["image"] = nil }, "spec.image"),
                (
                    "negative replicas", changed { root, _ in root["scaling"] = ["minReplicas": -1] },
                    "scaling.minReplicas"
                ),
                (
                    "min over max", changed { root, _ in root["scaling"] = ["minReplicas": 5, "maxReplicas": 2] },
                    "scaling.maxReplicas"
                ),
                ("unknown key", changed { $1["foo"] = 1 }, "spec.foo"),
                ("name with a slash", changed { root, _ in root["metadata"] = ["name": "a/b"] }, "metadata.name"),
            ]
            for member in [cluster.member(leader), follower] {
                for row in cases {
                    let answer = try await cluster.post("/apps/register", row.document, to: member)
                    #expect((400..<500).contains(answer.status), "\(row.name): \(answer.status) \(answer.text)")
                    let fields = answer.json["violations"]?.arrayValue?.compactMap { $0["field"]?.stringValue } ?? []
                    #expect(fields.contains(row.field), "\(row.name): \(answer.text)")
                    #expect(answer.headers.first(name: "content-type")?.contains("application/problem+json") == true)
                }
                let broken = try await cluster.raw("/apps/register", body: Array(#"{"metadata": {"#.utf8), to: member)
                #expect(broken.status == 400, "\(broken.text)")
                let large = try await cluster.raw(
                    "/apps/register", body: Array(repeating: UInt8(ascii: " "), count: 20 << 20), to: member)
                #expect(large.status == 413, "\(large.status) \(large.text.prefix(300))")
                let scale = try await cluster.post("/apps/none/scale", ["replicas": -1], to: member)
                #expect(scale.status == 422 && scale.text.contains("replicas"), "\(scale.text)")
                #expect(try await cluster.post("/apps/none/up", to: member).status == 404)
            }
            #expect(try await cluster.get("/apps", from: follower).json["apps"] == [])
            let rows = try cluster.postgres.query(
                "SELECT (SELECT count(*) FROM applications) + (SELECT count(*) FROM revisions)", on: cluster.database)
            #expect(rows.filter(\.isNumber) == "0", "a refused document left a row behind")
        }
    }

    @Test func `the same idempotency key applies once, through different nodes too`() async throws {
        try await withCluster("once") { cluster in
            _ = try await cluster.leader()
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: cluster.members[0])
            let key = [("Idempotency-Key", "key-\(UUID())")]
            let first = try await cluster.post("/apps/web/scale", ["replicas": 1], to: cluster.members[1], headers: key)
            let second = try await cluster.post(
                "/apps/web/scale", ["replicas": 1], to: cluster.members[2], headers: key)
            // Without the key the second answer would be "no_change".
            #expect(first.json == second.json)
            #expect(first.json["status"] == "scaled")
        }
    }
}
