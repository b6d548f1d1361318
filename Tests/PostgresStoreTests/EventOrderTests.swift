import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// Following events by id misses none.
@Suite(.needsPostgres, .timeLimit(.minutes(2)))
struct EventOrderTests {
    /// Follows from the beginning until it has `count`.
    private func follow(_ store: StateStore, until count: Int, limit: Int = 100) async throws -> [StoredEvent] {
        var seen: [StoredEvent] = []
        let isComplete = try await eventually(within: .seconds(20), every: .milliseconds(5)) {
            seen += try await store.events(after: seen.last?.id ?? 0, limit: limit)
            return seen.count >= count
        }
        #expect(isComplete, "\(seen.count) of \(count)")
        return seen
    }

    @Test func `an event that is committed late is not passed by`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let slow = try fixture.session(
            """
            BEGIN;
            INSERT INTO events (event_type, message, node_id, sequence, epoch) VALUES ('scaled', 'late', 'bob', 1, 1);
            SELECT pg_sleep(1);
            COMMIT;
            """)
        try #require(await eventually { try await fixture.isSleeping })
        let store = fixture.store
        async let written: Void = store.write(
            [.recordEvent(events(2...2)[0])], epoch: epoch, leader: alice)
        let seen = try await follow(store, until: 2)
        try await written
        #expect(try await slow.ended() == 0)
        #expect(seen.map(\.event.message) == ["late", "event 2"])
        #expect(seen.map(\.id) == seen.map(\.id).sorted())
        #expect(try await store.newestEventID() == seen.last?.id)
    }

    @Test func `events of many writers are followed without gap or repeat`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let store = fixture.store
        async let seen = follow(store, until: 4 * 300, limit: 37)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<4 {
                let node = NodeID(unchecked: "node-\(number)")
                group.addTask {
                    for first in stride(from: Int64(1), to: 301, by: 20) {
                        try await store.write(
                            [.appendEvents(node: node, events(first...first + 19, of: node))], epoch: epoch,
                            leader: alice)
                    }
                }
            }
            try await group.waitForAll()
        }
        let followed = try await seen
        #expect(followed.count == 1_200)
        let stored = try await fixture.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM events")
        #expect(followed.map { String($0.id) }.joined(separator: ",") == stored)
        #expect(Set(followed.map { "\($0.event.node) \($0.event.sequence)" }).count == 1_200)
    }

    @Test func `events that move into a new partition are not missed meanwhile`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write(
            [.appendEvents(node: alice, events(1...5))], epoch: epoch, leader: alice)
        let mover = try fixture.session(
            """
            BEGIN;
            SELECT orchestry_add_partition('events', '2023-11-01 00:00+00', interval '1 month');
            SELECT pg_sleep(1);
            COMMIT;
            """)
        try #require(await eventually { try await fixture.isSleeping })
        #expect(try await fixture.store.events(after: 0, limit: 100).count == 5)
        #expect(try await fixture.store.newestEventID() > 0)
        #expect(try await mover.ended() == 0)
        #expect(try await fixture.sql("SELECT count(*) FROM events_20231101") == "5")
    }
}
