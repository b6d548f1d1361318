import ArgumentParser
import DockerEngine
import Foundation
import Measuring
import OrchestryModel

/// What reading the containers' CPU and memory costs each second.
struct CgroupsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cgroups",
        abstract:
            "Milliseconds to read CPU and memory of 50 containers, as the agent does, beside the engine's statistics.",
        discussion: """
            Starts --containers containers of its own, reads all of them with the agent's own reader in each round, and \
            asks the engine's API for the same (`GET /containers/ID/stats?stream=0&one-shot=1`): one after the other, and \
            all at once. Removes them again.
            """)

    @Option(help: "Containers.") var containers = 50
    @Option(help: "Rounds of the agent's reader.") var repetitions = 200
    @Option(help: "Rounds of the baselines.") var baselineRepetitions = 10
    @Option(help: "An image whose default command keeps running.") var image = "orchestry-demo:v1"
    @Option(help: "The engine's socket.") var socket = "/var/run/docker.sock"
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((1...1_000).contains(containers), "--containers must be 1 to 1000")
        try require(repetitions > 0 && baselineRepetitions > 0, "rounds must be at least 1")
    }

    private static var label: String { "orchestry-bench.cgroups=\(getpid())" }

    func run() async throws {
        do {
            progress("starting \(containers) containers")
            let (ids, _) = try await DockerCommand.start(
                containers, parallel: 8,
                ["--label", Self.label, "--network", "none", "--memory", "16m", "--cpus", "0.02", image])
            try await measure(ids)
        } catch {
            do { try await DockerCommand.removeAll(label: Self.label) } catch {
                progress("containers with the label \(Self.label) are left: \(error)")
            }
            throw error
        }
        try await DockerCommand.removeAll(label: Self.label)
    }

    private func measure(_ ids: [String]) async throws {
        let reader = UsageReader()
        var milliseconds: [Double] = []
        for round in 0...repetitions {
            let start = uptimeNanoseconds()
            let readings = await reader.read(ids)
            let duration = Double(uptimeNanoseconds() - start) / 1e6
            guard readings.count == ids.count else {
                throw BenchFailure("\(readings.count) of \(ids.count) containers could be read from /sys/fs/cgroup")
            }
            // The first one looks for the files as well; it is reported by itself.
            if round == 0 { progress("first round: \(Report.format(duration)) ms") }
            milliseconds.append(duration)
            // Not in a tight loop: a round comes once a second, and finds cold caches. This is a compromise.
            try await Task.sleep(for: .milliseconds(20))
        }
        var oneByOne: [Double] = []
        var together: [Double] = []
        for _ in 0..<baselineRepetitions {
            oneByOne.append(
                try await timed {
                    for id in ids {
                        try Task.checkCancellation()
                        try await statistics(id)
                    }
                })
            together.append(
                try await timed {
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for id in ids { group.addTask { try await statistics(id) } }
                        try await group.waitForAll()
                    }
                })
        }
        try report(first: milliseconds.removeFirst(), milliseconds, oneByOne, together)
    }

    private func timed(_ body: () async throws -> Void) async throws -> Double {
        try Task.checkCancellation()
        let start = uptimeNanoseconds()
        try await body()
        return Double(uptimeNanoseconds() - start) / 1e6
    }

    private func statistics(_ id: String) async throws {
        let answer = try await HTTPRequest(.get, "/containers/\(id)/stats?stream=0&one-shot=1").send(toSocket: socket)
        guard answer.status == 200, answer.body?["memory_stats"]?["usage"] != nil else {
            throw BenchFailure("the engine has no statistics of \(id): \(answer.status) \(answer.text.prefix(200))")
        }
    }

    private func report(first: Double, _ ours: [Double], _ oneByOne: [Double], _ together: [Double]) throws {
        var report = Report("cgroups", setting: "CPU and memory of \(containers) containers, \(ours.count) rounds")
        var table = Report.Table("one round, milliseconds")
        let summary = Summary(ours)
        table.add("the agent's reader", summary)
        table.add("its first round, which finds the files", Summary([first]))
        table.add("engine's API, one after the other", Summary(oneByOne))
        table.add("engine's API, all at once", Summary(together))
        report.tables = [table]
        report.compare("a round, p50", summary?.p50, with: Summary(oneByOne)?.p50, called: "engine's API one by one")
        report.compare("a round, p50", summary?.p50, with: Summary(together)?.p50, called: "engine's API at once")
        report.goal("a round, p99, ms", summary?.p99, atMost: 50)
        try output.finish(report)
    }
}
