import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import OrchestryModel
import RestFacade
import Testing

struct FacadeErrorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var method: HTTPRequest.Method
        var path: String
        var text: String?
        var status: Int
        /// A part of `detail`.
        var words: String
        init(_ method: HTTPRequest.Method, _ path: String, _ status: Int, _ words: String) {
            self.init(method, path, nil, status, words)
        }
        init(_ method: HTTPRequest.Method, _ path: String, _ text: String?, _ status: Int, _ words: String) {
            self.method = method
            self.path = path
            self.text = text
            self.status = status
            self.words = words
        }
        var testDescription: String { "\(method.rawValue) \(path) \(text ?? "")" }
    }

    static let rows = [
        Row(.get, "/nope", 404, "nothing at /nope"), Row(.get, "/cluster/foo", 404, "openapi.json"),
        Row(.get, "/api/v1/apps", 404, "nothing"), Row(.get, "/apps//status", 405, "it takes DELETE"),
        Row(.put, "/apps", 405, "it takes GET, HEAD"), Row(.get, "/apps/x", 405, "it takes DELETE"),
        Row(.get, "/apps/register", 405, "it takes POST"), Row(.options, "/apps", 405, "it takes GET, HEAD"),
        Row(.get, "/apps/No_App/status", 404, "App No_App not found"),
        Row(.post, "/apps/UP/up", 404, "App UP not found"),
        Row(.get, "/apps/..%2f/status", 404, "not found"),
        Row(.post, "/apps/register", "{\"replicas\":", 400, "line 1, column 13"),
        Row(.post, "/apps/register", "metadata:\n  name: web\n", 400, "not JSON: line 1, column 1"),
        Row(.post, "/apps/register", nil, 422, "JSON object as its body, got none"),
        Row(.post, "/apps/register", "{\"a\": 1}", 422, "metadata is required"),
        Row(.post, "/apps/register", "[]", 422, "must be an object"),
        Row(.post, "/apps/web/scale", "{\"replicas\":", 400, "line 1, column 13"),
        Row(
            .post, "/apps/web/scale", "{\"replicas\": 101}", 422,
            "replicas must be a whole number from 0 to 100, got 101"),
        Row(.post, "/apps/web/scale", "{\"replicas\": -1}", 422, "got -1"),
        Row(.post, "/apps/web/scale", "{\"replicas\": 2.5}", 422, "got 2.5"),
        Row(.post, "/apps/web/scale", "{\"replicas\": 1e400}", 400, "too large"),
        Row(.post, "/apps/web/scale", "{}", 422, "replicas is required"),
        Row(.post, "/apps/web/scale", "[]", 422, "must be an object"),
        Row(.post, "/apps/web/scale", nil, 422, "got none"),
        Row(.post, "/apps/web/policy", "{}", 422, "policy is required"),
        Row(.post, "/apps/web/policy", "{\"policy\": 5}", 422, "got 5"),
        Row(.post, "/apps/web/simulateMetrics", "{\"rps\": \"x\"}", 422, "rps must be a number"),
        Row(.get, "/apps/web/logs?lines=abc", 422, "lines must be a whole number, got \"abc\""),
        Row(.get, "/events?limit=x", 422, "limit"), Row(.get, "/events?limit=0", 422, "at least 1"),
        Row(.get, "/events?app=No_App", 422, "app must be an app's name"),
    ]

    @Test(arguments: rows)
    func `bad requests are refused here, in problem documents`(_ row: Row) async throws {
        let test = FacadeUnderTest()
        let answer = try await test.ask(row.method, row.path, text: row.text)
        #expect(answer.status == row.status, "\(answer.text)")
        #expect(answer.headers[.contentType] == "application/problem+json")
        #expect(answer.body["status"]?.intValue == row.status)
        #expect(answer.body["type"]?.stringValue?.hasPrefix("urn:orchestry:problem:") == true)
        #expect(answer.body["detail"]?.stringValue?.contains(row.words) == true, "\(answer.text)")
        #expect((answer.headers[.allow] != nil) == (row.status == 405))
        #expect(test.plane.requests.isEmpty)
    }

    @Test func `every violation is listed`() async throws {
        let answer = try await FacadeUnderTest().ask(
            .post, "/apps/register",
            [
                "metadata": ["name": "Bad"], "spec": ["type": "http", "image": "web", "prots": []],
                "scaling": ["mode": 1],
            ])
        let fields = answer.body["violations"]?.arrayValue?.compactMap { $0["field"]?.stringValue }
        #expect(Set(fields ?? []) == ["metadata.name", "spec.prots", "spec.ports", "scaling.mode"])
        #expect(answer.body["violations"]?.arrayValue?.allSatisfy { $0["rule"]?.stringValue?.isEmpty == false } == true)
    }

    @Test func `what the control plane refuses is passed on`() async throws {
        let problems = [
            Problem.appNotFound(AppName(unchecked: "web")), .noLeader("none now"), .storeUnavailable("gone"),
        ]
        let test = FacadeUnderTest(ScriptedControlPlane(problems.map { ControlResponse($0) }))
        let missing = try await test.ask(.get, "/apps/web/status")
        #expect(missing.status == 404)
        #expect(missing.body["detail"]?.stringValue?.contains("App web not found") == true)
        let leaderless = try await test.ask(.post, "/apps/web/up")
        #expect(leaderless.status == 503)
        #expect(leaderless.headers[.retryAfter] == "1")
        #expect(leaderless.headers[.contentType] == "application/problem+json")
        #expect(try await test.ask(.post, "/apps/web/up").headers[.retryAfter] == "2")
    }

    @Test func `a plane that takes too long is a 504 that says how to repeat`() async throws {
        let plane = ScriptedControlPlane(delay: .seconds(30))
        let test = FacadeUnderTest(plane, timeout: .milliseconds(20))
        let answer = try await test.ask(.post, "/apps/web/up", headers: [FacadeHeaders.idempotencyKey: "mine"])
        #expect(answer.status == 504)
        #expect(answer.body["detail"]?.stringValue?.contains("Idempotency-Key: mine") == true)
    }

    @Test func `YAML is told where it belongs`() async throws {
        let answer = try await FacadeUnderTest().ask(
            .post, "/apps/register", text: "a: 1", headers: [.contentType: "application/yaml"])
        #expect(answer.status == 415)
    }

    @Test func `a body over the limit is refused, with or without its length announced`() async throws {
        let test = FacadeUnderTest(maxBodyBytes: 1_000)
        let text = "{\"x\": \"" + String(repeating: "a", count: 1_000) + "\"}"
        let answer = try await test.ask(.post, "/apps/register", text: text)
        #expect(answer.status == 413)
        #expect(answer.body["detail"]?.stringValue?.contains("1000 bytes") == true)
        let within = try await test.ask(
            .post, "/apps/web/scale", text: "{\"replicas\": 1}" + String(repeating: " ", count: 900))
        #expect(within.status == 200)
    }

    @Test func `20 MB over a real connection`() async throws {
        let test = FacadeUnderTest()
        let body = ByteBuffer(repeating: UInt8(ascii: "["), count: 20_000_000)
        try await test.facade.application().test(.live) { client in
            try await client.execute(uri: "/apps/register", method: .post, body: body) { response in
                #expect(response.status.code == 413)
                #expect(response.headers[.connection] == "close")
                #expect(String(buffer: response.body).contains("1048576 bytes"))
            }
        }
        #expect(test.plane.requests.isEmpty)
    }

    @Test func `a body just as large, without a length, is not kept either`() async throws {
        let test = FacadeUnderTest()
        try await test.facade.application().test(.live) { client in
            // Chunked: the limit is found while reading.
            let port = try #require(client.port)
            let answer = try await RawConnection.exchange(
                port: port, head: "POST /apps/register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunk: "10000\r\n" + String(repeating: "[", count: 65_536) + "\r\n", count: 40, tail: "0\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 413"), "\(answer.prefix(200))")
        }
    }

    @Test func `random bodies never give a 500`() async throws {
        var random = SeededGenerator(state: 5)
        let test = FacadeUnderTest()
        let paths = ["/apps/register", "/apps/web/scale", "/apps/web/policy", "/apps/web/simulateMetrics"]
        for _ in 0..<300 {
            let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                Array("{}[]\":,0123456789.eE+-truefalsn \\u".utf8).randomElement(using: &random) ?? 0
            }
            let text = String(decoding: bytes, as: UTF8.self)
            let answer = try await test.ask(.post, paths.randomElement(using: &random) ?? "", text: text)
            #expect([200, 400, 422].contains(answer.status), "\(text): \(answer.text)")
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
