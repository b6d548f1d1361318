import ArgumentParser
import Foundation
import Logging
import Measuring
import MetricsCache
import NIOCore
import OrchestryModel
import WireProtocol

/// How many samples a second a node can keep, and what the same rows cost without one transaction a second.
struct CacheCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache",
        abstract: "Samples per second into a node's metrics.db, against INSERTs without batching.",
        discussion: """
            A real SQLite file. Each append is one second of samples of all apps and one transaction, as on a node. The \
            baselines insert the same encoded rows into the same table through SQLite's own interface.
            """)

    @Option(help: "Apps: samples of one append.") var apps = 1_000
    @Option(help: "Appends of one repetition.") var seconds = 30
    @Option(help: "INSERTs of one repetition of the baseline.") var inserts = 5_000
    @Option(help: "INSERTs of one repetition with SQLite's defaults, each of which waits for the disk.")
    var syncedInserts = 300
    @Option(help: "Repetitions that count; one before them is warm-up.") var repetitions = 5
    @Option(help: "Where the files are made (in a folder of their own, removed at the end).")
    var folder = FileManager.default.temporaryDirectory.path(percentEncoded: false)
    @OptionGroup var output: OutputOptions

    private struct Way {
        var name: String
        /// Samples per second of each repetition.
        var rates: [Double] = []
    }
    private static let walNormal = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"

    func validate() throws {
        try require(
            [apps, seconds, inserts, syncedInserts, repetitions].allSatisfy { $0 > 0 }, "all numbers must be at least 1"
        )
        try require(
            max(inserts, syncedInserts) <= apps * seconds, "--inserts must be at most --apps × --seconds")
    }

    func run() async throws {
        let place = URL(filePath: folder).appending(path: "orchestry-bench-cache-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        // What can't be removed has been named to the user, or is in the system's folder for such things.
        defer { try? FileManager.default.removeItem(at: place) }
        let load = SyntheticLoad(apps: apps, nodes: 1, instances: 2)
        let batches = (0..<seconds).map { load.samples(at: load.firstSecond + Int64($0)) }
        let rows = batches.joined().map(Self.row)
        var ways = [
            Way(name: "MetricsDatabase"), Way(name: "raw, a transaction for each INSERT (baseline)"),
            Way(name: "raw, a transaction for each INSERT, SQLite's defaults"),
            Way(name: "raw, a transaction a second"),
        ]
        var appends: [Double] = []
        for repetition in 0...repetitions {
            progress(repetition == 0 ? "warm-up" : "repetition \(repetition) of \(repetitions)")
            let path = place.appending(path: "\(repetition)").path(percentEncoded: false)
            let durations = try await append(batches, folder: path)
            let rates = [
                Double(rows.count) / durations.reduce(0, +),
                try insert(rows.prefix(inserts), path: path + "/single.db", pragmas: Self.walNormal),
                try insert(rows.prefix(syncedInserts), path: path + "/synced.db", pragmas: ""),
                try insert(rows[...], path: path + "/batched.db", pragmas: Self.walNormal, batch: apps),
            ]
            // The warm-up's files go too, so that every repetition finds the same room.
            try FileManager.default.removeItem(atPath: path)
            guard repetition > 0 else { continue }
            for (position, rate) in rates.enumerated() { ways[position].rates.append(rate) }
            appends += durations.map { $0 * 1e3 }
        }
        try report(ways, appends, rowBytes: rows.reduce(0) { $0 + $1.sample.count } / rows.count)
    }

    /// - Returns: seconds each append took.
    private func append(_ batches: [[Sample]], folder: String) async throws -> [Double] {
        let database = try MetricsDatabase(
            folder: folder, logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        defer { database.shutdown() }
        var durations: [Double] = []
        for batch in batches {
            let start = uptimeNanoseconds()
            try await database.append(batch)
            durations.append(Double(uptimeNanoseconds() - start) / 1e9)
        }
        let stored = try await database.samples(sinceSecond: batches[0].first?.second ?? 0).count
        guard stored == apps * seconds else { throw BenchFailure("\(stored) samples stored, not \(apps * seconds)") }
        return durations
    }

    /// - Parameter batch: rows of one transaction; nil: each its own.
    /// - Returns: rows per second.
    private func insert(
        _ rows: ArraySlice<RawSQLite.Row>, path: String, pragmas: String, batch: Int? = nil
    ) throws -> Double {
        let file = try RawSQLite(path: path, pragmas: pragmas)
        let (duration, _) = try nanoseconds {
            guard let batch else { return try file.insert(rows) }
            for start in stride(from: rows.startIndex, to: rows.endIndex, by: batch) {
                try file.execute("BEGIN IMMEDIATE")
                try file.insert(rows[start..<min(start + batch, rows.endIndex)])
                try file.execute("COMMIT")
            }
        }
        return Double(rows.count) / duration * 1e9
    }

    private static func row(_ sample: Sample) -> RawSQLite.Row {
        var buffer = ByteBuffer()
        SampleCodec.encode(sample, into: &buffer)
        return RawSQLite.Row(
            second: sample.second, app: sample.app.rawValue, node: sample.node.rawValue,
            sample: Array(buffer.readableBytesView))
    }

    private func report(_ ways: [Way], _ appends: [Double], rowBytes: Int) throws {
        var report = Report(
            "cache",
            setting: "\(repetitions) repetitions of \(seconds) appends of \(apps) samples (\(rowBytes) bytes each), in "
                + "\(folder), one repetition of warm-up")
        var rates = Report.Table("samples per second", columns: ["n", "median", "lowest", "highest"])
        for way in ways {
            rates.add(
                way.name, [Double(way.rates.count), Summary(way.rates)?.p50, way.rates.min(), way.rates.max()])
        }
        var latency = Report.Table("one append of \(apps) samples, milliseconds")
        latency.add("MetricsDatabase", Summary(appends))
        report.tables = [rates, latency]
        let ours = Summary(ways[0].rates)?.p50
        for way in ways.dropFirst() {
            report.compare("samples/s", ours, with: Summary(way.rates)?.p50, called: way.name, better: .higher)
        }
        report.notes = [
            "MetricsDatabase encodes the samples as well; the baselines get them encoded",
            "all but \"SQLite's defaults\" use a write-ahead log with synchronous=NORMAL",
        ]
        try output.finish(report)
    }
}
