import DockerEngine
import Logging
import OrchestryModel

/// What a follower of an instance's output has had, as text between nodes.
struct LogCursor: Hashable, Sendable {
    var container: String
    /// Of the reader on the instance's node that gave the line, and the line's number there.
    var reader: UInt64
    var number: Int
    /// The line's time, for a new reader; nil: there has been none yet.
    var position: LogLine.Position?

    var text: String {
        let time = position.map { "\($0.time.milliseconds) \($0.nanoseconds)" } ?? ""
        return "\(container) \(reader) \(number) \(time)"
    }

    init(container: String, reader: UInt64, number: Int, position: LogLine.Position?) {
        self.container = container
        self.reader = reader
        self.number = number
        self.position = position
    }

    /// nil: not a cursor.
    init?(text: String) {
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count >= 4, let reader = UInt64(parts[1]), let number = Int(parts[2]) else { return nil }
        self.init(container: String(parts[0]), reader: reader, number: number, position: nil)
        if parts.count == 5, let milliseconds = Int64(parts[3]), let nanoseconds = Int(parts[4]) {
            position = LogLine.Position(time: WallTime(milliseconds: milliseconds), nanoseconds: nanoseconds)
        }
    }
}

/// The next lines of an instance, for one follower.
struct LogPage: Sendable {
    var container = ""
    var lines: [LogLine] = []
    /// To ask with next; nil: as before.
    var cursor: LogCursor?
    /// Nothing earlier will come; milliseconds since 1970. nil: not known yet.
    var until: Int64?
    /// There are more lines here already.
    var hasMore = false
    /// There will be no more lines.
    var isOver = false
}

/// Readers of containers' output on this node, one for each follower and instance. A reader takes from the engine only what
/// its follower fetches, up to a small buffer: a follower that stays away costs nothing more, and loses nothing, because the
/// engine keeps what was written. One that was away for long, or whose reader went with this process, goes on at the time
/// of its last line.
actor LogTails {
    private struct Key: Hashable {
        var session: String
        var instance: InstanceID
    }

    private final class Tail {
        let container: String
        let reader: UInt64
        var task: Task<Void, Never>?
        var lines: [(number: Int, line: LogLine)] = []
        var bytes = 0
        var next = 1
        var isOpen = false
        var isOver = false
        /// It ended before its container did: the next one goes on after its last line.
        var hasFailed = false
        var asked = ContinuousClock.now
        var room: CheckedContinuation<Void, Never>?

        init(container: String) {
            self.container = container
            reader = UInt64.random(in: 1 ... .max)
        }
    }

    private static let mostTails = 1_000
    private static let bufferBytes = 512 << 10
    /// Far below what would delay other frames of the connection.
    private static let pageBytes = 64 << 10
    private static let idle = Duration.seconds(15)

    private let engine: DockerEngine
    private let logger: Logger
    private var tails: [Key: Tail] = [:]
    private var isFull = false

    init(engine: DockerEngine, logger: Logger) {
        self.engine = engine
        self.logger = logger
    }

    /// Lets go of readers that nobody asks for any more. Runs until cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { break }
            for (key, tail) in tails where ContinuousClock.now - tail.asked > Self.idle { drop(key) }
        }
        for key in tails.keys { drop(key) }
    }

    /// - Parameters:
    ///   - container: the instance's container now; nil: it has none.
    ///   - exists: whether the instance is one of this node's still.
    ///   - tail: how many of the last lines to begin with, without a cursor; nil: all.
    func page(
        session: String, instance: InstanceID, container: String?, exists: Bool, cursor: LogCursor?, tail: Int?,
        now: WallTime
    ) -> LogPage {
        let key = Key(session: session, instance: instance)
        if let old = tails[key], old.isOver, old.lines.allSatisfy({ $0.number <= cursor?.number ?? 0 }),
            old.hasFailed || old.container != container
        {
            drop(key)
        }
        var page = LogPage()
        guard let current = tails[key] ?? open(key, container: container, cursor: cursor, tail: tail) else {
            // A container on its way has written nothing yet.
            page.until = now.milliseconds
            page.isOver = !exists
            return page
        }
        current.asked = .now
        if let cursor, cursor.reader == current.reader {
            // What it has had may go.
            let had = current.lines.prefix { $0.number <= cursor.number }
            current.bytes -= had.reduce(0) { $0 + Self.size($1.line) }
            current.lines.removeFirst(had.count)
            if current.bytes < Self.bufferBytes { makeRoom(current) }
        }
        page.container = current.container
        var bytes = 0
        for (number, line) in current.lines where bytes < Self.pageBytes {
            page.lines.append(line)
            bytes += Self.size(line)
            page.cursor = LogCursor(
                container: current.container, reader: current.reader, number: number, position: line.position)
        }
        if page.lines.count < current.lines.count {
            page.until = page.lines.last?.time.milliseconds
            page.hasMore = true
        } else if current.isOpen {
            page.until = now.milliseconds
            page.isOver = current.isOver && !exists
        }
        return page
    }

    private func open(_ key: Key, container: String?, cursor: LogCursor?, tail: Int?) -> Tail? {
        guard let container else { return nil }
        guard tails.count < Self.mostTails else {
            if !isFull {
                logger.warning(
                    "As much output is followed on this node as may be: further followers wait until one goes",
                    metadata: ["instance": "\(key.instance)", "readers": "\(tails.count)"])
            }
            isFull = true
            return nil
        }
        isFull = false
        let opened = Tail(container: container)
        tails[key] = opened
        let last = cursor.flatMap { $0.container == container ? $0.position : nil }
        // The next container of an instance that is followed already is followed from its first line.
        let wanted = cursor == nil ? tail : nil
        let reader = opened.reader
        // Ended by `drop`, or with the container.
        opened.task = Task { await self.read(key, reader, container: container, after: last, tail: wanted) }
        return opened
    }

    private func read(_ key: Key, _ reader: UInt64, container: String, after last: LogLine.Position?, tail: Int?) async
    {
        do throws(EngineError) {
            try await engine.followLogs(
                container, after: last, tail: tail, opened: { await self.stands(key, reader) },
                { await self.put($0, key, reader) })
        } catch {
            if error.code != .cancelled {
                // A container that is gone has no more to say; else the follower goes on with a new reader.
                logger.debug(
                    "Output can't be followed", metadata: ["instance": "\(key.instance)", "error": "\(error)"])
            }
            live(key, reader)?.hasFailed = error.code != .notFound
        }
        if live(key, reader)?.hasFailed == false { stands(key, reader) }
        live(key, reader)?.isOver = true
    }

    private func stands(_ key: Key, _ reader: UInt64) { live(key, reader)?.isOpen = true }

    private func live(_ key: Key, _ reader: UInt64) -> Tail? {
        tails[key].flatMap { $0.reader == reader ? $0 : nil }
    }

    /// Returns when there is room for more.
    private func put(_ lines: [LogLine], _ key: Key, _ reader: UInt64) async {
        guard let tail = live(key, reader) else { return }
        for line in lines {
            tail.lines.append((tail.next, line))
            tail.next += 1
            tail.bytes += Self.size(line)
        }
        guard tail.bytes >= Self.bufferBytes else { return }
        await withCheckedContinuation { tail.room = $0 }
    }

    private func drop(_ key: Key) {
        guard let tail = tails.removeValue(forKey: key) else { return }
        tail.task?.cancel()
        makeRoom(tail)
    }

    private func makeRoom(_ tail: Tail) {
        tail.room?.resume()
        tail.room = nil
    }

    private static func size(_ line: LogLine) -> Int { line.text.utf8.count + 48 }
}
