import ArgumentParser
import Foundation
import Measuring
import OrchestryModel
import ProxyConfig
import Synchronization

/// Our percentiles beside the load generator's own.
struct AccuracyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accuracy",
        abstract: "p50, p95 and p99 of our histogram beside the load generator's own, two apps at once; counts exact?",
        discussion: """
            Two apps of the bench's own get requests at the same time through every node's proxy, at different rates and \
            with different latencies: each request says how long its answer is to take (`/slow?ms=N`, N drawn from a \
            Pareto distribution, the same in each run). Afterwards what nginx counted for each app must be what was sent, \
            to the request, or the command fails.

            The generator times each request on the thread of its connection, which is open, from the write to the last \
            byte read; nginx from the choice of an instance to the end of the response. Waiting for a connection or for \
            the time to be sent, which `load` counts, is in neither. What lies between (loopback, nginx reading the \
            request, either waiting for a core) is in the difference, besides the histogram's own error, which is shown by \
            itself: the generator's values put through the same histogram. The API's p95 is over the \
            policy's window, which is longer than the run: of the same requests, and of one before at each proxy.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench accuracy --yes
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "Seconds of load, 5 to 45.") var seconds = 40.0
    @Option(help: "Requests per second of the slow app.") var slowRate = 40.0
    @Option(help: "Requests per second of the fast app.") var fastRate = 200.0
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((5...45).contains(seconds), "--seconds must be 5 to 45")
        try require(slowRate > 0 && fastRate > 0, "rates must be above 0")
    }

    /// One app and what it is asked.
    private struct Side {
        var app: BenchApp
        var rate: Double
        /// Milliseconds.
        var least: Double
        var alpha: Double
        let seed: Int
        let times = RecordedTimes()
        let statistics = LoadStatistics()

        /// A Pareto distribution's value, at most 30 times the least.
        func milliseconds(_ number: Int) -> Int {
            let uniform = Double(SyntheticLoad.mixed(number, seed, 7) >> 11) / 0x1p53
            return Int(min(least * pow(1 - uniform, -1 / alpha), least * 30).rounded())
        }
    }

    private struct Counted {
        var requests: UInt64 = 0
        var latency = LatencyHistogram()
    }

    func run() async throws {
        let client = try cluster.client()
        func app(_ name: String) -> BenchApp {
            var app = BenchApp(name: "bench-accuracy-\(name)", client: client, cpu: "200m", drainSeconds: 1)
            app.scaling = ["mode": "manual", "minReplicas": 1, "maxReplicas": 2, "windowSeconds": 60]
            return app
        }
        let slow = Side(app: app("slow"), rate: slowRate, least: 40, alpha: 2, seed: 1)
        let fast = Side(app: app("fast"), rate: fastRate, least: 5, alpha: 3, seed: 2)
        try await slow.app.use {
            try await fast.app.use { try await measure([slow, fast]) }
        }
    }

    private func measure(_ sides: [Side]) async throws {
        let proxies = try cluster.proxyServers()
        for side in sides { try await side.app.answers(through: proxies) }
        // nginx counts a request just after its answer has left.
        try await Task.sleep(for: .milliseconds(200))
        let before = try await counters()
        await withTaskGroup(of: Void.self) { group in
            for side in sides {
                var generator = LoadGenerator(servers: proxies, host: side.app.host, path: "/", connections: 64)
                generator.pathOfRequest = { "/slow?ms=\(side.milliseconds($0))" }
                generator.observe = { side.times.add(($0.outcome.answered - $0.outcome.sent) / .milliseconds(1)) }
                let load = generator
                group.addTask {
                    await load.run(RateProfile(constant: side.rate, seconds: seconds), into: side.statistics)
                }
            }
        }
        // The last second's samples are with the leader by then.
        try await Task.sleep(for: .milliseconds(2_500))
        let after = try await counters()
        var results: [(Side, Counted, Double?)] = []
        for side in sides {
            let metrics = try await side.app.client.send(.get, "/apps/\(side.app.name)/metrics")
            let shown = metrics["metrics"]?["metrics"]?["p95_latency_ms"]?.doubleValue
            results.append((side, counted(side.app, before, after), shown))
        }
        try report(results)
    }

    private func counters() async throws -> [ProxyCounters] {
        var all: [ProxyCounters] = []
        for folder in cluster.folders { all.append(try await folder.counters()) }
        return all
    }

    /// What all proxies counted meanwhile, taken apart as the agents do it.
    private func counted(_ app: BenchApp, _ before: [ProxyCounters], _ after: [ProxyCounters]) -> Counted {
        zip(before, after).reduce(into: Counted()) { sum, pair in
            let samples = CounterDelta.samples(
                from: pair.0, to: pair.1, interval: seconds, node: NodeID(unchecked: "bench"), second: 0)
            guard let sample = samples.first(where: { $0.app.rawValue == app.name }) else { return }
            sum.requests += sample.requests
            sum.latency.merge(sample.latency)
        }
    }

    private func report(_ results: [(Side, Counted, Double?)]) throws {
        var report = Report(
            "accuracy",
            setting: "two apps at once for \(Report.format(seconds)) s: "
                + results.map { "\($0.0.app.name) \(Report.format($0.0.rate))/s" }.joined(separator: ", "))
        var counts = Report.Table("requests", columns: ["sent", "failed", "counted", "difference"])
        var wrong = 0
        for (side, counted, _) in results {
            let total = side.statistics.total
            let difference = Int(counted.requests) - total.sent
            if difference != 0 { wrong += 1 }
            counts.add(
                side.app.name,
                [Double(total.sent), Double(total.failed), Double(counted.requests), Double(difference)])
            report.notes += total.failureNotes.map { "\(side.app.name): \($0)" }
        }
        report.tables = [counts]
        for (side, counted, shown) in results { report.tables.append(errors(side, counted, shown, &report)) }
        report.goal("apps whose count differs", Double(wrong), atMost: 0)
        try output.finish(report)
        if wrong > 0 { throw ExitCode(1) }
    }

    private func errors(
        _ side: Side, _ counted: Counted, _ shown: Double?, _ report: inout Report
    ) -> Report.Table {
        let times = side.times.values.sorted()
        var quantized = LatencyHistogram()
        for time in times { quantized.record(microseconds: UInt64(max(0, time * 1_000))) }
        var table = Report.Table(
            "\(side.app.name): milliseconds, and errors in percent of the generator's value",
            columns: ["generator", "ours", "error %", "histogram alone %", "API", "API error %"])
        guard !times.isEmpty else { return table }
        func error(_ value: Double?, _ truth: Double) -> Double? { value.map { ($0 - truth) / truth * 100 } }
        for fraction in [0.5, 0.95, 0.99] {
            let truth = Summary.percentile(fraction, of: times)
            let ours = counted.latency.percentileMilliseconds(fraction)
            let api = fraction == 0.95 ? shown : nil
            table.add(
                "p\(Report.format(fraction * 100))",
                [
                    truth, ours, error(ours, truth), error(quantized.percentileMilliseconds(fraction), truth), api,
                    error(api, truth),
                ])
            if fraction == 0.95 {
                report.compare("p95 of \(side.app.name)", ours, with: truth, called: "the generator's own")
                report.goal(
                    "error of p95 of \(side.app.name), percent", error(ours, truth).map(abs), atMost: 1)
            }
        }
        return table
    }
}

/// Milliseconds, from many tasks.
final class RecordedTimes: Sendable {
    private let state = Mutex<[Double]>([])
    var values: [Double] { state.withLock { $0 } }
    func add(_ milliseconds: Double) { state.withLock { $0.append(milliseconds) } }
}
