import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// A leader's own transactions, in the order it meant them: what the fence can't tell apart.
@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct TurnTests {
    private static func key(_ name: String) -> StateChange {
        .completeRequest(key: name, response: ControlResponse(status: 200, body: [:]), actor: "test", at: noon)
    }

    private static func isTooLate(_ error: StoreError?) -> Bool {
        if case .query(sqlState: "ORF02", message: _) = error { true } else { false }
    }

    @Test func `a turn may be repeated, but not after a later one`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func attempt(_ name: String, _ epoch: Epoch, _ turn: Int64, _ leader: NodeID = alice) async -> StoreError? {
            await failure { () throws(StoreError) in
                try await fixture.store.write([Self.key(name)], epoch: epoch, leader: leader, turn: turn)
            }
        }
        #expect(await attempt("a", epoch, 1) == nil)
        #expect(await attempt("a", epoch, 1) == .duplicateRequest)
        #expect(await attempt("b", epoch, 3) == nil)
        #expect(Self.isTooLate(await attempt("c", epoch, 2)))
        let next = try await fixture.lead(bob)
        #expect(await attempt("d", next, 1, bob) == nil, "a new epoch begins anew")
        guard case .fenced = await attempt("e", epoch, 4) else {
            Issue.record("the fence comes first")
            return
        }
        #expect(try await fixture.sql("SELECT string_agg(key, '' ORDER BY key) FROM requests") == "abd")
    }

    @Test func `after settling, what was given up is seen or can't happen any more`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write(
            [.saveApplication(application(replicas: 2))], epoch: epoch, leader: alice, turn: 1)
        var state = try await fixture.store.settle(after: 2, epoch: epoch, leader: alice)
        #expect(state.turn == 3)
        #expect(state.applications == [application(replicas: 2)])
        let late = await failure { () throws(StoreError) in
            try await fixture.store.write(
                [.saveApplication(application(replicas: 5))], epoch: epoch, leader: alice, turn: 2)
        }
        #expect(Self.isTooLate(late), "\(String(describing: late))")
        // A writer that has lost count goes on from what is stored.
        state = try await fixture.store.settle(after: 0, epoch: epoch, leader: alice)
        #expect(state.turn == 4)
        #expect(state.applications == [application(replicas: 2)])
    }

    @Test func `settling waits for a write that is being carried out, and sees it`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write(
            [.saveApplication(application(replicas: 2))], epoch: epoch, leader: alice, turn: 1)
        let session = try fixture.session(
            """
            BEGIN; SELECT orchestry_fence('alice', \(epoch)), orchestry_take_turn(\(epoch), 2);
            UPDATE applications SET replicas = 7; SELECT pg_sleep(1); COMMIT;
            """)
        let isRunning = try await eventually { try await fixture.isSleeping }
        try #require(isRunning)
        let state = try await fixture.store.settle(after: 2, epoch: epoch, leader: alice)
        #expect(state.applications.map(\.replicas) == [7])
        try await session.ended()
    }
}
