import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// Whether a request is lost while instances, revisions, nodes and leaders change.
struct DataplaneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dataplane",
        abstract: "Scales, deploys, drains and KILLS under load, and counts the requests that fail.",
        discussion: """
            An app of the bench's own runs on a cluster of this machine. For each scenario a constant load goes through \
            every node's proxy over kept connections, beside WebSockets that are held, while one thing happens; no \
            request is sent twice by the bench. Latency counts from when a request was to be sent.

            Example, on the cluster of configs/dev/up --no-load:
              D=/tmp/orchestry-dev-0; orchestry-bench dataplane --yes \\
                --target http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103 \\
                --proxies http://127.0.0.1:8181,http://127.0.0.1:8182,http://127.0.0.1:8183 \\
                --pids $D/controller-1/pid,$D/controller-2/pid,$D/controller-3/pid \\
                --restart-command 'configs/dev/up --no-load'
            """)

    enum Scenario: String, ExpressibleByArgument, CaseIterable, Sendable {
        case scaleOut = "scale-out", scaleIn = "scale-in", rolling, rollback, kill, otherApp = "other-app", drain
        case leader
    }

    @Option(help: "The REST URLs of all controllers, separated by commas.") var target: String
    @Option(help: "The URLs of their proxies, separated by commas.") var proxies: String
    @Option(help: "The controllers' process ids, or files that hold them; needed for the scenario 'leader'.")
    var pids: String?
    @Option(help: "Starts {node} again; needed for 'leader'.") var restartCommand: String?
    @Option(help: "Kills an instance's {container}.") var killCommand = "docker kill {container}"
    @Option(help: "The image; answers / and echoes on /websocket.") var image = "orchestry-demo:v1"
    @Option(help: "The image to deploy over it.") var nextImage = "orchestry-demo:v2"
    @Option(help: "Requests per second.") var rate = 500.0
    @Option(help: "The shortest load of a scenario, seconds; it goes on until 3 s after the change is complete.")
    var seconds = 30.0
    @Option(help: "Connections.") var connections = 48
    @Option(help: "WebSockets held.") var sockets = 30
    @Option(parsing: .upToNextOption, help: "Only these.") var scenario: [Scenario] = Scenario.allCases
    @Flag(help: "Yes, change and kill what runs on this cluster.") var yes = false
    @OptionGroup var output: OutputOptions

    /// Of the app's termination, seconds.
    private static let drainSeconds = 6

    func validate() throws {
        try require(yes, "this changes the cluster and kills processes: say --yes if that is what you want")
        _ = try (Server.list(target, option: "--target"), Server.list(proxies, option: "--proxies"))
        try require(rate > 0 && seconds >= 5, "--rate must be above 0, --seconds at least 5")
        try require((1...10_000).contains(connections), "--connections must be 1 to 10000")
        try require((0...10_000).contains(sockets), "--sockets must be 0 to 10000")
        try require(
            !scenario.contains(.leader) || (pids != nil && restartCommand != nil),
            "the scenario 'leader' needs --pids and --restart-command; choose others with --scenario")
    }

    func run() async throws {
        let client = ControlClient(servers: try Server.list(target, option: "--target"))
        let proxies = try Server.list(proxies, option: "--proxies")
        let app = BenchApp(name: "bench-dataplane", client: client, image: image, drainSeconds: Self.drainSeconds)
        try await app.use { try await measure(app, proxies) }
    }

    private func measure(_ app: BenchApp, _ proxies: [Server]) async throws {
        try await app.scale(to: 1)
        try await app.answers(through: proxies)
        let held = HeldSockets(servers: proxies, host: app.host, path: "/websocket")
        let holding = Task { await held.hold(sockets) }
        var report = Report(
            "dataplane",
            setting:
                "\(Report.format(rate)) requests/s over \(connections) kept connections to \(proxies.count) proxies, "
                + "\(sockets) WebSockets held, drain \(Self.drainSeconds) s")
        var table = Report.Table(
            "per scenario, from the time to be sent", columns: ["change s"] + LoadStatistics.Second.columns)
        var sum = LoadStatistics.Second()
        var socketTable = Report.Table(
            "WebSockets that ended", columns: ["ended", "with 1001", "otherwise", "soonest after change s"])
        do {
            for scenario in scenario {
                let outcome = try await run(scenario, app, proxies, held)
                let total = outcome.statistics.total
                table.add(scenario.rawValue, [outcome.changeSeconds] + total.values)
                socketTable.add(scenario.rawValue, outcome.sockets)
                report.notes += total.failureNotes.map { "\(scenario.rawValue): \($0)" } + outcome.notes
                sum.merge(total)
                progress("\(scenario.rawValue): \(total.sent) requests, \(total.failed) failed")
            }
        } catch {
            holding.cancel()
            throw error
        }
        holding.cancel()
        await holding.value
        table.add("all", [nil] + sum.values)
        report.tables = [table, socketTable]
        report.notes.append("\(held.echoes) echoes of WebSockets; \(held.refused) attempts to open one refused")
        try output.finish(report)
        if sum.failed > 0 { throw ExitCode(1) }
    }

    // MARK: One scenario

    private struct Outcome {
        var statistics: LoadStatistics
        var changeSeconds: Double
        var sockets: [Double?]
        var notes: [String]
    }

    private func run(
        _ scenario: Scenario, _ app: BenchApp, _ proxies: [Server], _ held: HeldSockets
    ) async throws -> Outcome {
        try await prepare(scenario, app)
        let endingsBefore = held.endings.count
        let statistics = LoadStatistics()
        let generator = LoadGenerator(servers: proxies, host: app.host, path: "/", connections: connections)
        // Longer than any scenario; ended when the change is complete.
        let load = Task { [rate] in
            await generator.run(RateProfile(constant: rate, seconds: 3_600), into: statistics)
        }
        defer { load.cancel() }
        let begin = ContinuousClock.now
        // What comes before the change shows that the load itself is sound.
        try await Task.sleep(for: .seconds(2))
        let (changedAt, changed) = (uptimeNanoseconds(), ContinuousClock.now)
        let notes = try await change(scenario, app)
        let changeSeconds = (ContinuousClock.now - changed) / .seconds(1)
        let left = max(.seconds(3), .seconds(seconds) - (ContinuousClock.now - begin))
        try await Task.sleep(for: left)
        load.cancel()
        await load.value
        let endings = held.endings.dropFirst(endingsBefore)
        let soonest = endings.map { (Double($0.at) - Double(changedAt)) / 1e9 }.min()
        let proper = endings.count { $0.code == 1001 }
        return Outcome(
            statistics: statistics, changeSeconds: changeSeconds,
            sockets: [Double(endings.count), Double(proper), Double(endings.count - proper), soonest], notes: notes)
    }

    private func prepare(_ scenario: Scenario, _ app: BenchApp) async throws {
        switch scenario {
        case .scaleOut: try await app.scale(to: 1)
        case .scaleIn: try await app.scale(to: 8)
        case .rolling, .rollback, .kill, .otherApp, .leader: try await app.scale(to: 3)
        case .drain: try await app.scale(to: 6)
        }
    }

    /// - Returns: notes for the report, once the change is complete.
    private func change(_ scenario: Scenario, _ app: BenchApp) async throws -> [String] {
        switch scenario {
        case .scaleOut: try await app.scale(to: 8)
        case .scaleIn: try await app.scale(to: 1)
        case .rolling:
            var next = app
            next.image = nextImage
            try await next.register()
            try await oneRevision(app)
        case .rollback:
            try await app.client.send(.post, "/apps/\(app.name)/rollback")
            try await oneRevision(app)
        case .kill: return try await killInstances(app)
        case .otherApp: try await otherAppComesAndGoes(app)
        case .drain: return try await drainNode(app)
        case .leader: return try await killLeader()
        }
        return []
    }

    private func killInstances(_ app: BenchApp) async throws -> [String] {
        var killed: [String] = []
        for _ in 0..<3 {
            let status = try await app.settled(at: 3)
            guard let container = status["instances"]?.arrayValue?.compactMap({ $0["container_id"]?.stringValue }).first
            else { throw BenchFailure("no instance has a container: \(status.jsonText())") }
            _ = try await Measuring.run(["sh", "-c", killCommand.replacing("{container}", with: container)])
            killed.append(container)
            try await app.client.wait(for: "the loss of \(container) to show", at: app.statusPath, within: .seconds(20))
            {
                $0["instances"]?.arrayValue?.contains {
                    $0["container_id"]?.stringValue == container && $0["state"]?.stringValue == "ready"
                } == false
            }
        }
        _ = try await app.settled(at: 3)
        return ["kill: containers \(killed.joined(separator: ", "))"]
    }

    private func otherAppComesAndGoes(_ app: BenchApp) async throws {
        var other = app
        other.name += "-other"
        for _ in 0..<3 { try await other.use {} }
    }

    private func drainNode(_ app: BenchApp) async throws -> [String] {
        let status = try await app.settled(at: 6)
        let placed = status["instances"]?.arrayValue?.compactMap { $0["node"]?.stringValue } ?? []
        let counts = Dictionary(placed.map { ($0, 1) }, uniquingKeysWith: +)
        guard let (node, count) = counts.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else {
            throw BenchFailure("no instance is placed")
        }
        try await app.client.send(.post, "/nodes/\(node)/drain")
        try await app.client.wait(for: "\(node) to be empty", at: "/nodes", within: .seconds(120)) {
            $0["nodes"]?.arrayValue?.first { $0["node_id"]?.stringValue == node }?["instances"]?.intValue == 0
        }
        _ = try await app.settled(at: 6)
        try await app.client.send(.post, "/nodes/\(node)/uncordon")
        return ["drain: \(count) of 6 instances left \(node)"]
    }

    private func killLeader() async throws -> [String] {
        guard let pids, let restartCommand else { return [] }  // `validate` has asked for both.
        let references = pids.split(separator: ",").map { text in
            pid_t(text).map { KilledCluster.ProcessReference.id($0) } ?? .file(String(text))
        }
        var cluster = try await KilledCluster(Array(zip(try Server.list(target, option: "--target"), references)))
        let leader = try await cluster.settled(within: .seconds(60))
        _ = try cluster.signal(SIGKILL, node: leader)
        try await cluster.gone(node: leader, within: .seconds(10))
        try await Task.sleep(for: .seconds(3))
        try await cluster.restart(node: leader, restartCommand)
        _ = try await cluster.settled(within: .seconds(60))
        return ["leader: \(cluster.nodes[leader].id) was killed, and started again 3 s later"]
    }

    // MARK: The app

    private func oneRevision(_ app: BenchApp) async throws {
        try await app.client.wait(for: "all instances of the new revision", at: app.statusPath, within: .seconds(120)) {
            let revision = $0["revision"]
            let instances = $0["instances"]?.arrayValue ?? []
            return instances.count == 3 && instances.allSatisfy { $0["revision"] == revision }
                && $0["ready_replicas"]?.intValue == 3
        }
    }
}
