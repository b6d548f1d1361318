import Foundation
import Logging
import OrchestryModel
import Synchronization

/// A node's events and decisions that are not in PostgreSQL yet, in `outbox.db`. What `append` has taken survives a
/// crash and a power cut; it leaves only when acknowledged.
///
/// Sequences rise for ever, per stream: through restarts, after everything was acknowledged, and when a lost file is
/// replaced by a new one, because a new file begins at the wall-clock time in milliseconds. (PostgreSQL skips what is
/// not above a node's last sequence.)
public final class Outbox: Sendable {
    /// The sequences of the last event and decision ever stored; 0: none in this file.
    public struct Sequences: Hashable, Sendable {
        public var events: Int64
        public var decisions: Int64
        public init(events: Int64, decisions: Int64) {
            self.events = events
            self.decisions = decisions
        }
    }

    /// What waits to be acknowledged.
    public struct Counts: Hashable, Sendable {
        public var events: Int
        public var decisions: Int
        public init(events: Int, decisions: Int) {
            self.events = events
            self.decisions = decisions
        }
    }

    private struct Waiting {
        var events: [[UInt8]]
        var decisions: [[UInt8]]
        var continuation: CheckedContinuation<Result<Sequences, OutboxError>, Never>
    }

    private let node: NodeID
    private let path: String
    private let thread: DatabaseThread<SQLiteFile>
    private let waiting = Mutex<[Waiting]>([])
    private let currentCounts: Mutex<Counts>
    private let logger: Logger

    /// Opens `outbox.db` in the folder, or makes it, and checks it. Blocks for as long as that takes.
    /// - Throws: `.damaged`; `.inUse` when it is another node's or another process has it open; `.failed`.
    public init(folder: String, node: NodeID, logger: Logger) throws(OutboxError) {
        let path = folder + "/outbox.db"
        // The clock is read here and nowhere else: it only has to be later than when an earlier file was begun.
        let base = Int64(Date().timeIntervalSince1970 * 1000)
        let opened = OpenedCounts()
        thread = try DatabaseThread(name: "outbox") { () throws(OutboxError) in
            let (file, counts) = try Self.open(path: path, folder: folder, node: node, base: base)
            opened.value.withLock { $0 = counts }
            return file
        }
        self.node = node
        self.path = path
        self.logger = logger
        let counts = opened.value.withLock { $0 }
        currentCounts = Mutex(counts)
        logger.debug(
            "outbox open",
            metadata: ["path": "\(path)", "events": "\(counts.events)", "decisions": "\(counts.decisions)"])
    }

    // Does not wait: the last reference may go on the thread itself.
    deinit { thread.close() }

    private final class OpenedCounts: Sendable {
        let value = Mutex(Counts(events: 0, decisions: 0))
    }

    public var counts: Counts { currentCounts.withLock { $0 } }

    /// Stores events and decisions; on return they are on disk. Callers at the same time share one write to the disk.
    /// - Parameters: their `node` and `sequence` are replaced by this node and the next sequences.
    /// - Returns: the sequences of the last event and the last decision of *this* call; those before it in the call
    ///   have the numbers just below. For an empty list, the last ever stored.
    public func append(
        events: [Event] = [], decisions: [ScalingDecision] = []
    ) async throws(OutboxError) -> Sequences {
        let encodedEvents = events.map(OutboxCoding.encode)
        let encodedDecisions = decisions.map(OutboxCoding.encode)
        let result = await withCheckedContinuation { continuation in
            waiting.withLock { list in
                list.append(
                    Waiting(events: encodedEvents, decisions: encodedDecisions, continuation: continuation))
            }
            // The thread takes all that wait by then; who finds none left has nothing to do.
            thread.submit { file in self.store(self.waiting.withLock { $0.takeAll() }, in: file) }
        }
        return try result.get()
    }

    /// The oldest that are not acknowledged, each stream in order.
    /// - Parameter limit: of each stream, at least 0.
    public func pending(
        limit: Int
    ) async throws(OutboxError) -> (events: [Event], decisions: [ScalingDecision]) {
        let node = node
        return try await use { file throws(OutboxError) in
            var events: [Event] = []
            for (sequence, body) in try self.bodies("events", limit: limit, in: file) {
                events.append(try OutboxCoding.decodeEvent(body, node: node, sequence: sequence, path: self.path))
            }
            var decisions: [ScalingDecision] = []
            for (sequence, body) in try self.bodies("decisions", limit: limit, in: file) {
                decisions.append(try OutboxCoding.decodeDecision(body, node: node, sequence: sequence, path: self.path))
            }
            return (events, decisions)
        }
    }

    /// Forgets what PostgreSQL has. Sequences never stored, or acknowledged before, do no harm.
    public func acknowledge(eventsUpTo: Int64, decisionsUpTo: Int64) async throws(OutboxError) {
        try await use { file throws(OutboxError) in
            let gone = try self.translating { () throws(SQLiteError) in
                try file.transaction { () throws(SQLiteError) in
                    try file.run("DELETE FROM events WHERE sequence <= ?", [.int(eventsUpTo)])
                    let events = file.changes
                    try file.run("DELETE FROM decisions WHERE sequence <= ?", [.int(decisionsUpTo)])
                    return Counts(events: events, decisions: file.changes)
                }
            }
            self.currentCounts.withLock { counts in
                counts.events -= gone.events
                counts.decisions -= gone.decisions
            }
        }
    }

    /// Finishes what was begun, then closes the file. Blocks meanwhile.
    public func shutdown() { thread.shutdown() }

    // MARK: On the thread

    private static func open(
        path: String, folder: String, node: NodeID, base: Int64
    ) throws(OutboxError) -> (SQLiteFile, Counts) {
        do throws(SQLiteError) {
            try SQLiteFile.makeFolder(folder)
            let file = try SQLiteFile(path: path, durability: .full, isExclusive: true)
            try file.check()
            try file.transaction { () throws(SQLiteError) in try Self.makeTables(in: file, node: node, base: base) }
            var owner = ""
            try file.run("SELECT node FROM owner") { columns in owner = columns.text(0) }
            guard owner == node.rawValue else {
                throw SQLiteError(code: SQLiteFile.foreign, message: "it belongs to node \(owner), this is \(node)")
            }
            return (file, try counts(in: file))
        } catch {
            throw error.code == SQLiteFile.foreign
                ? .inUse(path: path, reason: error.message) : OutboxError(error, path: path)
        }
    }

    private static func makeTables(in file: SQLiteFile, node: NodeID, base: Int64) throws(SQLiteError) {
        guard try file.integer("PRAGMA user_version") == 0 else { return }
        // AUTOINCREMENT: a sequence is never used twice, also after its row is gone.
        try file.execute(
            """
            CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
            CREATE TABLE decisions (sequence INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
            CREATE TABLE owner (node TEXT NOT NULL);
            PRAGMA user_version = 1;
            """)
        try file.run("INSERT INTO owner (node) VALUES (?)", [.text(node.rawValue)])
        for table in ["events", "decisions"] {
            try file.run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [.text(table), .int(base)])
        }
    }

    private static func counts(in file: SQLiteFile) throws(SQLiteError) -> Counts {
        Counts(
            events: Int(try file.integer("SELECT count(*) FROM events") ?? 0),
            decisions: Int(try file.integer("SELECT count(*) FROM decisions") ?? 0))
    }

    /// One transaction for all; each caller gets the sequences of its own.
    private func store(_ batch: [Waiting], in file: SQLiteFile?) {
        guard !batch.isEmpty else { return }
        let result: Result<[Sequences], OutboxError>
        do throws(OutboxError) {
            guard let file else { throw .shutDown }
            let sequences = try translating { () throws(SQLiteError) in
                try file.transaction { () throws(SQLiteError) in
                    var last = try Self.lastSequences(in: file)
                    var results: [Sequences] = []
                    for entry in batch {
                        for body in entry.events {
                            try file.run("INSERT INTO events (body) VALUES (?)", [.blob(body)])
                            last.events = file.lastInsertedRow
                        }
                        for body in entry.decisions {
                            try file.run("INSERT INTO decisions (body) VALUES (?)", [.blob(body)])
                            last.decisions = file.lastInsertedRow
                        }
                        results.append(last)
                    }
                    return results
                }
            }
            currentCounts.withLock { counts in
                counts.events += batch.reduce(0) { $0 + $1.events.count }
                counts.decisions += batch.reduce(0) { $0 + $1.decisions.count }
            }
            result = .success(sequences)
        } catch {
            logger.error("outbox can't store", metadata: ["error": "\(error)"])
            result = .failure(error)
        }
        for (index, entry) in batch.enumerated() {
            entry.continuation.resume(returning: result.map { $0[index] })
        }
    }

    private static func lastSequences(in file: SQLiteFile) throws(SQLiteError) -> Sequences {
        func last(_ table: String) throws(SQLiteError) -> Int64 {
            try file.integer("SELECT seq FROM sqlite_sequence WHERE name = ?", [.text(table)]) ?? 0
        }
        return Sequences(events: try last("events"), decisions: try last("decisions"))
    }

    private func bodies(
        _ table: String, limit: Int, in file: SQLiteFile
    ) throws(OutboxError) -> [(sequence: Int64, body: [UInt8])] {
        var rows: [(sequence: Int64, body: [UInt8])] = []
        try translating { () throws(SQLiteError) in
            try file.run(
                "SELECT sequence, body FROM \(table) ORDER BY sequence LIMIT ?", [.int(Int64(max(limit, 0)))]
            ) { columns in rows.append((columns.int(0), columns.bytes(1))) }
        }
        return rows
    }

    private func translating<Value>(_ body: () throws(SQLiteError) -> Value) throws(OutboxError) -> Value {
        do throws(SQLiteError) {
            return try body()
        } catch {
            throw OutboxError(error, path: path)
        }
    }

    private func use<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteFile) throws(OutboxError) -> Value
    ) async throws(OutboxError) -> Value {
        try await thread.run { file -> Result<Value, OutboxError> in
            guard let file else { return .failure(.shutDown) }
            return Result { () throws(OutboxError) in try body(file) }
        }.get()
    }
}

extension Array {
    /// Empties it.
    fileprivate mutating func takeAll() -> [Element] {
        defer { self = [] }
        return self
    }
}

extension SQLiteFile {
    /// Not a code of SQLite's: the file is somebody else's.
    fileprivate static let foreign: Int32 = -1
}
