import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct RolloutStoreTests {
    private func record(
        _ revision: Int, from: Int? = 1, _ state: RolloutRecord.State = .running, reason: String = "",
        ended: WallTime? = nil
    ) -> RolloutRecord {
        RolloutRecord(
            app: web, revision: revision, from: from, state: state, phase: .canary, reason: reason, startedAt: noon,
            endedAt: ended)
    }

    @Test func `a rollout outlives its leader, with the spec to go back to and the pause`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: [StateChange]) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        let first = application()
        var second = application(revision: 2)
        second.spec.image = "shop:2"
        second.equalRevisions = [1, 2]
        try await write([
            .saveApplication(first),
            .saveRevision(web, revision: 1, document: first.document, spec: first.spec, at: noon),
            .saveApplication(second),
            .saveRevision(web, revision: 2, document: second.document, spec: second.spec, at: noon),
            .saveRollout(record(2)), .pauseRollout(web, revision: 2, true),
        ])
        var expected = record(2)
        expected.isPaused = true
        #expect(try await fixture.store.rollouts(of: web) == [expected])
        expected.previousSpec = first.spec
        let loaded = try await fixture.store.load()
        #expect(loaded.rollouts == [expected])
        #expect(loaded.applications.first?.equalRevisions == [1, 2])
        // Written behind by the leader, it does not undo the pause.
        try await write([.saveRollout(record(2))])
        #expect(try await fixture.store.load().rollouts == [expected])
        // Past its end, nothing makes it run again.
        let ended = record(2, .failed, reason: "it broke", ended: time(1_700_000_100))
        try await write([.saveRollout(ended), .saveRollout(record(2))])
        #expect(try await fixture.store.rollouts(of: web) == [ended])
        #expect(try await fixture.store.load().rollouts == [ended], "no spec to go back to any more")
        // Of an app's revisions only the present one is what a leader goes on with.
        try await write([.saveApplication(application(revision: 3)), .saveRollout(record(3, from: nil))])
        #expect(try await fixture.store.load().rollouts.map(\.revision) == [3])
        #expect(try await fixture.store.rollouts(of: web).map(\.revision) == [3, 2])
    }

    @Test func `what people set of a node outlives its reports, and a deadline goes by the database's clock`()
        async throws
    {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: [StateChange]) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        let info = NodeInfo(id: alice, role: .worker, host: "a", clusterPort: 7, apiURL: "http://a")
        try await write([.saveNode(info, seenAt: noon)])
        #expect(try await fixture.store.nodes().map(\.scheduling) == [NodeScheduling(node: alice)])
        try await write([
            .saveScheduling(NodeScheduling(node: alice, isCordoned: true, isDraining: true, drainSecondsLeft: 120)),
            .saveNode(info, seenAt: time(1_700_000_100)),
        ])
        let draining = try #require(try await fixture.store.load().nodes.first?.scheduling)
        #expect(draining.isCordoned && draining.isDraining)
        #expect((60...120).contains(draining.drainSecondsLeft ?? 0), "\(draining)")
        try await fixture.sql("UPDATE cluster_nodes SET drain_deadline = NOW() - interval '1 hour'")
        #expect(try await fixture.store.nodes().first?.scheduling.drainSecondsLeft == 0)
        try await write([.endNodeDrain(alice)])
        #expect(try await fixture.store.nodes().map(\.scheduling) == [NodeScheduling(node: alice, isCordoned: true)])
        try await write([.saveScheduling(NodeScheduling(node: alice))])
        #expect(try await fixture.store.nodes().map(\.scheduling) == [NodeScheduling(node: alice)])
    }
}
