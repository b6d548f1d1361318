import ArgumentParser
import Foundation
import Measuring
import NIOCore

/// Load at a fixed timetable.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Sends HTTP requests at a fixed rate, and times each from when it was to be sent.",
        discussion: """
            Latencies count from the intended time, so waiting for a free connection is part of them, and a server that \
            stalls for two seconds shows it. A request is sent once; one without a whole answer below 400 has failed.

            Examples:
              orchestry-bench load --target http://127.0.0.1:8080 --host web --rate 500 --seconds 30
              orchestry-bench load --target http://127.0.0.1:8080 --profile 20x10,500x30,500-20x20 --csv load.csv
              orchestry-bench load --target http://127.0.0.1:8080 --profile '10*5-200x6'      # a saw-tooth
              orchestry-bench load --target http://127.0.0.1:8080 --profile @day.txt          # a part on each line
            """)

    @Option(help: "URLs http://HOST[:PORT], separated by commas; connections are spread over them.") var target: String
    @Option(help: "The Host header; default: the first target's.") var host: String?
    @Option(help: "Path and query.") var path = "/"
    @Option(help: "Requests per second.") var rate = 100.0
    @Option(help: "How long.") var seconds = 10.0
    @Option(
        help:
            "Instead of --rate and --seconds: RATExSECONDS or FROM-TOxSECONDS, N* before it for N in a row, separated by commas; or @FILE, with # for comments."
    )
    var profile: String?
    @Option(help: "Seconds at the first rate before it, that don't count.") var warmUp = 0.0
    @Option(help: "Connections at the same time.") var connections = 64
    @Flag(inversion: .prefixedNo, help: "Send requests one after the other on the same connections.")
    var keepAlive = true
    @Option(help: "WebSockets to hold meanwhile.") var sockets = 0
    @Option(help: "Their path.") var socketPath = "/websocket"
    @Option(help: "A file for one line a second.") var csv: String?
    @Option(help: "A file for a chart of the same.") var svg: String?
    @Flag(help: "Exit with status 1 if any request failed.") var strict = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try servers()
        try require(rate > 0 && seconds > 0, "--rate and --seconds must be above 0")
        try require((1...10_000).contains(connections), "--connections must be 1 to 10000")
        try require((0...10_000).contains(sockets), "--sockets must be 0 to 10000")
        try require(path.hasPrefix("/") && socketPath.hasPrefix("/"), "a path begins with /")
        try require(warmUp >= 0, "--warm-up must be at least 0")
        _ = try timetable()
    }

    /// - Throws: `ValidationError` when the profile, or its file, can't be understood; what Foundation says when the file
    ///   can't be read.
    private func timetable() throws -> RateProfile {
        guard let profile else { return RateProfile(constant: rate, seconds: seconds) }
        let parsed =
            profile.hasPrefix("@")
            ? RateProfile(file: try String(contentsOfFile: String(profile.dropFirst()), encoding: .utf8))
            : RateProfile(profile)
        guard let parsed else {
            throw ValidationError(
                "--profile: RATExSECONDS or FROM-TOxSECONDS, N* before it, separated by commas; or @FILE")
        }
        return parsed
    }

    private func servers() throws -> [Server] { try Server.list(target, option: "--target") }

    func run() async throws {
        let servers = try servers()
        let timetable = try timetable()
        let host = host ?? "\(servers[0].host):\(servers[0].port)"
        let generator = LoadGenerator(
            servers: servers, host: host, path: path, connections: connections, keepsAlive: keepAlive)
        let held = HeldSockets(servers: servers, host: host, path: socketPath)
        let holding = Task { await held.hold(sockets) }
        if warmUp > 0, let first = timetable.parts.first {
            let rate = first.start > 0 ? first.start : first.end
            await generator.run(RateProfile(constant: rate, seconds: warmUp), into: LoadStatistics())
        }
        let statistics = LoadStatistics()
        let processorTime = ProcessorTime()
        await generator.run(timetable, into: statistics)
        let (share, openSockets) = (processorTime.share, held.open)
        holding.cancel()
        await holding.value
        if let svg { try statistics.svg.write(toFile: svg, atomically: true, encoding: .utf8) }
        if let csv { try statistics.csv.write(toFile: csv, atomically: true, encoding: .utf8) }

        let total = statistics.total
        var report = Report(
            "load",
            setting:
                "\(timetable.count) requests in \(Report.format(timetable.duration)) s to \(target) (host \(host), "
                + "\(path)) over \(connections) \(keepAlive ? "kept" : "new") connections")
        var table = Report.Table("from the time to be sent", columns: LoadStatistics.Second.columns)
        table.add("requests", total.values)
        report.tables = [table]
        report.notes =
            total.failureNotes + [
                "\(statistics.reconnects) times the server had closed an idle connection",
                "this generator used \(Report.format(share * 100))% of one core",
            ]
        if sockets > 0 {
            report.notes.append(
                "\(openSockets) of \(sockets) WebSockets open at the end, \(held.echoes) echoes, "
                    + "\(held.endings.count) ended meanwhile, \(held.refused) refused")
        }
        try output.finish(report)
        if strict, total.failed > 0 { throw ExitCode(1) }
    }
}

extension Server {
    static func list(_ text: String, option: String) throws -> [Server] {
        let servers = try text.split(separator: ",").map { part in
            guard let server = Server(String(part)) else {
                throw ValidationError("\(option): not a URL http://HOST[:PORT]: \(part)")
            }
            return server
        }
        try require(!servers.isEmpty, "\(option) names no server")
        return servers
    }
}

/// Processor time of this process since it was made.
struct ProcessorTime {
    private let begin = Self.used()
    private let beganAt = ContinuousClock.now

    /// Seconds of processor time per second: 1 is one core.
    var share: Double { (Self.used() - begin) / max((ContinuousClock.now - beganAt) / .seconds(1), 1e-9) }

    private static func used() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
