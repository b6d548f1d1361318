import ArgumentParser
import Foundation
import Logging
import Measuring
import MetricsCache
import OrchestryModel
import PostgresStore

/// How many events a second get from a node into PostgreSQL, without losing one.
struct IngestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingest",
        abstract: "Events a second into an outbox on disk, and from there to PostgreSQL, beside plain INSERTs.",
        discussion: """
            A node's real outbox (each event is on disk before its producer goes on) and the real store, in a database \
            made for it and dropped afterwards; batches of 500, as a node sends them, each a fenced transaction. The \
            baselines insert the same rows into the same table by `psql`: a transaction each, and 500 in one statement. \
            Between nodes there is a network and a leader as well: they are left out. At the end the database must hold \
            every event once, or the command fails.

            Example, on the PostgreSQL of configs/dev/up --no-load:
              orchestry-bench ingest
            """)

    @Option(help: "A server on which this user may make a database: a libpq URI that names one which exists.")
    var postgres = "postgresql://orchestry@127.0.0.1:55432/postgres"
    @Option(help: "Events of one repetition.") var events = 20_000
    @Option(help: "Producers at the same time, each of which waits for its event to be on disk.") var producers = 64
    @Option(help: "Rows of the baseline with a transaction each.") var inserts = 2_000
    @Option(help: "Repetitions that count; one before them is warm-up.") var repetitions = 5
    @Option(help: "Where the outbox is made (in a folder of its own, removed at the end).")
    var folder = FileManager.default.temporaryDirectory.path(percentEncoded: false)
    @OptionGroup var output: OutputOptions

    private static let node = NodeID(unchecked: "bench")
    private static let batch = 500

    func validate() throws {
        try require([events, producers, inserts, repetitions].allSatisfy { $0 > 0 }, "all numbers must be at least 1")
        try require(events >= producers, "--events must be at least --producers")
    }

    /// Events per second of each repetition.
    private struct Rates {
        var appended: [Double] = []
        var stored: [Double] = []
        var single: [Double] = []
        var batched: [Double] = []
    }

    func run() async throws {
        let name = "orchestry_bench_\(getpid())"
        _ = try await psql(postgres, "CREATE DATABASE \(name)")
        do {
            try await measure(try url(of: name))
        } catch {
            await drop(name)
            throw error
        }
        await drop(name)
    }

    private func drop(_ name: String) async {
        do { _ = try await psql(postgres, "DROP DATABASE \(name) WITH (FORCE)") } catch {
            progress("the database \(name) is left: \(error)")
        }
    }

    private func url(of database: String) throws -> String {
        guard var parts = URLComponents(string: postgres), parts.scheme?.hasPrefix("postgres") == true else {
            throw ValidationError("--postgres is not a URI postgresql://USER@HOST:PORT/DATABASE")
        }
        parts.path = "/\(database)"
        guard let text = parts.string else { throw ValidationError("--postgres can't be read") }
        return text
    }

    @discardableResult
    private func psql(_ url: String, _ command: String) async throws -> String {
        try await Measuring.run(["psql", url, "-XAtqv", "ON_ERROR_STOP=1", "-c", command])
    }

    private func measure(_ url: String) async throws {
        let place = URL(filePath: folder).appending(path: "orchestry-bench-ingest-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        // What can't be removed has been named to the user, or is in the system's folder for such things.
        defer { try? FileManager.default.removeItem(at: place) }
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let store = StateStore(configuration: StoreConfiguration(connectionString: url), logger: logger)
        defer { store.shutdown() }
        try await store.migrate()
        try await psql(url, "UPDATE leader_lease SET leader_id = '\(Self.node)', epoch = 1")
        let outbox = try Outbox(folder: place.path(percentEncoded: false), node: Self.node, logger: logger)
        defer { outbox.shutdown() }
        var rates = Rates()
        for repetition in 0...repetitions {
            progress(repetition == 0 ? "warm-up" : "repetition \(repetition) of \(repetitions)")
            let appended = try await append(to: outbox)
            let stored = try await drain(outbox, into: store)
            let single = try await insert(rows: inserts, inEach: 1, url, place)
            let batched = try await insert(rows: events, inEach: Self.batch, url, place)
            guard repetition > 0 else { continue }
            rates.appended.append(appended)
            rates.stored.append(stored)
            rates.single.append(single)
            rates.batched.append(batched)
        }
        let sent = events * (repetitions + 1)
        let found = try await psql(
            url, "SELECT count(*) || ' ' || count(DISTINCT sequence) FROM events WHERE node_id = '\(Self.node)'")
        guard found.trimmingCharacters(in: .whitespacesAndNewlines) == "\(sent) \(sent)" else {
            throw BenchFailure("\(sent) events were sent; PostgreSQL has (all, different ones): \(found)")
        }
        try report(rates, sent: sent)
    }

    private func event(_ number: Int) -> Event {
        Event(
            node: Self.node, time: WallTime(milliseconds: 1_800_000_000_000 + Int64(number)), app: nil,
            kind: .instanceReady, message: "web-1-\(number) is ready on bench at 172.18.0.9:9010",
            details: ["instance": .string("web-1-\(number)"), "node": "bench", "revision": 1])
    }

    private func append(to outbox: Outbox) async throws -> Double {
        let (seconds, _) = try await timed {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for producer in 0..<producers {
                    group.addTask { [events, producers] in
                        for number in stride(from: producer, to: events, by: producers) {
                            _ = try await outbox.append(events: [event(number)])
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        return Double(events) / seconds
    }

    private func drain(_ outbox: Outbox, into store: StateStore) async throws -> Double {
        let (seconds, count) = try await timed {
            var count = 0
            while true {
                let batch = try await outbox.pending(limit: Self.batch).events
                guard let last = batch.last else { return count }
                try await store.write([.appendEvents(node: Self.node, batch)], epoch: Epoch(1), leader: Self.node)
                try await outbox.acknowledge(eventsUpTo: last.sequence, decisionsUpTo: 0)
                count += batch.count
            }
        }
        guard count == events else { throw BenchFailure("\(count) of \(events) events came out of the outbox") }
        return Double(count) / seconds
    }

    /// The same rows by `psql`, from a file; under another node's name.
    private func insert(rows: Int, inEach batch: Int, _ url: String, _ place: URL) async throws -> Double {
        let values = (0..<rows).map { number -> String in
            let event = event(number)
            return "('\(event.kind)', '\(event.message)', to_timestamp(\(event.time.seconds)), "
                + "'\(event.details.jsonText())', 'psql', \(number), 1)"
        }
        let head = "INSERT INTO events (event_type, message, timestamp, details, node_id, sequence, epoch) VALUES "
        let text = stride(from: 0, to: rows, by: batch).map { start in
            head + values[start..<min(start + batch, rows)].joined(separator: ", ") + ";"
        }.joined(separator: "\n")
        let file = place.appending(path: "insert.sql")
        try text.write(to: file, atomically: true, encoding: .utf8)
        let (seconds, _) = try await timed {
            _ = try await Measuring.run([
                "psql", url, "-Xqv", "ON_ERROR_STOP=1", "-f", file.path(percentEncoded: false),
            ])
        }
        return Double(rows) / seconds
    }

    private func timed<Value>(_ body: () async throws -> Value) async throws -> (Double, Value) {
        let begin = ContinuousClock.now
        let value = try await body()
        return ((ContinuousClock.now - begin) / .seconds(1), value)
    }

    private func report(_ rates: Rates, sent: Int) throws {
        var report = Report(
            "ingest",
            setting:
                "\(repetitions) repetitions of \(events) events, \(producers) producers, batches of \(Self.batch), "
                + "one repetition of warm-up")
        var table = Report.Table("events per second", columns: ["n", "median", "lowest", "highest"])
        func add(_ name: String, _ values: [Double]) {
            table.add(name, [Double(values.count), Summary(values)?.p50, values.min(), values.max()])
        }
        add("into the outbox, each on disk before its producer goes on", rates.appended)
        add("from the outbox into PostgreSQL", rates.stored)
        add("psql, a transaction each (baseline)", rates.single)
        add("psql, \(Self.batch) in one statement", rates.batched)
        report.tables = [table]
        let stored = Summary(rates.stored)?.p50
        report.compare(
            "events/s into PostgreSQL", stored, with: Summary(rates.single)?.p50, called: "a transaction each",
            better: .higher)
        report.compare(
            "events/s into PostgreSQL", stored, with: Summary(rates.batched)?.p50,
            called: "\(Self.batch) in one statement",
            better: .higher)
        report.notes = [
            "PostgreSQL holds each of the \(sent) events once",
            "the baselines read no outbox, check no fence and look up no app; psql's start (some ms) is in them",
        ]
        try output.finish(report)
    }
}
