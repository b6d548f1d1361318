import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// Does anything grow that should not?
struct SoakCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "soak",
        abstract: "Churn for minutes or hours under load; slopes of memory, descriptors, threads, files and rows.",
        discussion: """
            An app of the bench's own is scaled, deployed over, and has an instance killed, in turn and without pause, on \
            a cluster of this machine, while every node's proxy gets requests. Every --interval seconds the bench looks at \
            the nodes' processes and their nginx (resident memory, descriptors, threads), at the files in the nodes' data \
            folders and at PostgreSQL's rows. A slope is a straight line's through all that was seen after the first \
            fifth of the time; it says something where it is well above twice its standard error. Rows of events, \
            decisions and metrics grow by design until retention drops them.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench soak --yes --minutes 30 --svg soak.svg
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "Minutes.") var minutes = 30.0
    @Option(help: "Seconds from one look to the next.") var interval = 10
    @Option(help: "Requests per second through each proxy.") var rate = 50.0
    @Option(
        help: "Files that hold the nodes' process ids, in the order of --proxy-folders; default: beside their data.")
    var pids: String?
    @Option(help: "Where PostgreSQL is, for `psql`; rows are left out where it does not answer.")
    var postgres = "postgresql://orchestry@127.0.0.1:55432/orchestry"
    @Option(help: "The image.") var image = "orchestry-demo:v1"
    @Option(help: "The image to deploy over it, and back.") var nextImage = "orchestry-demo:v2"
    @Option(help: "Kills an instance's {container}.") var killCommand = "docker kill {container}"
    @Option(help: "A file for charts of everything seen.") var svg: String?
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(minutes > 0 && interval > 0 && rate > 0, "--minutes, --interval and --rate must be above 0")
        try require(nodes().count == cluster.folders.count, "--pids and --proxy-folders must name the same number")
    }

    private func nodes() -> [WatchedNode] {
        let files =
            pids?.split(separator: ",").map(String.init)
            ?? cluster.folders.map {
                URL(filePath: $0.path).appending(path: "../../pid").standardized.path(percentEncoded: false)
            }
        return zip(files, cluster.folders).map { WatchedNode(pidFile: $0, proxy: $1) }
    }

    func run() async throws {
        let nodes = nodes()
        for node in nodes { _ = try node.look() }
        let app = BenchApp(name: "bench-soak", client: try cluster.client(), image: image, cpu: "50m", drainSeconds: 2)
        let watch = SoakWatch(nodes: nodes, postgres: postgres)
        let probe = TrafficProbe(app: app, proxies: try cluster.proxyServers(), rate: rate)
        let rounds = try await app.use {
            try await app.scale(to: 2)
            try await app.answers(through: probe.proxies)
            let background = Task { [interval] in
                async let watching: Void = watch.run(every: .seconds(interval))
                await probe.run()
                await watching
            }
            defer { background.cancel() }
            let rounds = try await churn(app)
            background.cancel()
            await background.value
            return rounds
        }
        try report(watch, probe, rounds: rounds)
    }

    /// - Returns: how often everything was done.
    private func churn(_ app: BenchApp) async throws -> Int {
        let end = ContinuousClock.now + .seconds(minutes * 60)
        var rounds = 0
        var app = app
        while ContinuousClock.now < end {
            try await app.scale(to: 4)
            app.image = app.image == image ? nextImage : image
            try await app.register()
            try await oneRevision(app, 4)
            let status = try await app.settled(at: 4)
            if let container = status["instances"]?.arrayValue?.first?["container_id"]?.stringValue {
                _ = try await Measuring.run(["sh", "-c", killCommand.replacing("{container}", with: container)])
                try await app.client.wait(for: "\(container) to be replaced", at: app.statusPath, within: .seconds(120))
                {
                    $0["ready_replicas"]?.intValue == 4
                        && $0["instances"]?.arrayValue?.contains { $0["container_id"]?.stringValue == container }
                            == false
                }
            }
            try await app.scale(to: 2)
            rounds += 1
            progress("round \(rounds) of churn done")
        }
        return rounds
    }

    private func oneRevision(_ app: BenchApp, _ replicas: Int) async throws {
        try await app.client.wait(for: "the new revision", at: app.statusPath, within: .seconds(180)) { status in
            let instances = status["instances"]?.arrayValue ?? []
            return instances.count == replicas && instances.allSatisfy { $0["revision"] == status["revision"] }
                && status["ready_replicas"]?.intValue == replicas
        }
    }

    private func report(_ watch: SoakWatch, _ probe: TrafficProbe, rounds: Int) throws {
        let total = probe.statistics.total
        var report = Report(
            "soak",
            setting: "\(Report.format(minutes)) minutes: \(rounds) rounds of scale, deploy, kill; "
                + "\(Report.format(rate)) requests/s through each of \(probe.proxies.count) proxies")
        var table = Report.Table(
            "what was seen, slope after the first fifth",
            columns: ["first", "last", "highest", "slope an hour", "± 2 errors"])
        let series = watch.series
        for line in series {
            let from = (line.points.last?.x ?? 0) / 5
            let slope = Slope(line.points.filter { $0.x >= from }.map { ($0.x, $0.y) })
            table.add(
                line.name,
                [
                    line.points.first?.y, line.points.last?.y, line.points.map(\.y).max(),
                    slope.map { $0.perUnit * 60 }, slope.map { $0.standardError * 120 },
                ])
        }
        var loads = Report.Table("requests, from the time to be sent", columns: LoadStatistics.Second.columns)
        loads.add("all", total.values)
        report.tables = [table, loads]
        report.goal("requests failed", Double(total.failed), atMost: 0)
        report.notes = total.failureNotes + watch.failures
        if let svg {
            let charts = series.map { LineChart($0.name, xLabel: "min", lines: [LineChart.Line("", $0.points)]) }
            try LineChart.document(charts).write(toFile: svg, atomically: true, encoding: .utf8)
        }
        try output.finish(report)
    }
}
