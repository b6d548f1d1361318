import OrchestryModel

/// Brings what several instances write into the order of time, each instance's own lines in the order of writing.
///
/// A line may be shown when no instance can come with an earlier one: each says, with its lines, up to what time it has said
/// everything (by the clock of its node, so the order between nodes is as good as their clocks). One that is silent holds the
/// others up for a while only; what it brings after that is shown when it comes. Nothing is ever left out.
package struct LogMerger: Sendable {
    package typealias Line = Presentation.LogLine

    private struct Source {
        /// With the time that each is sorted by: never before that of an earlier one, whatever the clock did.
        var lines: [(line: Line, time: Int64)] = []
        var lastTime = Int64.min
        /// Everything up to here is in `lines` or was shown; milliseconds since 1970.
        var until: Int64 = .min
        var heard: Instant
        var isOver = false
    }

    private var sources: [InstanceID: Source] = [:]
    private let patience: Duration
    private let slackMilliseconds: Int64

    /// - Parameters:
    ///   - patience: how long a silent instance holds up the others.
    ///   - slackMilliseconds: how much later than its time a line may reach the reader on its own node.
    package init(patience: Duration = .seconds(5), slackMilliseconds: Int64 = 500) {
        self.patience = patience
        self.slackMilliseconds = slackMilliseconds
    }

    /// An instance that will be heard.
    package mutating func join(_ instance: InstanceID, at now: Instant) {
        if sources[instance] == nil { sources[instance] = Source(heard: now) }
    }

    /// - Parameter until: the instance has nothing earlier than this; milliseconds since 1970.
    package mutating func add(_ lines: [Line], of instance: InstanceID, until: Int64, at now: Instant) {
        var source = sources[instance] ?? Source(heard: now)
        for line in lines {
            source.lastTime = max(source.lastTime, Int64((line.timestampSeconds * 1_000).rounded()))
            source.lines.append((line, source.lastTime))
        }
        source.until = max(source.until, until - slackMilliseconds)
        source.heard = now
        sources[instance] = source
    }

    /// It will bring nothing more; what it brought is still shown in its place.
    package mutating func end(_ instance: InstanceID) { sources[instance]?.isOver = true }

    /// Bytes of text that wait for their turn.
    package func waitingBytes(of instance: InstanceID) -> Int {
        sources[instance]?.lines.reduce(0) { $0 + $1.line.message.utf8.count + 64 } ?? 0
    }

    /// The lines whose turn it is, oldest first.
    package mutating func take(at now: Instant) -> [Line] {
        var limit = Int64.max
        for source in sources.values where !source.isOver && now < source.heard + patience {
            limit = min(limit, source.until)
        }
        var ready: [(line: Line, time: Int64)] = []
        for instance in sources.keys.sorted() {
            guard var source = sources[instance] else { continue }
            let count = source.lines.prefix { $0.time <= limit }.count
            ready += source.lines[..<count]
            source.lines.removeFirst(count)
            sources[instance] = source.isOver && source.lines.isEmpty ? nil : source
        }
        // By place among equals: `sorted` is not promised to be stable.
        return ready.enumerated().sorted {
            ($0.element.time, $0.offset) < ($1.element.time, $1.offset)
        }.map(\.element.line)
    }
}
