import ArgumentParser
import Foundation
import Logging
import Measuring
import MetricsCache
import OrchestryModel
import PostgresStore

/// How fast events go through an outbox into PostgreSQL, and that none is lost or doubled although the process that moves
/// them is killed again and again.
struct IngestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingest",
        abstract: "Events through a node's outbox into PostgreSQL, the process killed (SIGKILL) in between.",
        discussion: """
            A real outbox (each append is on the disk before it counts), the node's own flusher and store, and a PostgreSQL \
            database that must be empty. Afterwards every acknowledged event is looked for.
            """)

    @Option(help: "libpq URI of an empty database.") var postgres: String
    @Option(help: "Events in all.") var events = 1_000_000
    @Option(help: "Events of one append, which is one write to the disk.") var append = 200
    @Option(help: "Events of one transaction of PostgreSQL.") var batch = 2_000
    @Option(help: "How often the process is killed, evenly over the way.") var kills = 20
    @Option(help: "Where the outbox is made (in a folder of its own, removed at the end).")
    var folder = FileManager.default.temporaryDirectory.path(percentEncoded: false)
    @OptionGroup var output: OutputOptions

    static let node = NodeID(unchecked: "bench")

    func validate() throws {
        try require([events, append, batch].allSatisfy { $0 > 0 }, "all numbers must be at least 1")
        try require(kills >= 0, "--kills must be at least 0")
    }

    func run() async throws {
        let place = URL(filePath: folder).appending(path: "orchestry-bench-ingest-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
        // What can't be removed has been named to the user, or is in the system's folder for such things.
        defer { try? FileManager.default.removeItem(at: place) }
        let store = EventIngest(
            connectionString: postgres, node: Self.node,
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        defer { store.shutdown() }
        guard let epoch = try await store.begin(at: WallTime(seconds: Date().timeIntervalSince1970)) else {
            throw BenchFailure("somebody else leads in this database: give an empty one")
        }
        guard try await store.account().rows == 0 else {
            throw BenchFailure("the database holds events already: give an empty one")
        }
        var run = IngestRun(command: self, folder: place.path(percentEncoded: false), epoch: epoch, store: store)
        try await run.carryOut()
        try run.report().write(asJSON: output.json)
        guard run.isExact else { throw BenchFailure("events were lost or doubled") }
    }
}

/// Starts the worker, kills it on its way, and looks at what came of it.
private struct IngestRun {
    let command: IngestCommand
    let folder: String
    let epoch: Epoch
    let store: EventIngest
    private var killed = 0
    private var seconds = 0.0
    private var peakKibibytes: [Double] = []
    /// The sequence before the first, and the last one that an append was acknowledged for.
    private var base: Int64 = 0
    private var acknowledged: Int64 = 0
    private var lostOnDisk: Int64 = 0
    private var stored = EventIngest.Account(rows: 0, distinct: 0, first: 0, last: 0)

    init(command: IngestCommand, folder: String, epoch: Epoch, store: EventIngest) {
        self.command = command
        self.folder = folder
        self.epoch = epoch
        self.store = store
    }

    var isExact: Bool {
        let total = Int64(command.events)
        return stored == EventIngest.Account(rows: total, distinct: total, first: base + 1, last: base + total)
            && lostOnDisk == 0
    }

    mutating func carryOut() async throws {
        let begun = uptimeNanoseconds()
        while try await !runWorker() {}
        seconds = Double(uptimeNanoseconds() - begun) / 1e9
        stored = try await store.account()
    }

    /// - Returns: whether it came to its end; false: it was killed.
    private mutating func runWorker() async throws -> Bool {
        let worker = Process()
        worker.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        worker.arguments = [
            "ingest-worker", "--postgres", command.postgres, "--events", String(command.events), "--append",
            String(command.append), "--batch", String(command.batch), "--folder", folder, "--epoch",
            String(epoch.rawValue), "--base", String(base),
        ]
        let pipe = Pipe()
        worker.standardOutput = pipe
        try worker.run()
        let nextKill =
            killed < command.kills
            ? Int64(command.events) * Int64(killed + 1) / Int64(command.kills + 1) : Int64.max
        for await line in Self.lines(of: pipe) {
            let words = line.split(separator: " ")
            guard words.count == 2, let number = Int64(words[1]) else { throw BenchFailure("the worker says: \(line)") }
            switch words[0] {
            case "opened":
                // What was acknowledged before the kill is there after it.
                lostOnDisk += max(0, acknowledged - number)
                if base == 0 { (base, acknowledged) = (number, number) }
            case "acknowledged": acknowledged = number
            // Stored in PostgreSQL so far: says how far the whole way is gone.
            case "stored" where number - base >= nextKill && worker.isRunning:
                notePeak(of: worker)
                kill(worker.processIdentifier, SIGKILL)
                killed += 1
                worker.waitUntilExit()
                progress("killed at \(number - base) of \(command.events) events")
                return false
            case "stored": if number - base >= Int64(command.events) { notePeak(of: worker) }
            default: throw BenchFailure("the worker says: \(line)")
            }
        }
        worker.waitUntilExit()
        guard worker.terminationStatus == 0 else { throw BenchFailure("the worker failed: see above") }
        return true
    }

    private static func lines(of pipe: Pipe) -> AsyncStream<String> {
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        let descriptor = dup(pipe.fileHandleForReading.fileDescriptor)
        Thread {
            let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
            var rest = Data()
            while true {
                let data = handle.availableData
                if data.isEmpty { break }
                rest += data
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    continuation.yield(String(decoding: rest[rest.startIndex..<end], as: UTF8.self))
                    rest = Data(rest[rest.index(after: end)...])
                }
            }
            continuation.finish()
        }.start()
        return lines
    }

    private mutating func notePeak(of worker: Process) {
        // It may be gone already.
        let status = try? String(contentsOfFile: "/proc/\(worker.processIdentifier)/status", encoding: .utf8)
        guard let line = status?.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kibibytes = Double(line.filter(\.isNumber))
        else { return }
        peakKibibytes.append(kibibytes)
    }

    func report() -> Report {
        var report = Report(
            "ingest",
            setting: "\(command.events) events of \(command.append) an append, \(command.batch) a transaction, killed "
                + "\(killed) times, outbox in \(command.folder)")
        var figures = Report.Table("one run", columns: ["value"])
        figures.add("events per second", [Double(command.events) / seconds])
        figures.add("seconds", [seconds])
        figures.add("kills", [Double(killed)])
        figures.add("peak memory of the process, MiB", [(peakKibibytes.max() ?? 0) / 1024])
        figures.add("acknowledged events lost", [Double(max(0, Int64(command.events) - stored.distinct) + lostOnDisk)])
        figures.add("events doubled", [Double(stored.rows - stored.distinct)])
        report.tables = [figures]
        report.notes = ["the time includes the worker's starts after kills"]
        return report
    }
}

/// Appends and flushes until all is in PostgreSQL. Says on standard output how far it is.
struct IngestWorker: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingest-worker", abstract: "The process that `ingest` kills.", shouldDisplay: false)
    @Option var postgres: String
    @Option var events: Int
    @Option var append: Int
    @Option var batch: Int
    @Option var folder: String
    @Option var epoch: UInt64
    /// The sequence before the first event; 0: not known, this is the first start.
    @Option var base: Int64

    func run() async throws {
        let quiet = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let node = IngestCommand.node
        let epoch = Epoch(epoch)
        let store = EventIngest(connectionString: postgres, node: node, logger: quiet)
        let outbox = try Outbox(folder: folder, node: node, logger: quiet)
        let opened = try await outbox.append().events
        let first = base == 0 ? opened : base
        Self.say("opened", opened)
        let flusher = OutboxFlusher(outbox: outbox, batchSize: batch, logger: quiet) { events, _ in
            do {
                guard try await store.store(events, epoch: epoch) else { return nil }
            } catch {
                fatalError("\(error)")  // The benchmark is over: it says why.
            }
            let last = events.last?.sequence ?? 0
            Self.say("stored", last)
            return (last, 0)
        }
        let total = Int64(events)
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await flusher.run() }
            group.addTask {
                var next = opened - first + 1
                while next <= total {
                    let numbers = next...min(next + Int64(append) - 1, total)
                    let made = numbers.map { Self.event($0, node: node) }
                    Self.say("acknowledged", try await outbox.append(events: made).events)
                    flusher.wake()
                    next = numbers.upperBound + 1
                }
                while outbox.counts.events > 0 { try await Task.sleep(for: .milliseconds(2)) }
                flusher.stop()
            }
            // The first failure is the worker's end, with its words.
            do { try await group.waitForAll() } catch { fatalError("\(error)") }
        }
        outbox.shutdown()
        store.shutdown()
    }

    private static func event(_ number: Int64, node: NodeID) -> Event {
        Event(
            node: node, time: WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), app: nil,
            kind: .instanceReady, message: "web-1-\(number) is ready on controller-1 at 172.30.0.\(number % 250):9010",
            details: ["number": .int(number), "container": "0123456789ab", "node": "controller-1"])
    }

    /// One write, so that a kill can't tear it.
    private static func say(_ word: String, _ number: Int64) {
        FileHandle.standardOutput.write(Data("\(word) \(number)\n".utf8))
    }
}
