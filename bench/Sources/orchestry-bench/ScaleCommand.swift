import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// Many instances at once, beside the engine's own speed.
struct ScaleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Seconds from \"scale to 50\" until all are ready and get traffic everywhere, beside `docker run`.",
        discussion: """
            An app of the bench's own goes from 1 to --replicas instances. Time runs from just before the request is \
            sent; ready by the agents' own times, routed when each instance has answered through each proxy. The \
            baselines start as many containers of the same image with the same limits, privileges, network, log options \
            and as many labels (read from one of ours by `docker inspect`): one `docker run -d` after the other, and \
            several at the same time. They take turns, in another order each time.

            `docker run -d` returns when the container has been started; it does not wait until it answers, and nothing \
            leads traffic to it. Ours goes on until it does.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench scale --yes
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "Instances to scale to, from 1.") var replicas = 50
    @Option(help: "`docker run` commands at the same time; default: all, as each node starts all of its own at once.")
    var parallel: Int?
    @Option(help: "Rounds, in each of which every contender has one turn.") var repetitions = 3
    @Option(help: "The image.") var image = "orchestry-demo:v1"
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((2...100).contains(replicas), "--replicas must be 2 to 100")
        try require((1...100).contains(parallel ?? 1), "--parallel must be 1 to 100")
        try require(repetitions > 0, "--repetitions must be at least 1")
    }

    private enum Contender: CaseIterable { case ours, sequential, parallel }

    private struct Times {
        var accepted: [Double] = []
        var ready: [Double] = []
        var routed: [Double] = []
        var sequential: [Double] = []
        var parallel: [Double] = []
    }

    /// Requests per second through each proxy: what 3% of a core answer, with room.
    private static let rate = 100.0
    private static var label: String { "orchestry-bench.scale=\(getpid())" }

    func run() async throws {
        let app = BenchApp(
            name: "bench-scale", client: try cluster.client(), image: image, cpu: "30m", memory: "16Mi",
            drainSeconds: 0,
            scaling: ["mode": "manual", "minReplicas": 1, "maxReplicas": JSONValue(max(replicas, 2))])
        do {
            try await app.use { try await measure(app) }
        } catch {
            do { try await DockerCommand.removeAll(label: Self.label) } catch {
                progress("containers with the label \(Self.label) are left: \(error)")
            }
            throw error
        }
    }

    private func measure(_ app: BenchApp) async throws {
        let status = try await app.scale(to: 1)
        guard let container = status["instances"]?.arrayValue?.first?["container_id"]?.stringValue else {
            throw BenchFailure("the first instance has no container: \(status.jsonText())")
        }
        let options =
            DockerCommand.options(like: try await DockerCommand.inspect(container), labelPrefix: "bench.")
            + ["--label", Self.label, image]
        var times = Times()
        // One container of each kind does not count.
        _ = try await baseline(1, parallel: 1, options)
        try await app.scale(to: 2)
        for repetition in 0..<repetitions {
            for turn in 0..<3 {
                switch Contender.allCases[(turn + repetition) % 3] {
                case .ours: try await ours(app, &times)
                case .sequential: times.sequential.append(try await baseline(replicas - 1, parallel: 1, options))
                case .parallel:
                    times.parallel.append(
                        try await baseline(replicas - 1, parallel: parallel ?? replicas - 1, options))
                }
            }
            progress("round \(repetition + 1) of \(repetitions) done")
        }
        try report(times)
    }

    private func ours(_ app: BenchApp, _ times: inout Times) async throws {
        try await app.scale(to: 1)
        let probe = TrafficProbe(app: app, proxies: try cluster.proxyServers(), rate: Self.rate)
        let probing = Task { await probe.run() }
        defer { probing.cancel() }
        // Its connections are open by then.
        try await Task.sleep(for: .seconds(1))
        let begin = wallSeconds()
        try await app.client.send(.post, "/apps/\(app.name)/scale", ["replicas": JSONValue(replicas)])
        times.accepted.append(wallSeconds() - begin)
        let ready = try await app.settled(at: replicas).readyTimes
        try await probe.everywhere(Array(ready.keys), within: .seconds(30))
        probing.cancel()
        await probing.value
        let sources = probe.proxies.map(\.description)
        let routed = ready.keys.compactMap { probe.answers.everywhere($0, sources: sources) }.max() ?? begin
        times.ready.append((ready.values.max() ?? begin) - begin)
        times.routed.append(routed - begin)
        progress("ours: all ready after \(Report.format(times.ready.last ?? 0)) s")
        try await app.scale(to: 1)
    }

    private func baseline(_ count: Int, parallel: Int, _ options: [String]) async throws -> Double {
        let (ids, seconds) = try await DockerCommand.start(count, parallel: parallel, options)
        let running = try await Measuring.run(
            ["docker", "ps", "-q", "--filter", "label=\(Self.label)", "--filter", "status=running"])
            .split(separator: "\n").count
        try await DockerCommand.removeAll(label: Self.label)
        guard ids.count == count, running == count else {
            throw BenchFailure("\(running) of \(count) containers of `docker run` were running")
        }
        progress("docker run, \(parallel) at a time: \(Report.format(seconds)) s")
        return seconds
    }

    private func report(_ times: Times) throws {
        var report = Report(
            "scale",
            setting: "1 → \(replicas) instances of \(image) on \(try cluster.proxyServers().count) nodes, "
                + "\(repetitions) times, beside as many `docker run -d` (\(replicas - 1))")
        var table = Report.Table("seconds", columns: ["n", "median", "lowest", "highest"])
        func add(_ name: String, _ values: [Double]) {
            table.add(name, [Double(values.count), Summary(values)?.p50, values.min(), values.max()])
        }
        add("ours: request answered", times.accepted)
        add("ours: all ready", times.ready)
        add("ours: all get traffic through every proxy", times.routed)
        add("docker run -d, one after the other", times.sequential)
        add("docker run -d, \(parallel ?? replicas - 1) at a time", times.parallel)
        report.tables = [table]
        for (name, values) in [("all ready", times.ready), ("all routed", times.routed)] {
            let ours = Summary(values)?.p50
            report.compare(name, ours, with: Summary(times.sequential)?.p50, called: "docker run one after the other")
            report.compare(name, ours, with: Summary(times.parallel)?.p50, called: "docker run in parallel")
        }
        report.notes = [
            "ready is by the agents' own times, to 1 ms; routed when an answer of each instance came through each proxy",
            "instances take turns: up to \(Report.format(Double(replicas) / Self.rate)) s of that are the wait for a turn",
            "docker run -d does not wait for an answer of the container; ours does (health check each second)",
        ]
        try output.finish(report)
    }
}
