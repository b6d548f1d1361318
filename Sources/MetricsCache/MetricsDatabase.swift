import Foundation
import Logging
import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// A node's samples in `metrics.db`: every second for an hour, every minute for a week. Only a cache: a file that is
/// damaged is set aside and a new one begun. One thread writes; each `append` is one transaction.
public final class MetricsDatabase: Sendable {
    /// How long single seconds are kept.
    public static let rawSeconds: Int64 = 3600
    /// How long minutes are kept.
    public static let minuteSeconds: Int64 = 7 * 86_400
    /// Minutes are added up this long after they ended; what comes later is missing from them.
    private static let lateSeconds: Int64 = 60
    /// One transaction of a prune deletes this many seconds, so that samples need not wait long for their turn.
    private static let sliceSeconds: Int64 = 60

    private let path: String
    private let maximumBytes: Int64?
    private let logger: Logger
    private let thread: DatabaseThread<SQLiteFile>
    /// So that a full disk is logged once, not each second.
    private let isFailing = Mutex(false)

    /// Opens `metrics.db` in the folder, or makes it, and checks it. Blocks for as long as that takes.
    /// - Parameter maximumBytes: the file's largest size; nil: as large as the disk.
    /// - Throws: `MetricsError` when not even a new file can be used.
    public init(folder: String, maximumBytes: Int64? = nil, logger: Logger) throws(MetricsError) {
        let path = folder + "/metrics.db"
        self.path = path
        self.maximumBytes = maximumBytes
        self.logger = logger
        thread = try DatabaseThread(name: "metrics") { () throws(MetricsError) in
            do throws(SQLiteError) {
                try SQLiteFile.makeFolder(folder)
                return try Self.openOrReplace(path, maximumBytes: maximumBytes, logger: logger)
            } catch {
                throw MetricsError(error)
            }
        }
    }

    // Does not wait: the last reference may go on the thread itself.
    deinit { thread.close() }

    /// Stores samples; one that exists for the same app, node and second is replaced.
    /// - Parameter seen: for each sample the second of the first evaluation that knows it; nil: not told.
    public func append(_ samples: [Sample], seen: [Int64]? = nil) async throws(MetricsError) {
        guard !samples.isEmpty else { return }
        do throws(MetricsError) {
            try await use { file throws(SQLiteError) in
                try file.transaction { () throws(SQLiteError) in
                    for (index, sample) in samples.enumerated() {
                        let known = seen.flatMap { index < $0.count ? $0[index] : nil } ?? 0
                        try Self.insert(sample, into: "samples", of: file, seen: known)
                    }
                }
            }
            if setFailing(false) { logger.info("metrics cache stores samples again") }
        } catch {
            if !setFailing(true) {
                logger.warning("metrics cache can't store samples", metadata: ["error": "\(error)"])
            }
            throw error
        }
    }

    /// The seconds from `sinceSecond` on, by second, app and node.
    public func samples(sinceSecond: Int64) async throws(MetricsError) -> [Sample] {
        try await read("SELECT sample FROM samples WHERE second >= ? ORDER BY second, app, node", [.int(sinceSecond)])
    }

    /// The minutes that begin at `sinceSecond` or later, by second, app and node; each a sample of about 60 s of
    /// interval.
    /// - Parameter app: nil: all.
    public func minutes(app: AppName? = nil, sinceSecond: Int64) async throws(MetricsError) -> [Sample] {
        let all = "SELECT sample FROM minutes WHERE second >= ?"
        let order = "ORDER BY second, app, node"
        guard let app else { return try await read("\(all) \(order)", [.int(sinceSecond)]) }
        return try await read("\(all) AND app = ? \(order)", [.int(sinceSecond), .text(app.rawValue)])
    }

    /// One app's seconds from `sinceSecond` on, each with the evaluation that first knew it (0: not told).
    public func recorded(
        app: AppName, sinceSecond: Int64
    ) async throws(MetricsError) -> [(sample: Sample, seen: Int64)] {
        try await use { file throws(SQLiteError) in
            var samples: [(sample: Sample, seen: Int64)] = []
            try file.run(
                "SELECT sample, seen FROM samples WHERE second >= ? AND app = ? ORDER BY second, node",
                [.int(sinceSecond), .text(app.rawValue)]
            ) { columns in
                if let sample = Self.decode(columns.bytes(0)) { samples.append((sample, columns.int(1))) }
            }
            return samples
        }
    }

    /// A line of the record of evaluations; what is in it is the caller's business.
    public struct ScalingLine: Hashable, Sendable {
        public var app: AppName
        /// The last second it is about: it is kept for an hour from there.
        public var second: Int64
        public var text: String
        public init(app: AppName, second: Int64, text: String) {
            self.app = app
            self.second = second
            self.text = text
        }
    }

    /// Adds lines in this order, in one transaction.
    public func append(_ lines: [ScalingLine]) async throws(MetricsError) {
        guard !lines.isEmpty else { return }
        try await use { file throws(SQLiteError) in
            try file.transaction { () throws(SQLiteError) in
                for line in lines {
                    try file.run(
                        "INSERT INTO scaling (app, second, text) VALUES (?, ?, ?)",
                        [.text(line.app.rawValue), .int(line.second), .text(line.text)])
                }
            }
        }
    }

    /// The lines of an app that are about `sinceSecond` or later, in the order in which they were added.
    public func scalingLines(app: AppName, sinceSecond: Int64) async throws(MetricsError) -> [String] {
        try await use { file throws(SQLiteError) in
            var lines: [String] = []
            try file.run(
                "SELECT text FROM scaling WHERE app = ? AND second >= ? ORDER BY id",
                [.text(app.rawValue), .int(sinceSecond)]
            ) { columns in lines.append(columns.text(0)) }
            return lines
        }
    }

    /// Adds complete minutes up and deletes what is too old. To be called about once a minute. Works in slices: samples
    /// appended meanwhile get their turn between them.
    /// - Parameter nowSecond: seconds since 1970, by the clock that the samples have.
    public func prune(nowSecond: Int64) async throws(MetricsError) {
        let end = (nowSecond - Self.lateSeconds) / 60 * 60
        while try await use({ file throws(SQLiteError) in try Self.addUpNextMinute(before: end, of: file) }) {}
        let cutoffs = [
            ("samples", nowSecond - Self.rawSeconds, Self.sliceSeconds),
            ("scaling", nowSecond - Self.rawSeconds, Self.sliceSeconds),
            ("minutes", nowSecond - Self.minuteSeconds, Self.sliceSeconds * 60),
        ]
        for (table, cutoff, slice) in cutoffs {
            while try await use({ file throws(SQLiteError) in
                guard let oldest = try file.integer("SELECT min(second) FROM \(table)"), oldest < cutoff else {
                    return false
                }
                // min() of no rows is NULL, which reads as 0: then nothing is deleted and that is the end.
                try file.run("DELETE FROM \(table) WHERE second < ?", [.int(min(oldest + slice, cutoff))])
                return file.changes > 0
            }) {}
            // Left by a clock that ran ahead: no cutoff would ever reach them.
            try await use { file throws(SQLiteError) in
                try file.run("DELETE FROM \(table) WHERE second > ?", [.int(nowSecond + Self.rawSeconds)])
            }
        }
    }

    /// Finishes what was begun, then closes the file. Blocks meanwhile.
    public func shutdown() { thread.shutdown() }

    // MARK: On the thread

    /// Adds up the oldest minute that was not yet, in one transaction.
    /// - Returns: false when there is none before `end`.
    private static func addUpNextMinute(before end: Int64, of file: SQLiteFile) throws(SQLiteError) -> Bool {
        try file.transaction { () throws(SQLiteError) in
            // A clock that was ahead may have left a mark in the future.
            let done = min(try file.integer("SELECT until FROM progress") ?? 0, end)
            guard
                let oldest = try file.integer(
                    "SELECT second FROM samples WHERE second >= ? ORDER BY second LIMIT 1", [.int(done)]), oldest < end
            else {
                try file.run("UPDATE progress SET until = ?", [.int(end)])
                return false
            }
            let minute = oldest / 60 * 60
            var groups: [[String]: [Sample]] = [:]
            try file.run(
                "SELECT sample FROM samples WHERE second >= ? AND second < ?", [.int(minute), .int(minute + 60)]
            ) { columns in
                guard let sample = decode(columns.bytes(0)) else { return }
                groups[[sample.app.rawValue, sample.node.rawValue], default: []].append(sample)
            }
            for samples in groups.values {
                if let merged = Sample.merging(samples, second: minute) {
                    try insert(merged, into: "minutes", of: file)
                }
            }
            try file.run("UPDATE progress SET until = ?", [.int(minute + 60)])
            return true
        }
    }

    /// - Parameter seen: nil for minutes, which don't have it.
    private static func insert(
        _ sample: Sample, into table: String, of file: SQLiteFile, seen: Int64? = nil
    ) throws(SQLiteError) {
        var buffer = ByteBuffer()
        SampleCodec.encode(sample, into: &buffer)
        let values: [SQLiteFile.Value] = [
            .int(sample.second), .text(sample.app.rawValue), .text(sample.node.rawValue),
            .blob(Array(buffer.readableBytesView)),
        ]
        guard let seen else {
            return try file.run(
                "INSERT OR REPLACE INTO \(table) (second, app, node, sample) VALUES (?, ?, ?, ?)", values)
        }
        try file.run(
            "INSERT OR REPLACE INTO \(table) (second, app, node, sample, seen) VALUES (?, ?, ?, ?, ?)",
            values + [.int(seen)])
    }

    /// - Returns: nil for a layout of another release: the sample is left out, as if it had not been stored.
    private static func decode(_ bytes: [UInt8]) -> Sample? {
        var buffer = ByteBuffer(bytes: bytes)
        return try? SampleCodec.decode(from: &buffer)
    }

    private func read(_ sql: String, _ parameters: [SQLiteFile.Value]) async throws(MetricsError) -> [Sample] {
        try await use { file throws(SQLiteError) in
            var samples: [Sample] = []
            try file.run(sql, parameters) { columns in
                if let sample = Self.decode(columns.bytes(0)) { samples.append(sample) }
            }
            return samples
        }
    }

    /// Runs `body` with the file; when that turns out to be damaged, again with a new one.
    private func use<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteFile) throws(SQLiteError) -> Value
    ) async throws(MetricsError) -> Value {
        let (path, maximumBytes, logger) = (path, maximumBytes, logger)
        return try await thread.run { resource -> Result<Value, MetricsError> in
            guard let file = resource else { return .failure(.shutDown) }
            do throws(SQLiteError) {
                do throws(SQLiteError) {
                    return .success(try body(file))
                } catch  where error.isDamage {
                    let replacement = try Self.replace(
                        path, because: error, maximumBytes: maximumBytes, logger: logger)
                    resource = replacement
                    return .success(try body(replacement))
                } catch {
                    throw error
                }
            } catch {
                return .failure(MetricsError(error))
            }
        }.get()
    }

    /// - Returns: whether it was failing before.
    private func setFailing(_ value: Bool) -> Bool {
        isFailing.withLock { isFailing in
            defer { isFailing = value }
            return isFailing
        }
    }
}

// MARK: The file

extension MetricsDatabase {
    private static let schemaVersion: Int64 = 2

    private static func openOrReplace(
        _ path: String, maximumBytes: Int64?, logger: Logger
    ) throws(SQLiteError) -> SQLiteFile {
        do throws(SQLiteError) {
            let file = try open(path, maximumBytes: maximumBytes)
            try file.check()
            return file
        } catch  where error.isDamage {
            return try replace(path, because: error, maximumBytes: maximumBytes, logger: logger)
        } catch {
            throw error
        }
    }

    /// Keeps the damaged file as `metrics.db.damaged` (only the latest one, so that they can't fill the disk).
    private static func replace(
        _ path: String, because error: SQLiteError, maximumBytes: Int64?, logger: Logger
    ) throws(SQLiteError) -> SQLiteFile {
        for suffix in ["", "-wal"] {
            // Without such a file there is nothing to keep.
            rename(path + suffix, path + ".damaged" + suffix)
        }
        // The index of a write-ahead log that is no longer there would be believed.
        unlink(path + "-shm")
        logger.warning(
            "metrics.db is damaged: set aside, a new one is begun",
            metadata: ["reason": "\(error.message)", "kept": "\(path).damaged"])
        return try open(path, maximumBytes: maximumBytes)
    }

    private static func open(_ path: String, maximumBytes: Int64?) throws(SQLiteError) -> SQLiteFile {
        let file = try SQLiteFile(path: path, durability: .normal, isExclusive: false)
        let version = try file.integer("PRAGMA user_version") ?? 0
        guard version <= schemaVersion else {
            throw SQLiteError(code: SQLiteFile.damage, message: "schema \(version) is a newer release's")
        }
        if version == 0 {
            // Ordered by second, so that a window is one run of pages, and the oldest rows are next to each other.
            let columns = "(second INTEGER, app TEXT, node TEXT, sample BLOB NOT NULL, PRIMARY KEY (second, app, node))"
            try file.execute(
                """
                BEGIN IMMEDIATE;
                CREATE TABLE samples \(columns) WITHOUT ROWID;
                CREATE TABLE minutes \(columns) WITHOUT ROWID;
                CREATE TABLE progress (until INTEGER NOT NULL);
                INSERT INTO progress (until) VALUES (0);
                PRAGMA user_version = 1;
                COMMIT
                """)
        }
        if version < 2 {
            try file.execute(
                """
                BEGIN IMMEDIATE;
                ALTER TABLE samples ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
                CREATE TABLE scaling
                    (id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, second INTEGER NOT NULL, text TEXT NOT NULL);
                CREATE INDEX scaling_by_app ON scaling (app, second);
                CREATE INDEX scaling_by_second ON scaling (second);
                PRAGMA user_version = 2;
                COMMIT
                """)
        }
        if let maximumBytes {
            let pageBytes = try file.integer("PRAGMA page_size") ?? 4096
            try file.execute("PRAGMA max_page_count = \(max(maximumBytes / pageBytes, 1))")
        }
        return file
    }
}
