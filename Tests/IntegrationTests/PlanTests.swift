import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

/// `POST /apps/plan` and conditions on specs, on real nodes.
@Suite(.serialized, .enabled(if: servicesExpected, "needs the real services"), .timeLimit(.minutes(5)))
struct PlanTests {
    /// `document` with one field of a section set.
    private static func document(_ section: String, _ key: String, _ value: JSONValue) -> JSONValue {
        var document = Cluster.document("planned").objectValue ?? [:]
        var members = document[section]?.objectValue ?? [:]
        members[key] = value
        document[section] = .object(members)
        return .object(document)
    }

    @Test func `a plan tells what happens, and a condition keeps another's change`() async throws {
        try await withCluster("plan") { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            func plan(_ document: JSONValue) async throws -> JSONValue {
                let answer = try await cluster.post("/apps/plan", ["documents": [document]], to: follower)
                #expect(answer.status == 200, "\(answer.text)")
                return answer.json["apps"]?.arrayValue?.first ?? .null
            }
            let base = Cluster.document("planned")
            #expect(try await plan(base)["change"] == "create")
            #expect(try await cluster.get("/apps/planned/status", from: follower).status == 404)

            #expect(try await cluster.post("/apps/register", base, to: follower).status == 200)
            #expect(try await plan(base)["change"] == "none")
            _ = try await cluster.post("/apps/planned/up", to: follower)
            _ = try await cluster.post("/apps/planned/scale", ["replicas": 2], to: follower)
            try await cluster.waitForReady("planned", 2, via: follower)
            let containers = try cluster.containers(of: "planned")

            let routing = try await plan(Self.document("spec", "routing", ["hosts": ["planned.example"]]))
            #expect(routing["change"] == "settings")
            let image = try await plan(Self.document("spec", "image", "orchestry-demo:v2"))
            #expect(image["change"] == "revision" && image["replicas"] == 2 && image["revision"] == 2)

            // The tag of the plan is that of the document, and a write with it is refused once somebody else has written.
            let tag = try #require(routing["etag"]?.stringValue)
            let raw = try await cluster.get("/apps/planned/raw", from: follower)
            #expect(raw.headers.first(name: "ETag") == tag)
            let headers = [("If-Match", tag), ("Idempotency-Key", "once")]
            let settings = Self.document("spec", "routing", ["hosts": ["planned.example"]])
            let first = try await cluster.post("/apps/register", settings, to: follower, headers: headers)
            #expect(first.status == 200, "\(first.text)")
            // The same request again gets its answer, although the tag is another one now.
            let again = try await cluster.post("/apps/register", settings, to: follower, headers: headers)
            #expect(again.json == first.json && again.status == 200)
            let late = try await cluster.post(
                "/apps/register", Self.document("spec", "image", "orchestry-demo:v2"), to: follower,
                headers: [("If-Match", tag)])
            #expect(late.status == 412, "\(late.text)")
            let taken = try await cluster.post(
                "/apps/register", base, to: follower, headers: [("If-None-Match", "*")])
            #expect(taken.status == 412)

            // Nothing of this restarted anything, nor touched the count.
            try await cluster.waitForReady("planned", 2, via: follower)
            #expect(try cluster.containers(of: "planned") == containers)

            // Documents of one plan see each other.
            var rival = Cluster.document("rival").objectValue ?? [:]
            rival["spec"] = settings["spec"]
            let both = try await cluster.post(
                "/apps/plan", ["documents": [settings, .object(rival)]], to: follower)
            #expect(both.status == 422)
            #expect(
                both.json["violations"]?.arrayValue?.first?["field"] == "documents[1].spec.routing.hosts",
                "\(both.text)")
        }
    }
}
