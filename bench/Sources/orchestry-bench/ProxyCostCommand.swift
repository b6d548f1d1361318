import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// What choosing instances and counting requests costs nginx.
struct ProxyCostCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy-cost",
        abstract: "nginx's throughput with our balancer and request counting, beside the same nginx without.",
        discussion: """
            Three nginx with the configuration a node generates, for one app of two instances: as it is (balancer in Lua, \
            every request counted); with the same two addresses chosen by a few lines of Lua and nothing counted (no log \
            handler); and as generated for machines without Lua (a plain `upstream`, nothing counted). One worker each, \
            in front of a fourth nginx that answers with a constant. They take turns, in another order in each round, \
            under `wrk` where it is installed, else under the bench's own closed loop.

            The generator, the proxy and what it proxies share the cores, so a throughput hides part of a cost: the \
            processor time of the proxy's worker per request does not.

            Needs nginx, libnginx-mod-http-lua and lua-resty-core; starts its own, in a folder of its own.
            """)

    @Option(help: "Rounds, in each of which every variant has one turn.") var pairs = 7
    @Option(help: "Seconds of a turn.") var seconds = 5
    @Option(help: "Connections.") var connections = 64
    @Option(help: "Workers of each nginx.") var workers = 1
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(pairs >= 2 && seconds >= 1, "--pairs must be at least 2, --seconds at least 1")
        try require((1...10_000).contains(connections), "--connections must be 1 to 10000")
        try require((1...64).contains(workers), "--workers must be 1 to 64")
    }

    private struct Turn {
        var requestsPerSecond: Double
        /// Of the proxy's workers.
        var microsecondsPerRequest: Double
        var failures: Double
    }

    func run() async throws {
        let rig = try await ProxyRig(workers: workers)
        do {
            try await measure(rig)
        } catch {
            await rig.stop()
            throw error
        }
        await rig.stop()
    }

    private func measure(_ rig: ProxyRig) async throws {
        let generator = await Saturation.find(connections: connections)
        var turns: [ProxyRig.Variant: [Turn]] = [:]
        var counted: (sent: Double, counted: Double) = (0, 0)
        let variants = ProxyRig.Variant.allCases
        for variant in variants { _ = try await turn(variant, rig, seconds: 1, generator) }
        for round in 0..<pairs {
            for position in variants.indices {
                let variant = variants[(position + round) % variants.count]
                let before = try await rig.counted()
                let (turn, requests) = try await turn(variant, rig, seconds: seconds, generator)
                turns[variant, default: []].append(turn)
                guard variant == .counting else { continue }
                counted.sent += requests
                counted.counted += try await rig.counted() - before
            }
            progress("round \(round + 1) of \(pairs) done")
        }
        try report(turns, counted, generator: generator.words)
    }

    private func turn(
        _ variant: ProxyRig.Variant, _ rig: ProxyRig, seconds: Int, _ generator: Saturation
    ) async throws -> (Turn, requests: Double) {
        let before = try rig.processorSeconds(variant)
        let result = try await generator.run(rig.server(variant), "/", host: ProxyRig.host, for: seconds)
        let used = try rig.processorSeconds(variant) - before
        return (
            Turn(
                requestsPerSecond: result.requestsPerSecond,
                microsecondsPerRequest: used / max(result.requests, 1) * 1e6, failures: result.failures),
            result.requests
        )
    }

    private func report(
        _ turns: [ProxyRig.Variant: [Turn]], _ counted: (sent: Double, counted: Double), generator: String
    ) throws {
        var report = Report(
            "proxy-cost",
            setting: "\(pairs) rounds of \(seconds) s, \(connections) connections of \(generator), \(workers) worker(s)"
        )
        var rates = Report.Table("requests per second", columns: ["n", "median", "lowest", "highest", "failed"])
        var costs = Report.Table(
            "processor time of the proxy per request, µs", columns: ["n", "median", "lowest", "highest"])
        for variant in ProxyRig.Variant.allCases {
            let list = turns[variant] ?? []
            let rate = list.map(\.requestsPerSecond)
            let cost = list.map(\.microsecondsPerRequest)
            rates.add(
                variant.words,
                [
                    Double(list.count), Summary(rate)?.p50, rate.min(), rate.max(),
                    list.reduce(0) { $0 + $1.failures },
                ])
            costs.add(variant.words, [Double(list.count), Summary(cost)?.p50, cost.min(), cost.max()])
        }
        var spread = Report.Table("ours ÷ the other, of the same round", columns: ["n", "median", "lowest", "highest"])
        for variant in [ProxyRig.Variant.balancing, .plain] {
            let (ours, others) = (turns[.counting] ?? [], turns[variant] ?? [])
            let rate = zip(ours, others).map { $0.requestsPerSecond / $1.requestsPerSecond }
            let cost = zip(ours, others).map { $0.microsecondsPerRequest / $1.microsecondsPerRequest }
            spread.add(
                "throughput ÷ \(variant.words)", [Double(rate.count), Summary(rate)?.p50, rate.min(), rate.max()])
            spread.add(
                "processor ÷ \(variant.words)", [Double(cost.count), Summary(cost)?.p50, cost.min(), cost.max()])
            report.compare("throughput", Summary(rate)?.p50, with: 1, called: variant.words, better: .higher)
            report.compare("processor time per request", Summary(cost)?.p50, with: 1, called: variant.words)
            report.goal("throughput of \(variant.words)", Summary(rate)?.p50, atLeast: 0.95)
        }
        report.tables = [rates, costs, spread]
        report.notes = [
            "the generator finished \(Report.format(counted.sent)) requests through ours, which counted "
                + "\(Report.format(counted.counted)) (those under way when a turn ends are counted too)",
            "median by nearest rank; ratios are of the turns of one round, median over rounds",
        ]
        try output.finish(report)
    }
}
