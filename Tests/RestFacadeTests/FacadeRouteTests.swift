import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import OrchestryModel
import RestFacade
import Testing

/// A facade over a scripted plane, and shorthand for asking it.
struct FacadeUnderTest {
    let plane: ScriptedControlPlane
    let facade: RestFacade

    init(
        _ plane: ScriptedControlPlane = ScriptedControlPlane(), maxBodyBytes: Int = 1 << 20,
        timeout: Duration = .seconds(20)
    ) {
        self.plane = plane
        facade = RestFacade(
            configuration: RestFacadeConfiguration(
                port: 0, maxBodyBytes: maxBodyBytes, requestTimeout: timeout, version: "1.0.0"),
            controlPlane: plane, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            now: { WallTime(seconds: 1_795_391_963.701) })
    }

    struct Answer {
        var status: Int
        var headers: HTTPFields
        var body: JSONValue
        var text: String
    }

    func ask(
        _ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil, text: String? = nil,
        headers: HTTPFields = [:]
    ) async throws -> Answer {
        try await facade.application().test(.router) { client in
            let bytes = body.map { ByteBuffer(bytes: $0.jsonBytes()) } ?? text.map { ByteBuffer(string: $0) }
            return try await client.execute(uri: path, method: method, headers: headers, body: bytes) { response in
                Answer(
                    status: response.status.code, headers: response.headers,
                    body: (try? JSONValue(json: response.body.readableBytesView)) ?? .null,  // Not all are JSON.
                    text: String(buffer: response.body))
            }
        }
    }
}

struct FacadeRouteTests {
    private static let web = AppName(unchecked: "web")
    private static let node = NodeID(unchecked: "n-1")

    struct Row: Sendable, CustomTestStringConvertible {
        var method: HTTPRequest.Method
        var path: String
        var body: JSONValue?
        var operation: OrchestryModel.Operation
        init(_ method: HTTPRequest.Method, _ path: String, _ operation: OrchestryModel.Operation) {
            self.init(method, path, nil, operation)
        }
        init(
            _ method: HTTPRequest.Method, _ path: String, _ body: JSONValue?, _ operation: OrchestryModel.Operation
        ) {
            self.method = method
            self.path = path
            self.body = body
            self.operation = operation
        }
        var testDescription: String { "\(method.rawValue) \(path)" }
    }

    static let rows = [
        Row(.post, "/apps/register", Samples.document, .register(document: Samples.document)),
        Row(.post, "/apps/plan", ["documents": [Samples.document]], .plan(documents: [Samples.document])),
        Row(.get, "/metrics/apps", .usageOfApps),
        Row(.post, "/apps/web/up", .start(web)), Row(.post, "/apps/web/down", .stop(web)),
        Row(.delete, "/apps/web", .delete(web)), Row(.post, "/apps/web/retry", .retry(web)),
        Row(.post, "/apps/web/scale", ["replicas": 3], .scale(web, replicas: 3)),
        Row(.post, "/apps/web/scale", ["replicas": "100"], .scale(web, replicas: 100)),
        Row(.post, "/apps/web/scale", ["replicas": 3, "forSeconds": 60], .scale(web, replicas: 3, forSeconds: 60)),
        Row(
            .post, "/apps/web/autoscale", ["action": "pause", "direction": "in", "forSeconds": 600],
            .autoscale(web, AutoscaleChange(.pause, .in, forSeconds: 600))),
        Row(.post, "/apps/web/autoscale", ["action": "resume"], .autoscale(web, AutoscaleChange(.resume))),
        Row(
            .post, "/apps/web/simulate", ["policy": ["maxReplicas": 4], "sinceSeconds": 600],
            .simulate(web, SimulationRequest(policy: ["maxReplicas": 4], sinceSeconds: 600))),
        Row(.post, "/apps/web/policy", ["policy": ["maxReplicas": 4]], .setPolicy(web, policy: ["maxReplicas": 4])),
        Row(
            .post, "/apps/web/simulateMetrics", ["rps": 5, "evaluate": false],
            .simulateMetrics(web, SimulatedMetrics(rps: 5, evaluate: false))),
        Row(.post, "/cluster/step-down", .stepDown), Row(.get, "/apps", .listApps), Row(.get, "/apps/", .listApps),
        Row(.get, "/apps/web/status", .appStatus(web)), Row(.get, "/apps/web/raw", .appDocument(web)),
        Row(.get, "/apps/web/metrics", .appMetrics(web)), Row(.get, "/apps/web/why", .why(web)),
        Row(.get, "/apps/web/logs", .appLogs(web, lines: 100)),
        Row(.get, "/apps/web/logs?lines=1", .appLogs(web, lines: 1)),
        Row(.get, "/apps/web/logs?lines=-5", .appLogs(web, lines: 0)),
        Row(.get, "/apps/web/logs?lines=99999999", .appLogs(web, lines: 10_000)),
        Row(.get, "/events", .events(app: nil, limit: 100)),
        Row(.get, "/events?app=web&limit=5000", .events(app: web, limit: 1_000)),
        Row(.get, "/metrics", .systemMetrics),
        Row(.post, "/apps/register/up", .start(AppName(unchecked: "register"))),
        Row(.get, "/secrets", .listSecrets),
        Row(.get, "/secrets/db.password", .showSecret(SecretName(unchecked: "db.password"))),
        Row(
            .put, "/secrets/db", ["value": "abc"],
            .setSecret(SealedSecret(name: SecretName(unchecked: "db"), version: 0, keyID: "key", box: "cba"))),
        Row(.delete, "/secrets/db", .removeSecret(SecretName(unchecked: "db"), force: false)),
        Row(.delete, "/secrets/db?force=true", .removeSecret(SecretName(unchecked: "db"), force: true)),
        Row(.post, "/apps/web/rollback", .rollback(web, to: nil)),
        Row(.post, "/apps/web/rollback", [:], .rollback(web, to: nil)),
        Row(.post, "/apps/web/rollback", ["to": 3], .rollback(web, to: 3)),
        Row(.post, "/apps/web/rollout/pause", .pauseRollout(web)),
        Row(.post, "/apps/web/rollout/resume", .resumeRollout(web)),
        Row(.post, "/apps/web/rollout/abort", .abortRollout(web)),
        Row(.get, "/apps/web/rollout", .rolloutStatus(web)), Row(.get, "/apps/web/revisions", .revisions(web)),
        Row(.get, "/nodes", .listNodes), Row(.post, "/nodes/n-1/cordon", .cordonNode(node)),
        Row(.post, "/nodes/n-1/uncordon", .uncordonNode(node)),
        Row(.post, "/nodes/n-1/drain", .drainNode(node, deadlineSeconds: 300)),
        Row(.post, "/nodes/n-1/drain", ["deadlineSeconds": 90], .drainNode(node, deadlineSeconds: 90)),
        Row(.post, "/cluster/rebalance", .rebalance(maxMoves: 1)),
        Row(.post, "/cluster/rebalance", ["maxMoves": 4], .rebalance(maxMoves: 4)),
        Row(.get, "/backup", .backup), Row(.get, "/settings", .listSettings),
        Row(.post, "/restore", ["checksum": "c"], .restore(checksum: "c", merge: false)),
        Row(.post, "/restore?merge=true", ["checksum": "c"], .restore(checksum: "c", merge: true)),
        Row(.patch, "/settings", ["log.level": "debug"], .changeSettings(["log.level": "debug"])),
        Row(.patch, "/settings", ["log.level": nil], .changeSettings(["log.level": nil])),
    ]

    @Test(arguments: rows)
    func `each route asks the control plane and passes on its answer`(_ row: Row) async throws {
        let test = FacadeUnderTest()
        let answer = try await test.ask(row.method, row.path, row.body)
        #expect(answer.status == 200, "\(answer.text)")
        #expect(answer.body == ["status": "fine"])
        #expect(answer.headers[.contentType] == "application/json")
        #expect(answer.headers[FacadeHeaders.requestID]?.count == 16)
        #expect(test.plane.requests.map(\.operation) == [row.operation])
    }

    @Test(arguments: rows)
    func `what is carried out needs the verb that its route needs`(_ row: Row) throws {
        let path = row.path.split(separator: "?").first.map(String.init) ?? row.path
        let segments = path.split(separator: "/")
        let route = try #require(
            RestRoute.allCases.filter { $0.method == row.method }.filter {
                let template = $0.path.split(separator: "/")
                return template.count == segments.count
                    && zip(template, segments).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
            }.min { $0.path.count { $0 == "{" } < $1.path.count { $0 == "{" } })
        switch route.access {
        case .open: Issue.record("an operation without credentials")
        case .apps(let verb), .cluster(let verb): #expect(row.operation.verb == verb, "\(route)")
        }
    }

    @Test(
        arguments: [
            ("/secrets/a%20b", ["value": "x"], "letter"), ("/secrets/db", [:], "is required"),
            ("/secrets/db", ["value": 5], "is required: a string"), ("/secrets/db", ["value": ""], "1 to 32768 bytes"),
            ("/secrets/db", ["value": "top\u{0}secret"], "without NUL"),
            ("/secrets/db", ["valeu": "topsecret"], "value"),
            ("/secrets/db", ["topsecret"], "must be an object"),
        ] as [(String, JSONValue, String)])
    func `a secret that can't be one is refused without its value`(
        _ path: String, _ body: JSONValue, _ words: String
    ) async throws {
        let test = FacadeUnderTest()
        let answer = try await test.ask(.put, path, body)
        #expect(answer.status == 422)
        #expect(answer.text.contains(words), "\(answer.text)")
        #expect(!answer.text.contains("topsecret") && !answer.text.contains("\"top"), "\(answer.text)")
        #expect(test.plane.requests.isEmpty)
    }

    static let refused: [(path: String, body: JSONValue, field: String)] = [
        ("/apps/web/rollback", ["to": 0], "to"), ("/apps/web/rollback", ["revision": 3], "revision"),
        ("/nodes/n-1/drain", ["deadlineSeconds": 0], "deadlineSeconds"),
        ("/nodes/n-1/drain", ["deadlineSeconds": 86_401], "deadlineSeconds"),
        ("/cluster/rebalance", ["maxMoves": 101], "maxMoves"), ("/cluster/rebalance", [1], ""),
    ]

    @Test(arguments: refused)
    func `a body that breaks a rule is refused with its field`(path: String, body: JSONValue, field: String)
        async throws
    {
        let test = FacadeUnderTest()
        let answer = try await test.ask(.post, path, body)
        #expect(answer.status == 422 && answer.headers[.contentType] == "application/problem+json", "\(answer.text)")
        #expect(answer.body["violations"]?.arrayValue?.first?["field"]?.stringValue == field, "\(answer.text)")
        #expect(test.plane.requests.isEmpty)
    }

    @Test func `a name that can't be a node's is a node that does not exist`() async throws {
        let answer = try await FacadeUnderTest().ask(.post, "/nodes/Not_A_Node/cordon")
        #expect(answer.status == 404 && answer.body["type"] == "urn:orchestry:problem:node-not-found", "\(answer.text)")
    }

    @Test func `an idempotency key is passed on, or made up and returned`() async throws {
        let test = FacadeUnderTest()
        let given = try await test.ask(.post, "/apps/web/up", headers: [FacadeHeaders.idempotencyKey: "key-1"])
        #expect(given.headers[FacadeHeaders.idempotencyKey] == "key-1")
        let made = try await test.ask(.post, "/apps/web/up")
        let other = try await test.ask(.post, "/apps/web/up")
        #expect(test.plane.requests.map(\.idempotencyKey).first == "key-1")
        #expect(test.plane.requests[1].idempotencyKey == made.headers[FacadeHeaders.idempotencyKey])
        #expect(made.headers[FacadeHeaders.idempotencyKey] != other.headers[FacadeHeaders.idempotencyKey])
        let long = String(repeating: "k", count: 201)
        let refused = try await test.ask(.post, "/apps/web/up", headers: [FacadeHeaders.idempotencyKey: long])
        #expect(refused.status == 422)
        #expect(test.plane.requests.count == 3)
    }

    @Test func `local answers need no control plane`() async throws {
        let test = FacadeUnderTest()
        for (path, shape) in [
            ("/health", RecordedShapes.health), ("/cluster/status", RecordedShapes.clusterStatus),
            ("/cluster/leader", RecordedShapes.clusterLeader), ("/cluster/health", RecordedShapes.clusterHealth),
        ] {
            let answer = try await test.ask(.get, path)
            #expect(answer.status == 200)
            #expect(RecordedShapes.differences(shape, answer.body).isEmpty, "\(path)")
        }
        #expect(test.plane.requests.isEmpty)
    }

    @Test func `without a leader, asking for it is 503`() async throws {
        let test = FacadeUnderTest(ScriptedControlPlane(view: Samples.view(leader: nil)))
        let answer = try await test.ask(.get, "/cluster/leader")
        #expect(answer.status == 503)
        #expect(answer.headers[.retryAfter] == "1")
        #expect(try await test.ask(.get, "/cluster/health").body["status"] == "degraded")
    }

    @Test(
        arguments: [
            (nil, false), ("*/*", false), ("application/json", false), ("text/plain", true),
            ("application/json, text/plain, */*", false), ("text/plain;q=0.5, application/json;q=0.4", true),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", true),
        ] as [(String?, Bool)])
    func `metrics are JSON or Prometheus' text`(_ accept: String?, _ isText: Bool) async throws {
        let answer = try await FacadeUnderTest().ask(
            .get, "/metrics", headers: accept.map { [.accept: $0] } ?? [:])
        #expect(answer.status == 200)
        #expect(answer.text.hasPrefix("# TYPE up") == isText)
        #expect(
            answer.headers[.contentType]?.hasPrefix(isText ? "text/plain; version=0.0.4" : "application/json") == true)
    }

    @Test func `the Prometheus route is always text`() async throws {
        #expect(try await FacadeUnderTest().ask(.get, "/metrics/prometheus").text == "# TYPE up gauge\nup 1\n")
    }

    @Test func `HEAD answers like GET, without a body`() async throws {
        let test = FacadeUnderTest()
        for path in ["/health", "/apps", "/nope"] {
            let head = try await test.ask(.head, path)
            let get = try await test.ask(.get, path)
            #expect(head.status == get.status)
            #expect(head.text.isEmpty)
            #expect(head.headers[.contentLength] == get.headers[.contentLength])
        }
        #expect(try await test.ask(.head, "/apps/web/up").status == 405)
    }

    @Test func `the request's id is the client's where it is usable`() async throws {
        let test = FacadeUnderTest()
        #expect(
            try await test.ask(.get, "/health", headers: [FacadeHeaders.requestID: "abc-1"])
                .headers[FacadeHeaders.requestID] == "abc-1")
        let long = String(repeating: "x", count: 65)
        #expect(
            try await test.ask(.get, "/health", headers: [FacadeHeaders.requestID: long])
                .headers[FacadeHeaders.requestID] != long)
    }
}

enum FacadeHeaders {
    static let requestID = HTTPField.Name("X-Request-Id")!  // A literal that is a header's name.
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!  // As above.
}
