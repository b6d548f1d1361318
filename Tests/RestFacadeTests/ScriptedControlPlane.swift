import AccessControl
import OrchestryModel
import RestFacade
import Synchronization

/// A control plane that answers what it is told to and remembers what it was asked.
final class ScriptedControlPlane: ControlPlane {
    private let answers: Mutex<[ControlResponse]>
    private let fallback: ControlResponse
    private let asked = Mutex<[ControlRequest]>([])
    private let noted = Mutex<[AuditRecord]>([])
    private let view: ClusterView
    private let delay: Duration
    /// What the event stream gives, and the id of the newest event.
    private let pages: Mutex<[StreamPage]>
    private let newest: Int64
    /// What comes of an app's output, page by page.
    private let logs: [[Presentation.LogLine]]
    private let cursors = Mutex<[StreamCursor]>([])
    private let logPages = Counter()

    private final class Counter: Sendable {
        private let count = Mutex(0)
        func note() { count.withLock { $0 += 1 } }
        var value: Int { count.withLock { $0 } }
    }

    /// - Parameters:
    ///   - answers: given in this order, one a request; then `fallback`.
    ///   - delay: how long each answer takes; cut short by cancellation.
    init(
        _ answers: [ControlResponse] = [], fallback: ControlResponse = ControlResponse(body: ["status": "fine"]),
        view: ClusterView = Samples.view(), delay: Duration = .zero,
        pages: [StreamPage] = [], newest: Int64 = 0, logs: [[Presentation.LogLine]] = []
    ) {
        self.answers = Mutex(answers)
        self.fallback = fallback
        self.view = view
        self.delay = delay
        self.pages = Mutex(pages)
        self.newest = newest
        self.logs = logs
    }

    var refusals: [AuditRecord] { noted.withLock { $0 } }
    func noteRefusal(_ record: AuditRecord) { noted.withLock { $0.append(record) } }

    var requests: [ControlRequest] { asked.withLock { $0 } }

    func perform(_ request: ControlRequest) async -> ControlResponse {
        asked.withLock { $0.append(request) }
        if delay > .zero {
            // Cancelled: the facade has given up already and does not look at the answer.
            try? await Task.sleep(for: delay)
        }
        return answers.withLock { $0.isEmpty ? fallback : $0.removeFirst() }
    }

    func seal(_ value: String, name: SecretName) throws(Problem) -> SealedSecret {
        SealedSecret(name: name, version: 0, keyID: "key", box: String(value.reversed()))
    }
    func stage(_ backup: JSONValue) async throws -> String { backup["checksum"]?.stringValue ?? "none" }
    func clusterView() async -> ClusterView { view }
    /// What the streams asked for, in order.
    var askedCursors: [StreamCursor] { cursors.withLock { $0 } }

    /// How many pages of events and of output were asked for.
    var askedPages: Int { askedCursors.count + logPages.value }

    func newestEventID() async throws(Problem) -> Int64 { newest }

    /// The pages in turn, then the end.
    func nextStreamPage(
        after cursor: StreamCursor, _ filter: EventFilter, limit: Int, atMost: Duration
    ) async throws(Problem) -> StreamPage? {
        cursors.withLock { $0.append(cursor) }
        guard var page = pages.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { return nil }
        page.events.removeAll { !filter.admits($0.event) }
        return page
    }
    func followLogs(of app: AppName, tail: Int) async throws(Problem) -> any LogFollowing {
        guard app.rawValue != "gone" else { throw .appNotFound(app) }
        return ScriptedLogs(lines: logs.map { Array($0.suffix(tail)) }) { [logPages] in logPages.note() }
    }
    let commands = EchoedCommands()
    func exec(
        _ command: ExecCommand, in instance: InstanceID?, of app: AppName, caller: Caller
    ) async throws(Problem) -> any ExecSession {
        guard app.rawValue != "gone" else { throw .appNotFound(app) }
        return commands.begin(command)
    }
    func prometheusText() async -> String { "# TYPE up gauge\nup 1\n" }
}

final class ScriptedLogs: LogFollowing {
    private let lines: Mutex<[[Presentation.LogLine]]>
    private let asked: @Sendable () -> Void
    init(lines: [[Presentation.LogLine]], asked: @escaping @Sendable () -> Void) {
        self.lines = Mutex(lines)
        self.asked = asked
    }
    func next(atMost: Duration) async throws(Problem) -> [Presentation.LogLine]? {
        asked()
        return lines.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
}

enum Samples {
    static func event(_ number: Int64, kind: EventKind = .scaled, message: String? = nil) -> Event {
        Event(
            node: node(1).id, sequence: number, time: WallTime(seconds: 1_795_391_840), app: AppName(unchecked: "web"),
            kind: kind, message: message ?? "event \(number)")
    }

    static func page(_ ids: ClosedRange<Int64>, kind: EventKind = .scaled, message: String? = nil) -> StreamPage {
        var page = StreamPage(cursor: StreamCursor(events: ids.upperBound))
        page.events = ids.map { NumberedEvent(id: $0, event: event($0, kind: kind, message: message)) }
        return page
    }

    static func node(_ number: Int) -> NodeInfo {
        NodeInfo(
            id: NodeID(unchecked: "controller-\(number)"), role: .controller, host: "127.0.0.1",
            clusterPort: 8200 + number, apiURL: "http://127.0.0.1:\(8100 + number)")
    }

    /// Three nodes, seen from the second.
    static func view(leader: Int? = 2) -> ClusterView {
        let lease = LeaseRow(
            leader: node(2).id, epoch: Epoch(1), mode: .quorum, acquiredAt: WallTime(seconds: 1_795_391_820.618),
            renewedAt: WallTime(seconds: 1_795_391_960.752), expiresAt: WallTime(seconds: 1_795_391_990.752),
            expired: false, hostname: "127.0.0.1", apiURL: "http://127.0.0.1:8102")
        return ClusterView(
            me: node(2), state: leader == 2 ? .leader : .follower, epoch: Epoch(1), leader: leader.map { node($0).id },
            members: (1...3).map { number in
                ClusterView.Member(
                    info: node(number), state: number == leader ? .leader : .follower,
                    lastHeartbeat: WallTime(seconds: 1_795_391_840.63), isHealthy: true)
            }, lease: lease)
    }

    static let document: JSONValue = [
        "apiVersion": "v1", "kind": "App",
        "metadata": ["name": "web", "labels": ["app": "web", "version": "v1"]],
        "spec": [
            "type": "http", "image": "testing:latest", "ports": [["containerPort": 9010, "protocol": "HTTP"]],
            "resources": ["cpu": "100m", "memory": "128Mi"],
        ],
        "scaling": [
            "mode": "auto", "minReplicas": 1, "maxReplicas": 5, "targetRPSPerReplica": 100, "maxP95LatencyMs": 500,
            "maxConnPerReplica": 80, "scaleOutThresholdPct": 80, "scaleInThresholdPct": 60, "cooldownSeconds": 30,
            "windowSeconds": 20,
        ],
        "healthCheck": ["path": "/health", "port": 9010, "initialDelaySeconds": 5, "periodSeconds": 10],
    ]

    static func application(status: Application.Status = .running, replicas: Int = 2) throws -> Application {
        let (spec, flat) = try AppSpec.parse(document)
        return Application(
            spec: spec, document: flat, revision: 3, status: status, replicas: replicas,
            createdAt: WallTime(seconds: 1_795_391_963.911), updatedAt: WallTime(seconds: 1_795_391_968.757))
    }

    static func instance(_ number: Int, _ state: InstanceState) -> InstanceStatus {
        InstanceStatus(
            instance: InstanceID(unchecked: "web-3-abc00\(number)"), app: AppName(unchecked: "web"), revision: 3,
            node: node(1).id, state: state,
            containerID: "\(number)e85530708540bc2e7b79f33801769de8d1ed37c7fa1548eabca4a7604a7b4d1",
            endpoint: Endpoint(host: "172.18.0.\(number)", port: 9010), failures: 0,
            startedAt: WallTime(seconds: 1_795_391_970), lastProbeAt: WallTime(seconds: 1_795_391_980),
            since: WallTime(seconds: 1_795_391_971))
    }
}
