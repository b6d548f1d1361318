import OrchestryModel
import PostgresStore
import TestSupport
import Testing

@Suite(.needsPostgres, .serialized, .timeLimit(.minutes(3)))
struct StateStoreTests {
    @Test func `an app is stored and read back whole`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        var changed = application(revision: 2, replicas: 5)
        changed.lastScaledAt = WallTime(milliseconds: 1_700_000_000_001)
        changed.spec.scaling.mode = .manual
        changed.spec.scaling.schedules = [
            ScalingSchedule(
                name: "office", start: try CronExpression("0 8 * * 1-5"), end: try CronExpression("0 18 * * 1-5"),
                timeZone: "Europe/Berlin", minReplicas: 3)
        ]
        changed.control = ScalingControl(
            fixed: .init(replicas: 5, untilSecond: 1_700_000_600, by: "ann"), pauseIn: .init(by: "bob"))
        try await fixture.store.write([.saveApplication(application())], epoch: epoch, leader: alice)
        #expect(try await fixture.store.application(web) == application())
        try await fixture.store.write(
            [.saveApplication(changed), .saveApplication(application(AppName(unchecked: "api")))],
            epoch: epoch, leader: alice)
        #expect(try await fixture.store.application(web) == changed)
        #expect(try await fixture.store.applications().map(\.name.rawValue) == ["api", "web"])
        #expect(
            try await fixture.sql("SELECT replicas, status, mode, spec->>'name' FROM applications WHERE name = 'web'")
                == "5|running|manual|web")
        #expect(try await fixture.store.application(AppName(unchecked: "nope")) == nil)
    }

    @Test func `a deleted app keeps its history and comes back with higher revisions`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: [StateChange]) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        let first = application(revision: 3)
        #expect(try await fixture.store.lastRevision(of: web) == 0)
        try await write([
            .saveApplication(first),
            .saveRevision(web, revision: 3, document: first.document, spec: first.spec, at: noon),
            .appendEvents(node: alice, events(1...2, app: web)),
            .appendMetrics([MetricRow(app: web, time: noon, cpuPercent: 12.5, rps: 3, replicas: 2)]),
        ])
        try await write([.deleteApplication(web, at: time(1_700_000_100))])
        try await write([.deleteApplication(web, at: time(1_700_000_900))])
        #expect(try await fixture.store.applications().isEmpty)
        #expect(try await fixture.store.application(web) == nil)
        #expect(try await fixture.sql("SELECT extract(epoch FROM deleted_at)::int FROM applications") == "1700000100")
        #expect(try await fixture.store.events(app: web, limit: 10).count == 2)
        #expect(try await fixture.store.lastRevision(of: web) == 3)

        let second = application(revision: 4)
        try await write([
            .saveApplication(second),
            .saveRevision(web, revision: 4, document: second.document, spec: second.spec, at: noon),
        ])
        #expect(try await fixture.store.application(web) == second)
        let revisions = try await fixture.store.revisions(of: web)
        #expect(revisions.map(\.revision) == [4, 3])
        #expect(revisions.last?.spec == first.spec)
        #expect(revisions.last?.document == first.document)
        #expect(
            try await fixture.store.metrics(app: web, since: noon, limit: 5)
                == [MetricRow(app: web, time: noon, cpuPercent: 12.5, rps: 3, replicas: 2)])
    }

    @Test func `a revision may be repeated but not rewritten`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let app = application()
        func save(_ document: JSONValue) async -> StoreError? {
            await failure { () throws(StoreError) in
                try await fixture.store.write(
                    [
                        .saveApplication(app),
                        .saveRevision(web, revision: 1, document: document, spec: app.spec, at: noon),
                    ], epoch: epoch, leader: alice)
            }
        }
        #expect(await save(["a": 1]) == nil)
        #expect(await save(["a": 1]) == nil)
        guard case .query(sqlState: "23505", _) = await save(["a": 2]) else {
            Issue.record("the revision was rewritten")
            return
        }
        #expect(try await fixture.store.revisions(of: web).map(\.document) == [["a": 1]])
    }

    @Test func `instances follow their status`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        func write(_ changes: StateChange...) async throws {
            try await fixture.store.write(changes, epoch: epoch, leader: alice)
        }
        var status = InstanceStatus(
            instance: InstanceID(unchecked: "web-1-abcdef"), app: web, revision: 1, node: bob, state: .starting,
            since: noon)
        try await write(.saveApplication(application()), .saveInstance(status))
        #expect(try await fixture.store.instances().isEmpty, "no container yet")

        status.containerID = String(repeating: "a", count: 64)
        status.endpoint = Endpoint(host: "fd00::1:2", port: 8080)
        status.state = .ready
        status.startedAt = noon
        status.lastProbeAt = time(1_700_000_005)
        try await write(.saveInstance(status))
        #expect(try await fixture.store.instances() == [status])

        // A restart: another container, for the same instance.
        status.containerID = String(repeating: "b", count: 64)
        status.endpoint = Endpoint(host: "172.17.0.9", port: 8080)
        status.restarts = 1
        status.exitCode = 137
        status.outOfMemory = true
        try await write(.saveInstance(status))
        #expect(try await fixture.store.instances() == [status])
        #expect(try await fixture.sql("SELECT host(ip), port, status FROM instances") == "172.17.0.9|8080|ready")

        // Stopped: the address is gone, the row says where it was.
        var stopped = status
        stopped.state = .crashLooping
        stopped.endpoint = nil
        stopped.message = "exited with 137"
        try await write(.saveInstance(stopped))
        let row = try #require(try await fixture.store.instances().first)
        #expect(row.state == .crashLooping)
        #expect(row.endpoint == status.endpoint)
        #expect(row.message == stopped.message)

        // Not an address PostgreSQL takes, and an app it does not know: skipped, the rest is written.
        var named = status
        named.instance = InstanceID(unchecked: "web-1-named0")
        named.endpoint = Endpoint(host: "localhost", port: 1)
        var orphan = status
        orphan.instance = InstanceID(unchecked: "ghost-1-abcdef")
        orphan.app = AppName(unchecked: "ghost")
        orphan.containerID = "c"
        try await write(.saveInstance(named), .saveInstance(orphan), .removeInstance(status.instance))
        #expect(try await fixture.store.instances().isEmpty)
    }

    @Test func `a request is carried out once`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        let answer = ControlResponse(status: 202, body: ["app": "web", "share": 2.0, "n": 3], retryAfterSeconds: 7)
        func attempt(replicas: Int) async -> StoreError? {
            await failure { () throws(StoreError) in
                try await fixture.store.write(
                    [
                        .saveApplication(application(replicas: replicas)),
                        .completeRequest(key: "key-1", response: answer, actor: "cli", at: noon),
                    ], epoch: epoch, leader: alice)
            }
        }
        #expect(try await fixture.store.request("key-1") == nil)
        let outcomes = await withTaskGroup(of: StoreError?.self) { group in
            for replicas in 1...6 { group.addTask { await attempt(replicas: replicas) } }
            return await group.reduce(into: [StoreError?]()) { $0.append($1) }
        }
        #expect(outcomes.filter { $0 == nil }.count == 1)
        #expect(outcomes.filter { $0 == .duplicateRequest }.count == 5)
        #expect(try await fixture.store.request("key-1") == answer)
        let replicas = try await fixture.store.application(web)?.replicas
        #expect(await attempt(replicas: 50) == .duplicateRequest)
        #expect(try await fixture.store.application(web)?.replicas == replicas)
    }

    @Test func `events are paged newest first`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        try await fixture.store.write(
            [
                .saveApplication(application()), .appendEvents(node: alice, events(1...10, app: web)),
                .appendEvents(node: bob, events(1...3, of: bob)),
            ], epoch: epoch, leader: alice)
        var seen: [Int64] = []
        var before: Int64?
        while true {
            let page = try await fixture.store.events(app: web, limit: 4, beforeID: before)
            guard let last = page.last else { break }
            seen += page.map(\.event.sequence)
            before = last.id
        }
        #expect(seen == Array((1...10).reversed()))
        #expect(try await fixture.store.events(app: nil, limit: 100).count == 13)
        let newest = try #require(try await fixture.store.events(app: web, limit: 1).first?.event)
        #expect(newest == events(10...10, app: web)[0])
        #expect(try await fixture.store.events(app: web, limit: 4, beforeID: 999_999).isEmpty)
    }

    @Test func `nodes are remembered with when they were last seen`() async throws {
        let fixture = try await Fixture()
        let epoch = try await fixture.lead(alice)
        var info = NodeInfo(id: alice, role: .controller, host: "10.0.0.1", clusterPort: 7000, apiURL: "http://a")
        try await fixture.store.write([.saveNode(info, seenAt: noon)], epoch: epoch, leader: alice)
        info.role = .worker
        info.apiURL = "https://a"
        try await fixture.store.write(
            [.saveNode(info, seenAt: time(1_700_000_500)), .saveNode(info, seenAt: noon)], epoch: epoch, leader: alice)
        let nodes = try await fixture.store.nodes()
        #expect(nodes.map(\.info) == [info])
        #expect(nodes.map(\.lastSeenAt) == [time(1_700_000_500)])
    }
}
