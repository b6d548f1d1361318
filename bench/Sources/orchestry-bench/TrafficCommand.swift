import ArgumentParser
import Foundation
import Measuring
import NIOCore
import OrchestryModel
import Synchronization

/// How long a ready instance waits for its first request.
struct TrafficCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "traffic",
        abstract: "Milliseconds from \"instance ready\" to \"receives traffic\" at every node's proxy; nginx reloads.",
        discussion: """
            An app of the bench's own is scaled out and in, again and again, on a cluster of this machine, while each \
            node's proxy gets requests at a constant rate. The time of "ready" is the one the agent took when the probe \
            that made it so was answered (`since` in the app's status, whole milliseconds); the time of "traffic" is \
            when the first answer that names the instance came back through that proxy. One clock, that of this machine.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench traffic --yes
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "How many instances are to be added in all.") var additions = 60
    @Option(help: "Scale from 1 to this, and back.") var replicas = 3
    @Option(help: "Requests per second through each proxy.") var rate = 200.0
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((2...10).contains(replicas), "--replicas must be 2 to 10")
        try require((1...10_000).contains(additions), "--additions must be 1 to 10000")
        try require(rate >= 10, "--rate must be at least 10")
    }

    private struct Addition {
        var instance: String
        /// Milliseconds by proxy, in their order.
        var waits: [Double]
        var everywhere: Double { waits.max() ?? 0 }
    }

    func run() async throws {
        let proxies = try cluster.proxyServers()
        let app = BenchApp(name: "bench-traffic", client: try cluster.client(), cpu: "300m", drainSeconds: 1)
        try await app.use { try await measure(app, proxies) }
    }

    private func measure(_ app: BenchApp, _ proxies: [Server]) async throws {
        let began = try await app.scale(to: 1)
        let probe = TrafficProbe(app: app, proxies: proxies, rate: rate)
        let watch = try ReloadWatch(cluster.folders)
        let background = Task {
            async let watching: Void = watch.run()
            await probe.run()
            await watching
        }
        defer { background.cancel() }
        try await probe.everywhere(Array(began.readyTimes.keys), within: .seconds(10))
        var done: [Addition] = []
        while done.count < additions {
            done += try await addOnce(app, probe)
            progress("\(done.count) of \(additions) additions")
            try await app.scale(to: 1)
        }
        background.cancel()
        await background.value
        watch.look()
        try report(done, proxies, probe, watch)
    }

    private func addOnce(_ app: BenchApp, _ probe: TrafficProbe) async throws -> [Addition] {
        let known = probe.answers.instances
        let status = try await app.scale(to: replicas)
        let fresh = status.readyTimes.filter { !known.contains($0.key) }
        let names = fresh.keys.sorted()
        try await probe.everywhere(names, within: .seconds(10))
        return names.map { name in
            let ready = fresh[name] ?? 0
            return Addition(
                instance: name,
                waits: probe.proxies.map { ((probe.answers.time(of: name, through: "\($0)") ?? 0) - ready) * 1e3 })
        }
    }

    private func report(_ done: [Addition], _ proxies: [Server], _ probe: TrafficProbe, _ watch: ReloadWatch) throws {
        var report = Report(
            "traffic",
            setting:
                "\(done.count) instances added, 1 → \(replicas) → 1, \(Report.format(rate)) requests/s through each "
                + "of \(proxies.count) proxies")
        var table = Report.Table("ready → first answer, milliseconds")
        let each = Summary(done.flatMap(\.waits))
        let all = Summary(done.map(\.everywhere))
        table.add("each addition at each node", each)
        for (position, proxy) in proxies.enumerated() {
            table.add("  at \(proxy)", Summary(done.map { $0.waits[position] }))
        }
        table.add("each addition, until the last node", all)
        var counts = Report.Table("meanwhile", columns: ["count"])
        counts.add("nginx workers started (each reload starts some)", [Double(watch.started)])
        counts.add("nginx masters started", [Double(watch.restarts)])
        counts.add("requests", [Double(probe.statistics.total.sent)])
        counts.add("of these failed", [Double(probe.statistics.total.failed)])
        report.tables = [table, counts]
        report.goal("nginx reloads", Double(watch.started + watch.restarts), atMost: 0)
        report.goal("requests failed", Double(probe.statistics.total.failed), atMost: 0)
        report.notes =
            probe.statistics.total.failureNotes + [
                "\"ready\" has a resolution of 1 ms; instances take turns, so up to \(replicas) requests, "
                    + "\(Report.format(Double(replicas) / rate * 1e3)) ms, of each wait are the wait for the next turn"
            ]
        try output.finish(report)
        if watch.started + watch.restarts > 0 { throw ExitCode(1) }
    }
}

/// Asks an app the same question through every proxy, and notes who answers.
final class TrafficProbe: Sendable {
    let proxies: [Server]
    let statistics = LoadStatistics()
    private let app: BenchApp
    private let rate: Double
    private let connections: Int
    private let path: String
    private let first = Mutex(FirstAnswers())

    /// - Parameter rate: through each proxy.
    init(app: BenchApp, proxies: [Server], rate: Double, connections: Int = 8, path: String = "/") {
        self.app = app
        self.proxies = proxies
        self.rate = rate
        self.connections = connections
        self.path = path
    }

    /// When each instance first answered, by `wallSeconds`.
    var answers: FirstAnswers { first.withLock { $0 } }

    /// Runs until cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            for proxy in proxies {
                var generator = LoadGenerator(
                    servers: [proxy], host: app.host, path: path, connections: connections)
                generator.observe = { [self] exchange in note(exchange) }
                let load = generator
                group.addTask { [rate, statistics] in
                    await load.run(RateProfile(constant: rate, seconds: 86_400), into: statistics)
                }
            }
        }
    }

    func note(_ exchange: LoadGenerator.Exchange) {
        guard exchange.outcome.status == 200,
            let instance = FirstAnswers.instance(in: exchange.outcome.body.readableBytesView)
        else { return }
        first.withLock { _ = $0.note(instance, through: "\(exchange.server)", at: wallSeconds()) }
    }

    /// Waits until every proxy has led to all of these.
    func everywhere(_ instances: [String], within limit: Duration) async throws {
        let sources = proxies.map(\.description)
        let deadline = ContinuousClock.now + limit
        while true {
            let answers = answers
            let missing = instances.filter { answers.everywhere($0, sources: sources) == nil }
            if missing.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                let where_ = missing.map { name in
                    "\(name) at \(sources.filter { answers.time(of: name, through: $0) == nil }.joined(separator: ", "))"
                }
                throw BenchFailure("no answer within \(limit) of \(where_.joined(separator: "; "))")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

}
