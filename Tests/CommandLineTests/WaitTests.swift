import OrchestryModel
import RestFacade
import Testing

struct WaitTests {
    private static let web = AppName(unchecked: "web")

    private static func status(
        _ state: Application.Status = .running, wanted: Int = 2, ready: Int, revision: Int = 5,
        rollout: RolloutRecord? = nil, active: Bool = false, isStale: Bool = false
    ) -> ControlResponse {
        let application = Application(
            spec: AppSpec(name: web, image: "shop:1", ports: [.init(containerPort: 80)]), document: [:],
            revision: revision, status: state, replicas: wanted, createdAt: WallTime(seconds: 1),
            updatedAt: WallTime(seconds: 1))
        let instances = (0..<ready).map { number in
            InstanceStatus(
                instance: InstanceID(unchecked: "web-\(number)"), app: web, revision: revision,
                node: NodeID(unchecked: "n"), state: .ready, since: WallTime(seconds: 1))
        }
        return ControlResponse(
            body: Presentation.appStatus(
                application, instances: instances,
                rollout: rollout.map {
                    Presentation.RolloutFigures(
                        record: $0, isActive: active, wanted: wanted, updated: ready, ready: ready, old: 0)
                }, isStale: isStale))
    }

    private static func rollout(_ state: RolloutRecord.State, reason: String = "") -> RolloutRecord {
        RolloutRecord(
            app: web, revision: 5, from: 4, state: state, reason: reason, startedAt: WallTime(seconds: 1))
    }

    /// Answers in this order, the last one for good.
    private func run(
        _ arguments: [String], _ answers: [ControlResponse], _ check: @Sendable (CommandLineRun, Int) throws -> Void
    ) async throws {
        try await FakeServer.run({ _, number in answers[min(number, answers.count) - 1] }) { server in
            let run = try await CommandLineRun.run(arguments, server: server.url)
            try check(run, server.plane.requests.count)
        }
    }

    @Test func `until as many are ready as are wanted, saying how far it is`() async throws {
        let answers = [
            Self.status(ready: 0), Self.status(ready: 1), ControlResponse(.noLeader("none")),
            Self.status(ready: 2, isStale: true),
            Self.status(ready: 2, rollout: Self.rollout(.running), active: true),
            Self.status(ready: 2, rollout: Self.rollout(.succeeded)),
        ]
        try await run(["wait", "web", "--timeout", "0"], answers) { run, requests in
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(requests == 6)
            #expect(run.output == "web: 2 of 2 ready, revision 5.\n")
            for words in [
                "web: 0 of 2 ready\n", "web: 1 of 2 ready\n", "does not answer now", "nobody leads now",
                "rollout of revision 5",
            ] {
                #expect(run.errors.contains(words), "\(run.errors)")
            }
        }
    }

    @Test func `until the last instance is gone`() async throws {
        let answers = [Self.status(.stopped, wanted: 0, ready: 1), Self.status(.stopped, wanted: 0, ready: 0)]
        try await run(["wait", "web", "--for", "stopped"], answers) { run, _ in
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.errors.contains("web: 1 instance still there"))
        }
    }

    @Test(arguments: [
        (["wait", "web"], status(.stopped, wanted: 0, ready: 0), "orchestry up web"),
        (["wait", "web", "--for", "stopped"], status(ready: 2), "orchestry down web"),
        (
            ["wait", "web", "--for", "rollout"],
            status(ready: 2, rollout: rollout(.failed, reason: "no progress for 120 s")), "no progress for 120 s"
        ),
        (["rollout", "status", "web", "--watch"], status(ready: 2, rollout: rollout(.aborted)), "has not succeeded"),
    ])
    func `what can't come is not waited for`(_ arguments: [String], _ answer: ControlResponse, _ words: String)
        async throws
    {
        try await run(arguments, [answer]) { run, requests in
            #expect(run.exitCode == 1)
            #expect(run.errors.contains(words), "\(run.errors)")
            #expect(requests == 1)
        }
    }

    @Test func `a revision that is rolled back ends the wait`() async throws {
        let answers = [
            Self.status(ready: 1, rollout: Self.rollout(.running), active: true), Self.status(ready: 2, revision: 6),
        ]
        try await run(["wait", "web", "--for", "rollout"], answers) { run, _ in
            #expect(run.exitCode == 1)
            #expect(run.errors.contains("revision 5 has been replaced by revision 6"), "\(run.errors)")
        }
    }

    @Test func `not in time says how far it is, no such app ends it`() async throws {
        try await run(["wait", "web", "--within", "1s"], [Self.status(ready: 1)]) { run, _ in
            #expect(run.exitCode == 1)
            #expect(run.errors.contains("not in time (--within): 1 of 2 ready"), "\(run.errors)")
        }
        try await run(["wait", "web"], [ControlResponse(.appNotFound(Self.web))]) { run, requests in
            #expect(run.exitCode == 4)
            #expect(requests == 1)
        }
        let usage = try await CommandLineRun.run(["wait", "web", "--within", "soon"])
        #expect(usage.exitCode == 2)
    }

    @Test func `up --wait`() async throws {
        let answers = [
            ControlResponse(body: Presentation.started(Self.web, replicas: 2, adopted: 0, started: 2)),
            Self.status(ready: 0), Self.status(ready: 2),
        ]
        try await run(["up", "web", "--wait"], answers) { run, requests in
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output == "web: 2 of 2 ready.\n")
            #expect(requests == 3)
        }
    }
}
