import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// Whether the generator sees a stall.
struct StallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stall",
        abstract: "Checks the load generator against a server that stalls for two seconds.",
        discussion: """
            A server of the bench's own is stopped (SIGSTOP) for --stall seconds in the middle of a run. The generator of \
            `load`, which counts from when a request was to be sent, must show it in its p99.9; closed loops, whose \
            connections wait with their next request, hardly do: the bench's own, and `wrk` where it is installed. The \
            same server, the same length, one after the other. Fails unless the p99.9 is at least 90% of the stall.
            """)

    @Option(help: "Seconds that the server stalls.") var stall = 2.0
    @Option(help: "Seconds of each run.") var seconds = 20
    @Option(help: "Requests per second of the generator.") var rate = 500.0
    @Option(help: "Connections.") var connections = 16
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(
            stall > 0 && Double(seconds) >= stall + 4, "--seconds must be 4 more than --stall, which is above 0")
        // Of fewer, a thousandth would be less than one.
        try require(rate * Double(seconds) >= 2_000, "--rate × --seconds must be at least 2000")
        try require(connections > 0, "--connections must be at least 1")
    }

    func run() async throws {
        let bare = try await BareServer()
        defer { bare.stop() }
        let statistics = LoadStatistics()
        let generator = LoadGenerator(
            servers: [bare.server], host: "bare", path: "/text", connections: connections)
        progress("the generator of `load`")
        try await stalling(bare) {
            await generator.run(RateProfile(constant: rate, seconds: Double(seconds)), into: statistics)
        }
        progress("the bench's closed loop")
        let loop = ClosedLoop(servers: [bare.server], path: "/text", connections: connections)
        let closed = try await stalling(bare) { await loop.run(for: .seconds(seconds)) }
        let saturation = await Saturation.find(connections: connections)
        var wrk: Saturation.Result?
        if saturation.hasWrk {
            progress("wrk")
            wrk = try await stalling(bare) { try await saturation.run(bare.server, "/text", for: seconds) }
        }
        try report(statistics.total, closed, wrk)
    }

    /// Runs `body` and stops the server meanwhile, once.
    private func stalling<Result: Sendable>(
        _ bare: BareServer, _ body: () async throws -> Result
    ) async throws -> Result {
        let stopping = Task { [stall, seconds] in
            try await Task.sleep(for: .seconds((Double(seconds) - stall) / 2))
            kill(bare.pid, SIGSTOP)
            // Cancelled or not, it goes on.
            defer { kill(bare.pid, SIGCONT) }
            try await Task.sleep(for: .seconds(stall))
        }
        defer { stopping.cancel() }
        return try await body()
    }

    private func report(
        _ total: LoadStatistics.Second, _ closed: ClosedLoop.Result, _ wrk: Saturation.Result?
    ) throws {
        var report = Report(
            "stall",
            setting: "a server stopped for \(Report.format(stall)) of \(seconds) s, \(connections) connections")
        var table = Report.Table("milliseconds", columns: ["requests", "p50", "p99", "p99.9", "max"])
        func ours(_ fraction: Double) -> Double? { total.latencies.percentileMilliseconds(fraction) }
        table.add("load, \(Report.format(rate))/s", [Double(total.sent), ours(0.5), ours(0.99), ours(0.999), ours(1)])
        let sorted = closed.milliseconds.sorted()
        func loop(_ fraction: Double) -> Double? {
            sorted.isEmpty ? nil : Summary.percentile(fraction, of: sorted)
        }
        table.add("closed loop", [Double(closed.requests), loop(0.5), loop(0.99), loop(0.999), loop(1)])
        if let wrk { table.add("wrk", [wrk.requests, wrk.p50, wrk.p99, wrk.p999, wrk.max]) }
        report.tables = [table]
        report.goal("p99.9 of load, ms", ours(0.999), atLeast: stall * 900)
        // More than the stall, the queue it left, and a little: the machine had other things to do.
        report.goal("p99.9 of load, ms", ours(0.999), atMost: stall * 1_300)
        report.notes = total.failureNotes
        if let wrk, wrk.failures > 0 {
            report.notes.append(
                "wrk calls \(Report.format(wrk.failures)) failed: requests over its 2 s limit are not in its latencies")
        }
        try output.finish(report)
        guard let seen = ours(0.999), seen >= stall * 900 else { throw ExitCode(1) }
    }
}
