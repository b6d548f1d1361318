import Logging
import OrchestryModel
import PostgresStore
import RestFacade

/// What the streams of this node's clients show: one reader of PostgreSQL's events and one of the leader's overview,
/// however many clients there are, and none while there is no client.
///
/// Events come by looking each 200 ms for ids above the last one seen. (PostgreSQL's NOTIFY would need a connection of its
/// own on each node, and a look after each reconnect all the same.)
actor LiveFeed {
    struct Sources: Sendable {
        var newestEvent: @Sendable () async throws(StoreError) -> Int64
        /// After an id, at most so many.
        var events: @Sendable (Int64, Int) async throws(StoreError) -> [StoredEvent]
        /// The rows of all apps; nil: not known now.
        var overview: @Sendable () async -> [JSONValue]?
        var cluster: @Sendable () async -> JSONValue
    }

    private static let pollInterval = Duration.milliseconds(200)
    private static let overviewInterval = Duration.seconds(1)
    /// Longer than a heartbeat, at which every client asks anew.
    private static let lingering = Duration.seconds(30)
    private static let windowEvents = 2_000
    private static let pollLimit = 1_000

    private let sources: Sources
    private let logger: Logger
    private var window: EventWindow?
    private var board = OverviewBoard()
    private var eventsAsked: ContinuousClock.Instant?
    private var overviewAsked: ContinuousClock.Instant?
    private var isStopped = false
    private var isFailing = false
    /// There is something new, or the end.
    private let changes = ChangeSignal()
    /// A client has come.
    private let asked = ChangeSignal()

    init(sources: Sources, logger: Logger) {
        self.sources = sources
        self.logger = logger
    }

    /// Runs until cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.followEvents() }
            group.addTask { await self.followOverview() }
        }
    }

    /// Ends all streams.
    func stop() {
        isStopped = true
        changes.notify()
    }

    func newestEventID() async throws(Problem) -> Int64 {
        do throws(StoreError) {
            return try await sources.newestEvent()
        } catch {
            throw .storeUnavailable("Events can't be read now: \(error)")
        }
    }

    /// See `ControlPlane.nextStreamPage`.
    func next(
        after cursor: StreamCursor, _ filter: EventFilter, limit: Int, atMost: Duration
    ) async throws(Problem) -> StreamPage? {
        let end = ContinuousClock.now + atMost
        var page = StreamPage(cursor: cursor)
        while !isStopped, !Task.isCancelled {
            let seen = changes.count
            note(cursor)
            let more = try await take(into: &page, filter, limit: limit)
            if let known = page.cursor.overview, let changed = board.changes(after: known, visible: filter.visible) {
                page.overview = changed.shown
                page.cursor.overview = changed.version
            }
            let rest = end - ContinuousClock.now
            if !page.isEmpty || rest <= .zero { return page }
            if !more { await changes.wait(after: seen, atMost: rest) }
        }
        return nil
    }

    private func note(_ cursor: StreamCursor) {
        let now = ContinuousClock.now
        let isNew = !isFresh(eventsAsked) || cursor.overview != nil && !isFresh(overviewAsked)
        eventsAsked = now
        if cursor.overview != nil { overviewAsked = now }
        if isNew { asked.notify() }
    }

    private func isFresh(_ instant: ContinuousClock.Instant?) -> Bool {
        instant.map { ContinuousClock.now - $0 < Self.lingering } ?? false
    }

    /// Moves the page's cursor over the next events.
    /// - Returns: whether there may be more at once.
    private func take(into page: inout StreamPage, _ filter: EventFilter, limit: Int) async throws(Problem) -> Bool {
        let position = page.cursor.events
        switch window?.events(after: position, limit: limit) {
        case .nothing?, nil: return false
        case .events(let found)?:
            page.events = found.filter { filter.admits($0.event) }
            page.cursor.events = found.last?.id ?? position
        case .tooOld?:
            let windowStart = window?.start ?? position
            let found: [StoredEvent]
            do throws(StoreError) {
                found = try await sources.events(position, limit)
            } catch {
                throw .storeUnavailable("Events can't be read now: \(error)")
            }
            page.events = found.filter { filter.admits($0.event) }.map { NumberedEvent(id: $0.id, event: $0.event) }
            // None left of those before the window: retention has taken them.
            page.cursor.events = found.last?.id ?? max(position, windowStart)
        }
        return true
    }

    // MARK: Reading

    private func followEvents() async {
        while !Task.isCancelled {
            let seen = asked.count
            guard isFresh(eventsAsked) else {
                window = nil
                await asked.wait(after: seen, atMost: .seconds(3_600))
                continue
            }
            do throws(StoreError) {
                // Read first: actors take other calls while they wait.
                var current: EventWindow
                if let window {
                    current = window
                } else {
                    current = EventWindow(after: try await sources.newestEvent(), capacity: Self.windowEvents)
                }
                let found = try await sources.events(current.end, Self.pollLimit)
                current.append(found.map { NumberedEvent(id: $0.id, event: $0.event) })
                let isFirst = window == nil
                window = current
                isFailing = false
                if isFirst || !found.isEmpty { changes.notify() }
                if found.count == Self.pollLimit { continue }
            } catch {
                if !isFailing {
                    logger.warning(
                        "Events can't be read for streams; they wait and go on later", metadata: ["error": "\(error)"])
                }
                isFailing = true
            }
            do { try await Task.sleep(for: Self.pollInterval) } catch { return }
        }
    }

    private func followOverview() async {
        while !Task.isCancelled {
            let seen = asked.count
            guard isFresh(overviewAsked) else {
                await asked.wait(after: seen, atMost: .seconds(3_600))
                continue
            }
            let rows = await sources.overview()
            let cluster = await sources.cluster()
            if board.update(rows: rows, cluster: cluster) { changes.notify() }
            do { try await Task.sleep(for: Self.overviewInterval) } catch { return }
        }
    }
}
