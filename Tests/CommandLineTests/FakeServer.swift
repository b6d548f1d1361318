import AccessControl
import Hummingbird
import Logging
import NIOCore
import OrchestryModel
import RestFacade
import Synchronization

/// A node's real REST facade on a free port, over a control plane made of a function.
struct FakeServer: Sendable {
    let port: Int
    let plane: Plane
    var url: String { "http://127.0.0.1:\(port)" }

    final class Plane: ControlPlane {
        private let answer: @Sendable (ControlRequest, Int) -> ControlResponse
        private let asked = Mutex<[ControlRequest]>([])
        private let events: [NumberedEvent]
        init(
            events: [NumberedEvent] = [], _ answer: @escaping @Sendable (ControlRequest, Int) -> ControlResponse
        ) {
            self.events = events
            self.answer = answer
        }
        var requests: [ControlRequest] { asked.withLock { $0 } }
        func perform(_ request: ControlRequest) async -> ControlResponse {
            let number = asked.withLock {
                $0.append(request)
                return $0.count
            }
            return answer(request, number)
        }
        func seal(_ value: String, name: SecretName) throws(Problem) -> SealedSecret {
            SealedSecret(name: name, version: 0, keyID: "key", box: String(value.reversed()))
        }
        func stage(_ backup: JSONValue) async throws -> String { backup["checksum"]?.stringValue ?? "none" }
        func noteRefusal(_ record: AuditRecord) {}
        func clusterView() async -> ClusterView {
            let nodes = (1...3).map { number in
                NodeInfo(
                    id: NodeID(unchecked: "controller-\(number)"), role: .controller, host: "127.0.0.1",
                    clusterPort: 8200 + number, apiURL: "http://127.0.0.1:\(number)")
            }
            return ClusterView(
                me: nodes[0], state: .follower, epoch: Epoch(7), leader: nodes[1].id,
                members: nodes.map {
                    ClusterView.Member(
                        info: $0, state: $0.id == nodes[1].id ? .leader : .follower,
                        lastHeartbeat: WallTime(seconds: 1_795_391_840), isHealthy: true)
                }, lease: nil)
        }
        func prometheusText() async -> String { "" }
        func newestEventID() async throws(Problem) -> Int64 { events.last?.id ?? 0 }
        /// Each connection ends after one event.
        private let pages = Atomic(0)
        func nextStreamPage(
            after cursor: StreamCursor, _ filter: EventFilter, limit: Int, atMost: Duration
        ) async throws(Problem) -> StreamPage? {
            guard pages.add(1, ordering: .relaxed).oldValue.isMultiple(of: 2),
                let event = events.first(where: { $0.id > cursor.events })
            else { return nil }
            var page = StreamPage(cursor: StreamCursor(events: event.id))
            page.events = [event]
            return page
        }

        /// What was written by the first, the second… connection; each ends when it has it.
        private let followers = Atomic(0)
        func exec(
            _ command: ExecCommand, in instance: InstanceID?, of app: AppName, caller: Caller
        ) async throws(Problem) -> any ExecSession { throw .appNotFound(app) }

        func followLogs(of app: AppName, tail: Int) async throws(Problem) -> any LogFollowing {
            guard app.rawValue == "web" else { throw .appNotFound(app) }
            return Logs(written: followers.add(1, ordering: .relaxed).newValue + 1)
        }
    }

    /// So many lines, two of a time, and the end.
    final class Logs: LogFollowing {
        private let left: Mutex<[Presentation.LogLine]>
        init(written: Int) {
            left = Mutex(
                (1...written).map {
                    Presentation.LogLine(
                        timestampSeconds: 1_795_391_840 + Double($0 / 2), containerID: "c",
                        instance: InstanceID(unchecked: "web-1-a"),
                        node: NodeID(unchecked: "n"), message: "line \($0)")
                })
        }
        func next(atMost: Duration) async throws(Problem) -> [Presentation.LogLine]? {
            left.withLock { left in
                defer { left = [] }
                return left.isEmpty ? nil : left
            }
        }
    }

    /// Runs a server while `body` runs.
    /// - Parameters:
    ///   - port: 0 takes any free one.
    ///   - identification: who may ask; everybody.
    ///   - tls: HTTPS.
    ///   - events: for those who follow.
    ///   - answer: gets each request and its number, from 1.
    static func run<Value: Sendable>(
        port: Int = 0, identification: any CallerIdentification = Everybody(), tls: FacadeTLS? = nil,
        events: [NumberedEvent] = [],
        _ answer: @escaping @Sendable (ControlRequest, Int) -> ControlResponse,
        _ body: @Sendable (FakeServer) async throws -> Value
    ) async throws -> Value {
        let plane = Plane(events: events, answer)
        let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
        let facade = RestFacade(
            configuration: RestFacadeConfiguration(port: port, version: "1.0.0"), controlPlane: plane,
            identification: identification, tls: tls,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let application = facade.application { continuation.yield($0.localAddress?.port ?? 0) }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await application.run() }
            var iterator = ports.makeAsyncIterator()
            let bound = await iterator.next() ?? 0
            let value = try await body(FakeServer(port: bound, plane: plane))
            group.cancelAll()
            return value
        }
    }

    /// One that lists no apps, and does that for one token only.
    static func run<Value: Sendable>(
        only token: String, _ body: @Sendable (FakeServer) async throws -> Value
    ) async throws -> Value {
        try await run(
            identification: OneToken(text: token), { _, _ in ControlResponse(body: ["apps": []]) }, body)
    }

    private struct OneToken: CallerIdentification {
        let text: String
        func identify(authorization: String?, address: String?) -> Identification {
            guard let authorization else { return .unknown(.unauthenticated("The request has no credentials.")) }
            return authorization == "Bearer \(text)"
                ? .known(Caller(name: "token:t", grant: AccessGrant(role: .viewer)))
                : .unknown(.unauthenticated("The credentials are refused."))
        }
    }

    /// A port that was free a moment ago.
    static func freePort() async throws -> Int { try await run({ _, _ in ControlResponse(body: .null) }) { $0.port } }
}
