import CSQLite
import Foundation
import Logging
import MetricsCache
import OrchestryModel
import TestSupport
import Testing

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let alice = NodeID(unchecked: "alice")
let web = AppName(unchecked: "web")

/// Writes into a file behind its owner's back.
func overwrite(_ path: String, at offset: UInt64, with bytes: [UInt8]) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: path))
    defer { file.closeFile() }
    try file.seek(toOffset: offset)
    file.write(Data(bytes))
}

/// Copies a database and its write-ahead log as they are on disk now: what a crash would leave.
func crashCopy(_ name: String, from folder: TemporaryFolder) throws -> TemporaryFolder {
    let copy = try TemporaryFolder("crash")
    for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: folder.appending(name + suffix)) {
        try FileManager.default.copyItem(
            atPath: folder.appending(name + suffix), toPath: copy.appending(name + suffix))
    }
    return copy
}

@Suite(.timeLimit(.minutes(2)))
struct OutboxTests {
    private func event(_ text: String, details: JSONValue = [:]) -> Event {
        Event(
            node: NodeID(unchecked: "ignored"), time: WallTime(milliseconds: 1_700_000_000_123), app: web,
            kind: .instanceReady, message: text, details: details)
    }

    private func decision(_ replicas: Int) -> ScalingDecision {
        ScalingDecision(
            node: alice, epoch: Epoch(3), time: WallTime(milliseconds: 1_700_000_000_456), app: web, fromReplicas: 1,
            toReplicas: replicas, reason: "r", triggeredBy: "autoscaler", metrics: ["rps": 2.0, "n": 2],
            explanation: nil)
    }

    private func open(_ folder: TemporaryFolder, node: NodeID = alice) throws(OutboxError) -> Outbox {
        try Outbox(folder: folder.path, node: node, logger: quiet)
    }

    @Test func `what was stored comes back in order, whole, and until acknowledged`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        let details: JSONValue = ["half": 2.0, "whole": 2, "big": .int(.max), "text": "a\0b\u{1F600}", "none": nil]
        let first = try await outbox.append(
            events: [event("1", details: details), event("2")], decisions: [decision(4)])
        let second = try await outbox.append(events: [event("3")])
        #expect(second == Outbox.Sequences(events: first.events + 1, decisions: first.decisions))
        let (events, decisions) = try await outbox.pending(limit: 100)
        #expect(events.map(\.message) == ["1", "2", "3"])
        #expect(events.map(\.sequence) == [first.events - 1, first.events, first.events + 1])
        var expected = event("1", details: details)
        expected.node = alice
        expected.sequence = first.events - 1
        #expect(events[0] == expected)
        var expectedDecision = decision(4)
        expectedDecision.sequence = first.decisions
        #expect(decisions == [expectedDecision])
        #expect(try await outbox.pending(limit: 2).events.map(\.message) == ["1", "2"])
        #expect(outbox.counts == Outbox.Counts(events: 3, decisions: 1))

        try await outbox.acknowledge(eventsUpTo: first.events, decisionsUpTo: 0)
        #expect(try await outbox.pending(limit: 100).events.map(\.message) == ["3"])
        #expect(try await outbox.pending(limit: 100).decisions.count == 1)
        #expect(outbox.counts == Outbox.Counts(events: 1, decisions: 1))
        try await outbox.acknowledge(eventsUpTo: first.events, decisionsUpTo: 0)
        #expect(outbox.counts == Outbox.Counts(events: 1, decisions: 1))
    }

    @Test func `sequences go on after everything was acknowledged and after restarts`() async throws {
        let folder = try TemporaryFolder("outbox")
        var last = Outbox.Sequences(events: 0, decisions: 0)
        for round in 0..<3 {
            let outbox = try open(folder)
            let next = try await outbox.append(events: [event("a"), event("b")], decisions: [decision(2)])
            if round > 0 {
                #expect(next == Outbox.Sequences(events: last.events + 2, decisions: last.decisions + 1))
            }
            try await outbox.acknowledge(eventsUpTo: next.events, decisionsUpTo: next.decisions)
            #expect(outbox.counts == Outbox.Counts(events: 0, decisions: 0))
            #expect(try await outbox.append() == next)
            outbox.shutdown()
            last = next
        }
    }

    @Test func `a new file goes on above a lost one`() async throws {
        let folder = try TemporaryFolder("outbox")
        let lost = try open(folder)
        let before = try await lost.append(events: [event("lost")], decisions: [decision(2)])
        let written = Date.now
        lost.shutdown()
        for suffix in ["", "-wal", "-shm"] { unlink(folder.appending("outbox.db" + suffix)) }
        let isLater = await eventually { Date.now > written + 0.005 }
        #expect(isLater, "the clock must have moved on by more than was stored")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        let after = try await outbox.append(events: [event("new")], decisions: [decision(3)])
        #expect(after.events > before.events)
        #expect(after.decisions > before.decisions)
    }

    @Test func `callers at the same time each get sequences of their own`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        let lasts = try await withThrowingTaskGroup(of: (Int, Outbox.Sequences).self) { group in
            for caller in 0..<40 {
                group.addTask {
                    let events = (0..<3).map { self.event("\(caller).\($0)") }
                    return (caller, try await outbox.append(events: events))
                }
            }
            return try await group.reduce(into: [(Int, Outbox.Sequences)]()) { $0.append($1) }
        }
        let stored = try await outbox.pending(limit: 1000).events
        let numbers = Dictionary(uniqueKeysWithValues: stored.map { ($0.sequence, $0.message) })
        #expect(numbers.count == 120)
        for (caller, last) in lasts {
            #expect((0..<3).map { numbers[last.events - 2 + Int64($0)] } == (0..<3).map { "\(caller).\($0)" })
        }
        #expect(outbox.counts.events == 120)
    }

    @Test func `what was acknowledged to the caller is on disk`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        for number in 1...20 {
            let last = try await outbox.append(events: [event("\(number)")], decisions: [decision(number)])
            guard number % 5 == 0 else { continue }
            let copy = try crashCopy("outbox.db", from: folder)
            let survivor = try open(copy)
            defer { survivor.shutdown() }
            #expect(survivor.counts == Outbox.Counts(events: number, decisions: number))
            #expect(try await survivor.pending(limit: 100).events.last?.sequence == last.events)
            #expect(try await survivor.append(events: [event("next")]).events == last.events + 1)
        }
    }

    @Test func `a torn write-ahead log loses only what was not acknowledged`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        _ = try await outbox.append(events: [event("kept")])
        let copy = try crashCopy("outbox.db", from: folder)
        // A commit that the power cut interrupted: a frame of noise at the end.
        let log = try #require(FileHandle(forUpdatingAtPath: copy.appending("outbox.db-wal")))
        log.seekToEndOfFile()
        log.write(Data((0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 37) }))
        log.closeFile()
        let survivor = try open(copy)
        defer { survivor.shutdown() }
        #expect(try await survivor.pending(limit: 10).events.map(\.message) == ["kept"])
    }

    enum Damage: CaseIterable { case notADatabase, brokenPage }

    @Test(arguments: Damage.allCases)
    func `a damaged file stops the node with instructions`(_ damage: Damage) async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        for _ in 0..<50 { _ = try await outbox.append(events: [event(String(repeating: "x", count: 500))]) }
        outbox.shutdown()
        let path = folder.appending("outbox.db")
        switch damage {
        case .notADatabase: try overwrite(path, at: 0, with: Array("this is not a database at all".utf8))
        case .brokenPage: try overwrite(path, at: 4096, with: [UInt8](repeating: 0xAB, count: 4096))
        }
        do {
            try open(folder).shutdown()
            Issue.record("a damaged outbox was opened")
        } catch {
            guard case .damaged(path, _) = error else {
                Issue.record("expected damage, got \(error)")
                return
            }
            #expect(error.description.contains("Stop this node"))
            #expect(error.description.contains(".recover"))
        }
        #expect(FileManager.default.fileExists(atPath: path), "it is left for the operator")
    }

    @Test func `another node's outbox, and one in use, are refused`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        _ = try await outbox.append(events: [event("a")])
        var handle: OpaquePointer?
        sqlite3_open(folder.appending("outbox.db"), &handle)
        #expect(sqlite3_exec(handle, "DELETE FROM events", nil, nil, nil) == SQLITE_BUSY)
        sqlite3_close(handle)
        outbox.shutdown()
        do {
            try open(folder, node: NodeID(unchecked: "bob")).shutdown()
            Issue.record("another node's outbox was opened")
        } catch {
            guard case .inUse = error else {
                Issue.record("unexpected \(error)")
                return
            }
        }
        let again = try open(folder)
        #expect(again.counts.events == 1)
        again.shutdown()
    }

    @Test func `details that could not be read back do not damage the outbox`() async throws {
        let folder = try TemporaryFolder("outbox")
        let outbox = try open(folder)
        defer { outbox.shutdown() }
        var deep: JSONValue = 1
        for _ in 0..<200 { deep = [deep] }
        _ = try await outbox.append(events: [event("deep", details: deep), event("nan", details: [.double(.nan)])])
        #expect(try await outbox.pending(limit: 10).events.map(\.message) == ["deep", "nan"])
    }

    @Test func `after shutdown calls fail`() async throws {
        let outbox = try open(try TemporaryFolder("outbox"))
        outbox.shutdown()
        outbox.shutdown()
        await #expect(throws: OutboxError.shutDown) { try await outbox.append(events: [event("late")]) }
        await #expect(throws: OutboxError.shutDown) { _ = try await outbox.pending(limit: 1) }
    }
}
