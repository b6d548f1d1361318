import OrchestryModel
import RestFacade
import Testing

struct EventWindowTests {
    private func events(_ ids: [Int64]) -> [NumberedEvent] {
        ids.map { NumberedEvent(id: $0, event: Samples.event($0)) }
    }

    private func ids(_ answer: EventWindow.Answer) -> [Int64]? {
        if case .events(let found) = answer { found.map(\.id) } else { nil }
    }

    @Test func `gives what comes after an id, wherever that lies between ids`() {
        var window = EventWindow(after: 10, capacity: 100)
        #expect(window.events(after: 10, limit: 5) == .nothing)
        window.append(events([12, 13, 17]))
        #expect(ids(window.events(after: 10, limit: 5)) == [12, 13, 17])
        #expect(ids(window.events(after: 11, limit: 2)) == [12, 13])
        #expect(ids(window.events(after: 12, limit: 5)) == [13, 17])
        #expect(ids(window.events(after: 16, limit: 5)) == [17])
        #expect(window.events(after: 17, limit: 5) == .nothing)
        // Another node is ahead.
        #expect(window.events(after: 40, limit: 5) == .nothing)
        #expect(window.events(after: 9, limit: 5) == .tooOld)
    }

    @Test func `is bounded and says what it no longer has`() {
        var window = EventWindow(after: 0, capacity: 8)
        for id in stride(from: Int64(2), through: 80, by: 2) { window.append(events([id])) }
        #expect(window.end == 80)
        let kept = ids(window.events(after: window.start, limit: 100)) ?? []
        #expect((8...10).contains(kept.count))
        #expect(kept.last == 80)
        #expect(kept.first == window.start + 2)
        #expect(window.events(after: window.start - 1, limit: 5) == .tooOld)
    }

    @Test func `a follower through any window sizes and limits gets each event once`() {
        var generator = SeededGenerator(state: 7)
        for _ in 0..<200 {
            var window = EventWindow(after: 0, capacity: Int.random(in: 1...20, using: &generator))
            let all = (1...60).map { Int64($0 * 3) }
            var (given, seen, position) = (0, [Int64](), Int64(0))
            while seen.count < all.count {
                let more = Int.random(in: 0...5, using: &generator)
                window.append(events(Array(all[given..<min(given + more, all.count)])))
                given = min(given + more, all.count)
                switch window.events(after: position, limit: Int.random(in: 1...7, using: &generator)) {
                case .nothing: continue
                // PostgreSQL has them.
                case .tooOld: seen += all.filter { $0 > position && $0 <= window.start }
                case .events(let found): seen += found.map(\.id)
                }
                position = seen.last ?? 0
            }
            #expect(seen == all)
        }
    }
}

struct OverviewBoardTests {
    private func row(_ name: String, _ ready: Int) -> JSONValue { ["name": .string(name), "ready": JSONValue(ready)] }

    private func names(_ shown: JSONValue?) -> [String] {
        shown?["apps"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
    }

    @Test func `the first gets everything, then only what changed`() throws {
        var board = OverviewBoard()
        #expect(board.changes(after: 0) == nil)
        let isNew = board.update(rows: [row("a", 1), row("b", 1)], cluster: ["term": 1])
        #expect(isNew)
        let first = try #require(board.changes(after: 0))
        #expect(first.shown["full"] == true)
        #expect(names(first.shown) == ["a", "b"])
        #expect(first.shown["cluster"]?["term"] == 1)
        #expect(board.changes(after: first.version) == nil)

        let isDifferent = board.update(rows: [row("a", 1), row("b", 1)], cluster: ["term": 1])
        #expect(!isDifferent)
        #expect(board.changes(after: first.version) == nil)

        _ = board.update(rows: [row("b", 2), row("c", 0)], cluster: ["term": 1])
        let second = try #require(board.changes(after: first.version))
        #expect(second.shown["full"] == false)
        #expect(names(second.shown) == ["b", "c"])
        #expect(second.shown["gone"] == ["a"])
        #expect(second.shown["cluster"] == nil)

        // No answer about the apps: they stay; the cluster is told.
        _ = board.update(rows: nil, cluster: ["term": 2])
        let third = try #require(board.changes(after: second.version))
        #expect(names(third.shown).isEmpty)
        #expect(third.shown["gone"] == [])
        #expect(third.shown["cluster"]?["term"] == 2)
    }

    @Test func `a client limited to some apps sees these, and nothing of the cluster`() throws {
        var board = OverviewBoard()
        _ = board.update(rows: [row("a", 1), row("b", 1)], cluster: ["term": 1])
        let own: Set<AppName> = [AppName(unchecked: "b")]
        let first = try #require(board.changes(after: 0, visible: own))
        #expect(names(first.shown) == ["b"])
        #expect(first.shown["cluster"] == nil)
        _ = board.update(rows: [row("b", 1)], cluster: ["term": 2])
        let second = try #require(board.changes(after: first.version, visible: own))
        #expect(names(second.shown).isEmpty)
        #expect(second.shown["gone"] == [])
        #expect(second.shown["cluster"] == nil)

        let filter = EventFilter(visible: own)
        #expect(!filter.admits(Samples.event(1)))
        var event = Samples.event(2)
        event.app = AppName(unchecked: "b")
        #expect(filter.admits(event))
        event.app = nil
        #expect(!filter.admits(event))
    }

    @Test func `an app that came back is not gone, and who missed too much gets everything`() throws {
        var board = OverviewBoard()
        _ = board.update(rows: [row("a", 1)], cluster: .null)
        let known = try #require(board.changes(after: 0)).version
        _ = board.update(rows: [], cluster: .null)
        _ = board.update(rows: [row("a", 3)], cluster: .null)
        let back = try #require(board.changes(after: known)).shown
        #expect(names(back) == ["a"])
        #expect(back["gone"] == [])

        for number in 0..<1_200 { _ = board.update(rows: [row("n\(number)", 0)], cluster: .null) }
        let late = try #require(board.changes(after: known)).shown
        #expect(late["full"] == true)
        #expect(names(late) == ["n1199"])
    }
}
