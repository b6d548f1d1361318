import OrchestryModel
import PostgresStore
import TestSupport
import Testing

/// One rule of proto-spec/lease.md (L3, L4, L7, L9): a row of the table, a statement of alice's, and what comes of it.
struct LeaseRule: Sendable, CustomTestStringConvertible {
    enum Expected: Sendable, Equatable { case acquired(Epoch), renewed(LeaseMode), released, refused }
    var testDescription: String
    var leader = "alice"
    var epoch = 5
    var mode = "quorum"
    var seq = 3
    /// Seconds from now.
    var expires = 60
    var priorExpires = -60
    /// Seconds from now.
    var notBefore = -60
    var epochFloor = 0
    var statement: LeaseRequest.Statement
    var expected: Expected

    static let all: [LeaseRule] = [
        LeaseRule(
            testDescription: "L3: nobody has led", leader: "", epoch: 0, expires: -60,
            statement: .acquire(votesGranted: false, highestEpoch: .none), expected: .acquired(Epoch(1))),
        LeaseRule(
            testDescription: "L3: the epoch goes above what voters reported", leader: "", epoch: 0, expires: -60,
            statement: .acquire(votesGranted: false, highestEpoch: Epoch(41)), expected: .acquired(Epoch(42))),
        LeaseRule(
            testDescription: "L3: the epoch goes above the row's", leader: "bob", expires: -1,
            statement: .acquire(votesGranted: false, highestEpoch: Epoch(2)), expected: .acquired(Epoch(6))),
        LeaseRule(
            testDescription: "L3: quorum lease, no votes", leader: "bob",
            statement: .acquire(votesGranted: false, highestEpoch: .none), expected: .refused),
        LeaseRule(
            testDescription: "L3: quorum lease, votes", leader: "bob",
            statement: .acquire(votesGranted: true, highestEpoch: .none), expected: .acquired(Epoch(6))),
        LeaseRule(
            testDescription: "L3: solo lease, votes", leader: "bob", mode: "solo",
            statement: .acquire(votesGranted: true, highestEpoch: .none), expected: .refused),
        LeaseRule(
            testDescription: "L3: solo lease, expired", leader: "bob", mode: "solo", expires: -1,
            statement: .acquire(votesGranted: false, highestEpoch: .none), expected: .acquired(Epoch(6))),
        LeaseRule(
            testDescription: "L3: own lease, no votes",
            statement: .acquire(votesGranted: false, highestEpoch: .none), expected: .refused),
        LeaseRule(
            testDescription: "L4: renewal", statement: .renew(epoch: Epoch(5), seq: 4, mode: .quorum),
            expected: .renewed(.quorum)),
        LeaseRule(
            testDescription: "L4: same seq", statement: .renew(epoch: Epoch(5), seq: 3, mode: .quorum),
            expected: .refused),
        LeaseRule(
            testDescription: "L4: delayed, lower seq", mode: "solo",
            statement: .renew(epoch: Epoch(5), seq: 2, mode: .quorum), expected: .refused),
        LeaseRule(
            testDescription: "L4: earlier epoch", statement: .renew(epoch: Epoch(4), seq: 9, mode: .quorum),
            expected: .refused),
        LeaseRule(
            testDescription: "L4: another's lease", leader: "bob",
            statement: .renew(epoch: Epoch(5), seq: 9, mode: .quorum), expected: .refused),
        LeaseRule(
            testDescription: "L4: expired, nobody took over", expires: -60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .quorum), expected: .renewed(.quorum)),
        LeaseRule(
            testDescription: "L4: to solo, an earlier lease may still count", priorExpires: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .solo), expected: .refused),
        LeaseRule(
            testDescription: "L4: to solo, earlier leases are over",
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .solo), expected: .renewed(.solo)),
        LeaseRule(
            testDescription: "L4: staying solo", mode: "solo", priorExpires: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .solo), expected: .renewed(.solo)),
        LeaseRule(
            testDescription: "L4: quorum goes on while an earlier lease may count", priorExpires: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .quorum), expected: .renewed(.quorum)),
        LeaseRule(
            testDescription: "L4: solo to quorum", mode: "solo",
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .quorum), expected: .renewed(.quorum)),
        LeaseRule(testDescription: "L7: release", statement: .release(epoch: Epoch(5), seq: 4), expected: .released),
        LeaseRule(
            testDescription: "L7: delayed release", statement: .release(epoch: Epoch(5), seq: 3), expected: .refused),
        LeaseRule(
            testDescription: "L7: another's lease", leader: "bob", statement: .release(epoch: Epoch(5), seq: 9),
            expected: .refused),
        LeaseRule(
            testDescription: "L9: held, lease expired", leader: "bob", expires: -1, notBefore: 60,
            statement: .acquire(votesGranted: false, highestEpoch: .none), expected: .refused),
        LeaseRule(
            testDescription: "L9: held, votes", leader: "bob", notBefore: 60,
            statement: .acquire(votesGranted: true, highestEpoch: .none), expected: .refused),
        LeaseRule(
            testDescription: "L9: held, to solo", notBefore: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .solo), expected: .refused),
        LeaseRule(
            testDescription: "L9: held, staying solo", mode: "solo", notBefore: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .solo), expected: .refused),
        LeaseRule(
            testDescription: "L9: held, quorum goes on", notBefore: 60,
            statement: .renew(epoch: Epoch(5), seq: 4, mode: .quorum), expected: .renewed(.quorum)),
        LeaseRule(
            testDescription: "L9: the epoch goes above the floor", leader: "bob", expires: -1, epochFloor: 1_005,
            statement: .acquire(votesGranted: false, highestEpoch: Epoch(7)), expected: .acquired(Epoch(1_006))),
    ]
}

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct LeaseTests {
    @Test(arguments: LeaseRule.all)
    func `a statement follows the rules of the lease`(_ rule: LeaseRule) async throws {
        let fixture = try await Fixture()
        try await fixture.sql(
            """
            UPDATE leader_lease SET leader_id = '\(rule.leader)', epoch = \(rule.epoch), mode = '\(rule.mode)',
                seq = \(rule.seq), expires_at = date_trunc('second', NOW()) + interval '\(rule.expires) seconds',
                prior_expires_at = date_trunc('second', NOW()) + interval '\(rule.priorExpires) seconds',
                not_before = NOW() + interval '\(rule.notBefore) seconds', epoch_floor = \(rule.epochFloor)
            """)
        let columns = "leader_id, epoch, mode, seq, expires_at, prior_expires_at"
        let before = try await fixture.sql("SELECT \(columns) FROM leader_lease").split(
            separator: "|", omittingEmptySubsequences: false)
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        let outcome = await connection.perform(LeaseRequest(id: 1, statement: rule.statement), timeout: .seconds(20))
        let after = try await fixture.sql("SELECT \(columns), expires_at > NOW() FROM leader_lease").split(
            separator: "|", omittingEmptySubsequences: false)
        switch (rule.expected, outcome) {
        case (.acquired(let expected), .acquired(let epoch)):
            #expect(epoch == expected)
            #expect(after[0...3] == ["alice", "\(expected)", "quorum", "0"])
            // The old expiry counts for the solo guard, unless an even older lease lasts longer.
            #expect(after[5] == (rule.expires > rule.priorExpires ? before[4] : before[5]))
            #expect(after[6] == "t")
        case (.renewed(let expected), .renewed(let epoch, let mode)):
            #expect(mode == expected)
            #expect(epoch == Epoch(5))
            #expect(after[0...3] == ["alice", "5", Substring(expected.rawValue), "4"])
            #expect(after[5] == before[5])
            #expect(after[6] == "t")
        case (.released, .released(let epoch)):
            #expect(epoch == Epoch(5))
            #expect(after[6] == "f")
        case (.refused, .refused(let row)):
            #expect(Array(after.prefix(6)) == before)
            #expect(row?.leader.rawValue == (rule.leader.isEmpty ? nil : rule.leader))
            #expect(row?.epoch == Epoch(UInt64(rule.epoch)))
        default: Issue.record("expected \(rule.expected), got \(outcome)")
        }
    }

    /// Two promotions, as far as the row can tell.
    @Test func `the first statement after a promotion holds back acquiring and solo for a TTL`() async throws {
        let fixture = try await Fixture()
        let ttl = Duration.seconds(3)
        let (first, second) = (fixture.lease(alice, ttl: ttl), fixture.lease(bob, ttl: ttl))
        defer {
            first.shutdown()
            second.shutdown()
        }
        #expect(await first.acquire() == .acquired(Epoch(1)))
        #expect(try await fixture.sql("SELECT timeline FROM leader_lease") == "1")
        // As on a server whose clock was an hour ahead.
        try await fixture.sql(
            """
            UPDATE leader_lease SET timeline = timeline - 2, expires_at = expires_at + interval '1 hour',
                prior_expires_at = expires_at + interval '1 hour'
            """)
        #expect(await first.renew(Epoch(1), seq: 1, mode: .quorum) == .renewed(epoch: Epoch(1), mode: .quorum))
        let row = try await fixture.sql(
            """
            SELECT timeline, epoch_floor, not_before > NOW() + interval '1 second',
                GREATEST(expires_at, prior_expires_at, not_before) <= NOW() + interval '3 seconds' FROM leader_lease
            """)
        #expect(row == "1|2001|t|t")
        guard case .refused(let held?) = await second.acquire(votes: true) else {
            Issue.record("acquired right after a promotion")
            return
        }
        #expect(held.leader == alice && held.epoch == Epoch(1))
        guard case .refused = await first.renew(Epoch(1), seq: 2, mode: .solo) else {
            Issue.record("went solo right after a promotion")
            return
        }
        let acquired = await eventually { await second.acquire(votes: true) == .acquired(Epoch(2_002)) }
        #expect(acquired)
    }

    @Test func `a delayed renewal does not undo the switch to quorum`() async throws {
        let fixture = try await Fixture()
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        let epoch = Epoch(1)
        #expect(await connection.acquire() == .acquired(epoch))
        #expect(await connection.renew(epoch, seq: 1, mode: .solo) == .renewed(epoch: epoch, mode: .solo))
        #expect(await connection.renew(epoch, seq: 3, mode: .quorum) == .renewed(epoch: epoch, mode: .quorum))
        guard case .refused(let row) = await connection.renew(epoch, seq: 2, mode: .solo) else {
            Issue.record("the delayed renewal was accepted")
            return
        }
        #expect(row?.mode == .quorum)
    }

    @Test func `of many that acquire an expired lease one wins`() async throws {
        let fixture = try await Fixture()
        let outcomes = await withTaskGroup(of: LeaseOutcome.self) { group in
            for number in 0..<8 {
                group.addTask {
                    let connection = fixture.lease(NodeID(unchecked: "node-\(number)"))
                    defer { connection.shutdown() }
                    return await connection.acquire()
                }
            }
            return await group.reduce(into: [LeaseOutcome]()) { $0.append($1) }
        }
        let winners = outcomes.filter { outcome in
            if case .acquired = outcome { true } else { false }
        }
        #expect(winners == [.acquired(Epoch(1))])
        for outcome in outcomes where !winners.contains(outcome) {
            guard case .refused(let row?) = outcome else {
                Issue.record("unexpected \(outcome)")
                continue
            }
            #expect(row.epoch == Epoch(1))
        }
    }

    @Test func `the row is read whole, and nobody's row is none`() async throws {
        let fixture = try await Fixture()
        let connection = fixture.lease(alice, ttl: .seconds(30))
        defer { connection.shutdown() }
        #expect(await connection.readRow(timeout: .seconds(20)) == nil)
        #expect(try await fixture.store.leaseRow() == nil)
        #expect(await connection.acquire() == .acquired(Epoch(1)))
        let row = try #require(await connection.readRow(timeout: .seconds(20)))
        #expect(row.leader == alice)
        #expect(row.hostname == "alice.example")
        #expect(row.apiURL == "http://alice")
        #expect(!row.expired)
        #expect(row.acquiredAt <= row.renewedAt)
        // The two are clock readings of one statement, microseconds apart.
        #expect((29_900...30_100).contains(row.expiresAt.milliseconds - row.renewedAt.milliseconds))
        #expect(try await fixture.store.leaseRow() == row)
        #expect(await connection.release(Epoch(1), seq: 1) == .released(Epoch(1)))
        #expect(await connection.readRow(timeout: .seconds(20))?.expired == true)
    }

    @Test func `an election needs no migrated database`() async throws {
        let fixture = try await Fixture(migrated: false)
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        #expect(await connection.acquire() == .acquired(Epoch(1)))
        #expect(try await fixture.sql("SELECT version FROM schema_migrations ORDER BY 1") == "1\n2\n3")
        try await fixture.store.migrate()
        #expect(try await fixture.sql("SELECT epoch FROM leader_lease") == "1")
        try await fixture.store.write([], epoch: Epoch(1), leader: alice)
    }

    @Test func `an election brings the table of an earlier release up to date`() async throws {
        let fixture = try await Fixture()
        try await fixture.sql(
            """
            ALTER TABLE leader_lease DROP COLUMN timeline, DROP COLUMN not_before, DROP COLUMN epoch_floor;
            DROP FUNCTION orchestry_timeline; DELETE FROM schema_migrations WHERE version >= 3
            """)
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        #expect(await connection.acquire() == .acquired(Epoch(1)))
        #expect(try await fixture.sql("SELECT max(version) FROM schema_migrations") == "3")
    }

    @Test func `a terminated connection is replaced unnoticed`() async throws {
        let fixture = try await Fixture()
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        #expect(await connection.acquire() == .acquired(Epoch(1)))
        for seq in 1...5 as ClosedRange<UInt64> {
            let ended = try await fixture.sql(
                """
                SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'orchestry lease'
                """)
            #expect(ended == "1")
            #expect(await connection.renew(Epoch(1), seq: seq) == .renewed(epoch: Epoch(1), mode: .quorum))
        }
    }

    @Test func `no answer comes in time from a frozen server, and all is well afterwards`() async throws {
        let server = try await onOwnThread { try PrivatePostgres() }
        let fixture = try await Fixture(server: server)
        let connection = fixture.lease(alice)
        defer { connection.shutdown() }
        #expect(await connection.acquire() == .acquired(Epoch(1)))
        server.pause()
        let outcome = await connection.perform(
            LeaseRequest(id: 9, statement: .renew(epoch: Epoch(1), seq: 1, mode: .quorum)), timeout: .milliseconds(300))
        guard case .failed = outcome else {
            Issue.record("a frozen server answered \(outcome)")
            return
        }
        #expect(await connection.readRow(timeout: .milliseconds(100)) == nil)
        server.resume()
        #expect(await connection.renew(Epoch(1), seq: 2) == .renewed(epoch: Epoch(1), mode: .quorum))
    }

    @Test func `after shutdown nothing is done`() async throws {
        let fixture = try await Fixture()
        let connection = fixture.lease(alice)
        connection.shutdown()
        guard case .failed = await connection.acquire() else {
            Issue.record("it acquired")
            return
        }
        #expect(try await fixture.store.leaseRow() == nil)
    }
}
