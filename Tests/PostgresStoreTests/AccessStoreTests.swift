import AccessControl
import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct AccessStoreTests {
    private func token(_ name: String, _ hash: String, apps: [AppName]? = nil, verbs: [Verb]? = nil) -> APIToken {
        APIToken(
            name: TokenName(unchecked: name), hash: hash, grant: AccessGrant(role: .operator, verbs: verbs, apps: apps),
            createdAt: noon, createdBy: "ann", expiresAt: apps == nil ? nil : time(1_800_000_000))
    }

    @Test func `tokens come back as they were stored, until revoked`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: StateChange...) async throws(StoreError) {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        let first = token("ci", "h1", apps: [web], verbs: [.read, .scale])
        let second = token("ann", "h2")
        try await write(.saveToken(first), .saveToken(second))
        #expect(try await fixture.store.tokens() == [second, first])
        #expect(try await fixture.store.load().tokens == [second, first])
        // The same again is the same write again; another under the name, or the hash, is refused.
        try await write(.saveToken(first))
        for other in [token("ci", "h3"), token("eve", "h1")] {
            #expect(await failure { () async throws(StoreError) in try await write(.saveToken(other)) } != nil)
        }
        try await fixture.store.noteTokenUse(["h1": time(1_700_000_500), "gone": noon])
        try await fixture.store.noteTokenUse(["h1": time(1_700_000_400)])
        #expect(try await fixture.store.tokens().last?.lastUsedAt == time(1_700_000_500))

        try await write(.revokeToken(hash: "h1", by: "ann", at: noon))
        #expect(try await fixture.store.tokens() == [second])
        #expect(try await fixture.store.knowsToken("h1"))
        #expect(try await !fixture.store.knowsToken("h4"))
        // The name is free again, the token is not.
        try await write(.saveToken(token("ci", "h4")))
        #expect(await failure { () async throws(StoreError) in try await write(.saveToken(token("new", "h1"))) } != nil)
        #expect(try await fixture.store.tokens().map(\.hash) == ["h2", "h4"])
        // What a later release gave is no token here, and keeps nobody from reading the others.
        try await fixture.sql("UPDATE api_tokens SET role = 'emperor' WHERE token_hash = 'h2'")
        try await fixture.sql("UPDATE api_tokens SET verbs = '[\"fly\"]' WHERE token_hash = 'h4'")
        #expect(try await fixture.store.load().tokens.isEmpty)
    }

    @Test func `events are shown among some apps`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let other = AppName(unchecked: "other")
        try await fixture.store.write(
            [.saveApplication(application()), .saveApplication(application(other))]
                + [web, other, nil].map {
                    .recordEvent(Event(node: alice, time: noon, app: $0, kind: .appUpdated, message: "m"))
                }, epoch: epoch, leader: alice)
        func apps(_ among: [AppName]?) async throws -> [AppName?] {
            try await fixture.store.events(app: nil, among: among, limit: 10).map(\.event.app)
        }
        #expect(try await apps(nil).count == 3)
        #expect(try await apps([web]) == [web])
        #expect(try await apps([]).isEmpty)
    }

    // MARK: The audit trail

    private func record(_ number: Int, app: AppName = web) -> JSONValue {
        ["operation": "scale", "app": .string(app.rawValue), "number": JSONValue(number), "text": "a'b\\c\u{1F600}"]
    }

    private func findings(_ fixture: Fixture, expected: AuditHead? = nil) async throws -> [Int64] {
        var chain = AuditChain(expected: expected)
        while true {
            let page = try await fixture.store.audit(app: nil, after: chain.head.sequence, limit: 7)
            chain.add(page.entries)
            if page.entries.count < 7 {
                chain.end(recorded: page.head)
                return chain.findings.map(\.sequence)
            }
        }
    }

    @Test func `entries stand or fall with their transaction, in one chain`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: [StateChange]) async throws(StoreError) {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        #expect(try await fixture.store.audit(app: nil, after: nil, limit: 10).head == .origin)
        func done(_ key: String) -> StateChange {
            .completeRequest(key: key, response: ControlResponse(body: .null), actor: "ann", at: noon)
        }
        try await write([done("k1"), .audit(record(1))])
        #expect(
            await failure { () async throws(StoreError) in try await write([.audit(record(2)), done("k1")]) }
                == .duplicateRequest)
        #expect(
            await failure { () async throws(StoreError) in
                try await fixture.store.write([.audit(record(2))], epoch: epoch.next, leader: bob)
            } != nil)
        // Several at once, from several connections.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 2...30 { group.addTask { try await write([.audit(record(number))]) } }
            try await group.waitForAll()
        }
        let page = try await fixture.store.audit(app: nil, after: 0, limit: 100)
        #expect(page.entries.map(\.sequence) == Array(1...30) && page.head.sequence == 30)
        #expect(page.entries.first?.record == record(1).jsonText())
        #expect(try await findings(fixture).isEmpty)
        #expect(try await fixture.store.audit(app: nil, after: nil, limit: 2).entries.map(\.sequence) == [30, 29])
        #expect(try await fixture.store.audit(app: AppName(unchecked: "x"), after: nil, limit: 2).entries.isEmpty)
        #expect(try await fixture.store.audit(app: web, after: 3, limit: 2).entries.map(\.sequence) == [4, 5])
    }

    @Test func `notes from an outbox become entries, each once`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        var batch = events(1...6)
        for index in [1, 4] { batch[index].details = ["audit": record(index), "actor": "ann"] }
        for _ in 0..<3 {
            try await fixture.store.write([.appendEvents(node: alice, batch)], epoch: epoch, leader: alice)
        }
        try await fixture.store.write([.appendEvents(node: alice, events(7...9))], epoch: epoch, leader: alice)
        let page = try await fixture.store.audit(app: nil, after: 0, limit: 10)
        #expect(try page.entries.map { try JSONValue(jsonText: $0.record)["number"] } == [1, 4])
        #expect(try await findings(fixture).isEmpty)
        #expect(try await fixture.store.events(app: nil, limit: 20).count == 9)
    }

    @Test(
        arguments: [
            ("UPDATE audit SET record = replace(record, 'scale', 'scalf') WHERE seq = 12", [12]),
            ("UPDATE audit SET hash = sha256('x') WHERE seq = 12", [12, 13]),
            ("DELETE FROM audit WHERE seq = 12", [12]), ("DELETE FROM audit WHERE seq BETWEEN 12 AND 15", [12]),
            ("DELETE FROM audit WHERE seq = 1", [1]), ("DELETE FROM audit WHERE seq > 18", [19]),
            ("INSERT INTO audit SELECT 21, record, hash FROM audit WHERE seq = 5", [21, 22]),
            ("UPDATE audit SET record = (SELECT record FROM audit WHERE seq = 3) WHERE seq = 12", [12]),
            (
                """
                DELETE FROM audit WHERE seq = 12; UPDATE audit SET seq = seq - 1 WHERE seq = 13;
                """, [12, 13]
            ), ("UPDATE audit_head SET hash = sha256('x')", [20]), ("DELETE FROM audit", [1]),
        ] as [(String, [Int64])])
    func `tampering by SQL is found`(_ sql: String, _ found: [Int64]) async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        for number in 1...20 {
            try await fixture.store.write([.audit(record(number))], epoch: epoch, leader: alice)
        }
        #expect(try await findings(fixture).isEmpty)
        try await fixture.sql(sql)
        #expect(try await findings(fixture) == found)
    }

    @Test func `a chain made anew is found by a head that was kept`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        for number in 1...9 { try await fixture.store.write([.audit(record(number))], epoch: epoch, leader: alice) }
        let kept = try await fixture.store.audit(app: nil, after: nil, limit: 1).head
        try await fixture.sql(
            """
            CREATE TABLE old AS SELECT * FROM audit; DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = sha256('');
            SELECT orchestry_audit(replace(record, '"number":4', '"number":5')) FROM (SELECT * FROM old ORDER BY seq) AS o
            """)
        #expect(try await findings(fixture).isEmpty)
        #expect(try await findings(fixture, expected: kept) == [9])
    }
}
