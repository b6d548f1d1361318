import OrchestryModel

/// How far a client of `GET /events/stream` has come.
package struct StreamCursor: Hashable, Sendable {
    /// The highest event id that was looked at, shown or not.
    package var events: Int64
    /// The version of the overview that the client has; 0: none yet. nil: it does not want any.
    package var overview: UInt64?
    package init(events: Int64, overview: UInt64? = nil) {
        self.events = events
        self.overview = overview
    }
}

/// Which events a client wants.
package struct EventFilter: Hashable, Sendable {
    /// Empty: of all apps, and of none.
    package var apps: Set<AppName>
    /// Words of `EventKind`; empty: all.
    package var kinds: Set<String>
    /// What the client may see; nil: everything. Else only of these apps, and nothing about the cluster.
    package var visible: Set<AppName>?
    package init(apps: Set<AppName> = [], kinds: Set<String> = [], visible: Set<AppName>? = nil) {
        self.apps = apps
        self.kinds = kinds
        self.visible = visible
    }

    package func admits(_ event: Event) -> Bool {
        (visible == nil || event.app.map { visible?.contains($0) == true } ?? false)
            && (apps.isEmpty || event.app.map(apps.contains) ?? false) && (kinds.isEmpty || kinds.contains(event.kind))
    }
}

/// An event with its place in the order of all.
package struct NumberedEvent: Hashable, Sendable {
    package var id: Int64
    package var event: Event
    package init(id: Int64, event: Event) {
        self.id = id
        self.event = event
    }
}

/// What a client gets next.
package struct StreamPage: Sendable {
    /// Those that its filter admits, ids rising.
    package var events: [NumberedEvent] = []
    /// What of the overview changed since the client's version; nil: nothing.
    package var overview: JSONValue?
    /// To be given with the next question.
    package var cursor: StreamCursor
    package init(cursor: StreamCursor) { self.cursor = cursor }

    package var isEmpty: Bool { events.isEmpty && overview == nil }
}

/// The newest events, without a gap: what one reader of PostgreSQL keeps for all clients of its node. Bounded.
package struct EventWindow: Sendable {
    package enum Answer: Equatable {
        /// There is nothing above the id yet.
        case nothing
        /// Older than what is kept: PostgreSQL has it.
        case tooOld
        /// The next ones, ids rising, at least one.
        case events(ArraySlice<NumberedEvent>)
    }

    /// All events with ids in `start + 1 ... end` are here.
    package private(set) var start: Int64
    package private(set) var end: Int64
    private var kept: [NumberedEvent] = []
    private let capacity: Int

    /// - Parameters:
    ///   - id: nothing up to it is kept.
    ///   - capacity: events, at least 1.
    package init(after id: Int64, capacity: Int) {
        start = id
        end = id
        self.capacity = max(capacity, 1)
    }

    /// - Parameter events: all that there are from `end + 1` to the last of them, ids rising.
    package mutating func append(_ events: [NumberedEvent]) {
        precondition(events.first.map { $0.id > end } ?? true, "events \(events.first?.id ?? 0) after \(end)")
        guard let last = events.last else { return }
        kept += events
        end = last.id
        // Not for each one that comes: the rest moves up each time.
        guard kept.count > capacity + capacity / 4 else { return }
        let dropped = kept.count - capacity
        start = kept[dropped - 1].id
        kept.removeFirst(dropped)
    }

    /// - Parameter limit: at least 1.
    package func events(after id: Int64, limit: Int) -> Answer {
        // Another node's window may be ahead of this one.
        if id >= end { return .nothing }
        if id < start { return .tooOld }
        // The first with a higher id, by halving.
        var (low, high) = (0, kept.count)
        while low < high {
            let middle = (low + high) / 2
            if kept[middle].id > id { high = middle } else { low = middle + 1 }
        }
        return .events(kept[low..<min(low + max(limit, 1), kept.count)])
    }
}

/// What all apps and the cluster look like now, for clients that are told what changed. Bounded by the number of apps.
package struct OverviewBoard: Sendable {
    private var version: UInt64 = 0
    private var apps: [String: (row: JSONValue, version: UInt64)] = [:]
    private var gone: [(name: String, version: UInt64)] = []
    private var cluster: (value: JSONValue, version: UInt64) = (.null, 0)
    /// Clients with an older version get everything.
    private var oldestKnown: UInt64 = 0
    private static let mostGone = 1_000

    package init() {}

    /// - Parameters:
    ///   - rows: of all apps, each with its `name`; nil: not known now, what was known stands.
    ///   - cluster: as shown.
    /// - Returns: whether anything is different.
    package mutating func update(rows: [JSONValue]?, cluster shown: JSONValue) -> Bool {
        let next = version + 1
        var isChanged = false
        if shown != cluster.value {
            cluster = (shown, next)
            isChanged = true
        }
        if let rows {
            var seen: Set<String> = []
            for row in rows {
                guard let name = row["name"]?.stringValue else { continue }
                seen.insert(name)
                if apps[name]?.row != row {
                    apps[name] = (row, next)
                    isChanged = true
                }
            }
            for name in apps.keys.filter({ !seen.contains($0) }).sorted() {
                apps[name] = nil
                gone.append((name, next))
                isChanged = true
            }
        }
        if isChanged { version = next }
        if gone.count > Self.mostGone {
            oldestKnown = gone[gone.count - Self.mostGone - 1].version
            gone.removeFirst(gone.count - Self.mostGone)
        }
        return isChanged
    }

    /// What a client with that version does not have; nil: it has everything.
    /// - Parameter visible: as in `EventFilter`.
    package func changes(
        after known: UInt64, visible: Set<AppName>? = nil
    ) -> (shown: JSONValue, version: UInt64)? {
        guard version > known else { return nil }
        // A version of another node's, or from before this one's restart, is higher or means nothing: cursors of the
        // overview never leave their connection, so neither can happen.
        let isFull = known == 0 || known < oldestKnown
        let base = isFull ? 0 : known
        let mayShow = { (name: String) in visible?.contains(AppName(unchecked: name)) != false }
        let changed = apps.filter { $0.value.version > base && mayShow($0.key) }.sorted { $0.key < $1.key }
        let rows: [JSONValue] = changed.map(\.value.row)
        let left: [String] =
            isFull ? [] : gone.filter { $0.version > base && apps[$0.name] == nil && mayShow($0.name) }.map(\.name)
        var shown: [String: JSONValue] = [
            "full": .bool(isFull), "apps": .array(rows), "gone": .array(left.map { JSONValue.string($0) }),
        ]
        if visible == nil, cluster.version > base { shown["cluster"] = cluster.value }
        return (.object(shown), version)
    }
}
