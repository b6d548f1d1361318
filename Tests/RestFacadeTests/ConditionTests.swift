import HTTPTypes
import OrchestryModel
import RestFacade
import Testing

struct ConditionTests {
    private static let web = AppName(unchecked: "web")

    @Test func `the spec of an app has a tag, which If-Match takes`() async throws {
        let application = try Samples.application()
        let plane = ScriptedControlPlane([ControlResponse(body: Presentation.appDocument(application))])
        let facade = FacadeUnderTest(plane)
        let raw = try await facade.ask(.get, "/apps/web/raw")
        let tag = try #require(raw.headers[.eTag])
        #expect(tag == "\"\(application.tag)\"")
        _ = try await facade.ask(.post, "/apps/register", Samples.document, headers: [.ifMatch: tag])
        #expect(
            plane.requests.last?.operation
                == .register(document: Samples.document, condition: .oneOf([application.tag])))
    }

    @Test func `an error has no tag`() async throws {
        let plane = ScriptedControlPlane([ControlResponse(.appNotFound(Self.web))])
        let answer = try await FacadeUnderTest(plane).ask(.get, "/apps/web/raw")
        #expect(answer.status == 404)
        #expect(answer.headers[.eTag] == nil)
    }

    @Test(
        arguments: [
            ([.ifMatch: "*"], .exists), ([.ifNoneMatch: "*"], .absent),
            ([.ifMatch: "\"a\", \"b\""], .oneOf(["a", "b"])),
            ([:], nil),
        ] as [(HTTPFields, SpecCondition?)])
    func `conditions reach the leader`(_ headers: HTTPFields, _ condition: SpecCondition?) async throws {
        let plane = ScriptedControlPlane()
        let facade = FacadeUnderTest(plane)
        _ = try await facade.ask(.post, "/apps/register", Samples.document, headers: headers)
        _ = try await facade.ask(.post, "/apps/web/policy", ["policy": ["maxReplicas": 4]], headers: headers)
        #expect(
            plane.requests.map(\.operation) == [
                .register(document: Samples.document, condition: condition),
                .setPolicy(Self.web, policy: ["maxReplicas": 4], condition: condition),
            ])
    }

    @Test(arguments: [[.ifMatch: "r5"], [.ifNoneMatch: "\"a\""], [.ifMatch: "*", .ifNoneMatch: "*"]] as [HTTPFields])
    func `a condition that can't be read is refused`(_ headers: HTTPFields) async throws {
        let plane = ScriptedControlPlane()
        let answer = try await FacadeUnderTest(plane).ask(.post, "/apps/register", Samples.document, headers: headers)
        #expect(answer.status == 422)
        #expect(answer.body["violations"]?.arrayValue?.count == 1)
        #expect(plane.requests.isEmpty)
    }

    @Test func `where nobody looks at it, it is refused`() async throws {
        let plane = ScriptedControlPlane()
        let answer = try await FacadeUnderTest(plane).ask(.delete, "/apps/web", headers: [.ifMatch: "\"a\""])
        #expect(answer.status == 400)
        #expect(answer.body["detail"]?.stringValue?.contains("Nothing was changed") == true)
        #expect(plane.requests.isEmpty)
    }

    @Test func `documents of a plan are checked before the leader is asked`() async throws {
        let plane = ScriptedControlPlane()
        let answer = try await FacadeUnderTest(plane).ask(
            .post, "/apps/plan", ["documents": [Samples.document, ["metadata": ["name": "x"]]]])
        #expect(answer.status == 422)
        let fields = (answer.body["violations"]?.arrayValue ?? []).map { $0["field"] }
        #expect(fields.contains("documents[1].spec"), "\(fields)")
        #expect(plane.requests.isEmpty)
    }
}
