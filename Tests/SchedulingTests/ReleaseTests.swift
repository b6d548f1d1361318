import OrchestryModel
import Scheduling
import Testing

@Suite struct ReleaseTests {
    private let step = AppSpec.RolloutPolicy.Release(command: ["migrate", "up"], timeoutSeconds: 100)

    private func application(
        _ revision: Int, replicas: Int = 2, running: Bool = true, canary: AppSpec.RolloutPolicy.Canary? = nil
    ) -> Application {
        makeApplication(
            makeSpec("web", image: "web:\(revision)", canary: canary, release: step), revision: revision,
            replicas: replicas, running: running)
    }

    /// Two of revision 1 serve.
    private func running() -> LeaderBench {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        bench.settle("web")
        bench.acknowledge()
        return bench
    }

    /// And the release command of revision 2 runs.
    private func releasing(canary: AppSpec.RolloutPolicy.Canary? = nil) throws -> (LeaderBench, Assignment) {
        var bench = running()
        bench.send(.applicationChanged(application(2, canary: canary)))
        let run = try #require(bench.runs.first)
        #expect(bench.runs.count == 1 && run.instance.isReleaseStep)
        bench.report(run.instance, .starting)
        return (bench, run)
    }

    @Test func `the command runs alone in a container of the new revision, then the rollout follows`() throws {
        var (bench, run) = try releasing()
        #expect(run.spec.command == ["migrate", "up"] && run.spec.image == "web:2" && run.spec.health.kind == .none)
        #expect(bench.rollout?.record.phase == .release && bench.rollout?.updated == 0)
        bench.send(.tick, after: 90)
        #expect(bench.runs.isEmpty && bench.instances("web", .draining).isEmpty, "nothing else happens meanwhile")
        #expect(bench.targets("web").count == 2)
        bench.exitRelease(run.instance, 0, "done")
        #expect(bench.kinds.contains(.releaseFinished))
        #expect(bench.rollout?.record.phase == .rolling)
        let new = try #require(bench.runs.first)
        #expect(new.revision == 2 && !new.instance.isReleaseStep && new.spec.command == nil)
        #expect(bench.stops.isEmpty, "it is kept until the rollout is over")
        bench.settle("web")
        bench.send(.tick, after: 3)
        #expect(bench.rollout?.record.state == .succeeded)
        bench.finishDrains(of: "web")
        #expect(bench.instances("web").map(\.revision) == [2, 2])
        #expect(bench.instances("web").allSatisfy { !$0.instance.isReleaseStep })
    }

    @Test func `a command that fails keeps the old revision, with its output in the event`() throws {
        var (bench, run) = try releasing()
        let before = bench.targets("web")
        bench.exitRelease(run.instance, 3, "one\ncolumn exists")
        #expect(bench.reverts == [1])
        let event = bench.last.compactMap { output -> (String, JSONValue)? in
            if case .record(.rolloutFailed, _, let message, let details) = output { (message, details) } else { nil }
        }.first
        #expect(
            event?.0 == "Revision 2 failed its release step: exit code 3: column exists; going back to revision 1",
            "\(event?.0 ?? "none")")
        #expect(event?.1["output"] == "one\ncolumn exists")
        #expect(bench.runs.isEmpty && bench.stops == [run.instance])
        bench.send(.tick, after: 600)
        #expect(bench.runs.isEmpty && bench.targets("web") == before, "it is not run again")
        #expect(bench.instances("web", .ready).map(\.revision) == [1, 1])
    }

    @Test func `a command that does not end in time has failed`() throws {
        var (bench, run) = try releasing()
        bench.send(.tick, after: 99)
        #expect(bench.reverts.isEmpty)
        bench.send(.tick, after: 1.1)
        #expect(bench.reverts == [1] && bench.stops == [run.instance])
    }

    @Test func `a canary comes after it`() throws {
        var (bench, run) = try releasing(canary: .init())
        bench.exitRelease(run.instance, 0)
        #expect(bench.rollout?.record.phase == .canary && bench.runs.count == 1)
    }

    @Test func `what the old revision lacks meanwhile is made of the old`() throws {
        var (bench, _) = try releasing()
        bench.send(.applicationChanged(application(2, replicas: 3)))
        #expect(bench.runs.map(\.revision) == [1])
        #expect(bench.runs.first?.spec.image == "web:1")
    }

    @Test(arguments: [true, false])
    func `a new leader neither runs it again nor forgets it`(_ hasEnded: Bool) throws {
        var (bench, run) = try releasing()
        if hasEnded {
            // It ends while nobody leads.
            for name in bench.agents.keys where bench.agents[name]?[run.instance] != nil {
                bench.agents[name]?[run.instance]?.state = .stopped
                bench.agents[name]?[run.instance]?.exitCode = 0
            }
        }
        var next = LeaderBench(epoch: 2, rows: bench.rows)
        next.agents = bench.agents
        next.rollouts = bench.rollouts
        next.takeOver([application(2)])
        #expect(next.rollout?.record.phase == (hasEnded ? .rolling : .release))
        #expect(!next.instances("web").contains { $0.instance.isReleaseStep && $0.instance != run.instance })
        if hasEnded { return }
        next.exitRelease(run.instance, 0)
        #expect(next.rollout?.record.phase == .rolling && next.runs.map(\.revision) == [2])
    }

    @Test func `lost with its node, it is run on another`() throws {
        var (bench, run) = try releasing()
        let lost = run.node
        bench.send(.nodeDisconnected(lost), after: 1)
        bench.send(.tick, after: 31)
        let again = try #require(bench.runs.first { $0.instance.isReleaseStep })
        #expect(again.node != lost && again.instance != run.instance)
    }

    @Test func `an app's first start waits for it, a failed one can be retried, a later start does without`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(1, running: false)))
        bench.send(.applicationChanged(application(1)))
        let first = try #require(bench.runs.first?.instance)
        #expect(bench.runs.count == 1 && first.isReleaseStep)
        bench.report(first, .starting)
        bench.exitRelease(first, 1)
        #expect(bench.kinds.contains(.rolloutFailed) && bench.reverts.isEmpty)
        bench.report(first, .stopped)
        bench.send(.tick, after: 60)
        #expect(bench.runs.isEmpty, "nothing is started without it")
        bench.send(.retry(app("web")))
        let second = try #require(bench.runs.first?.instance)
        #expect(second.isReleaseStep && second != first)
        bench.report(second, .starting)
        bench.exitRelease(second, 0)
        #expect(bench.runs.count == 2 && bench.runs.allSatisfy { !$0.instance.isReleaseStep })
        bench.settle("web")
        bench.send(.tick, after: 3)
        #expect(bench.rollout?.record.state == .succeeded)
        bench.send(.applicationChanged(application(1, running: false)))
        bench.settle("web")
        bench.send(.applicationChanged(application(1)))
        #expect(bench.runs.count == 2 && bench.runs.allSatisfy { !$0.instance.isReleaseStep })
    }

    @Test func `a way back does without it`() throws {
        var (bench, run) = try releasing()
        bench.exitRelease(run.instance, 1)
        var back = application(3)
        back.spec = makeSpec("web", release: step)
        back.equalRevisions = [1]
        bench.send(
            .applicationChanged(
                back,
                rollout: RolloutRecord(
                    app: app("web"), revision: 3, from: nil, origin: .automatic, restores: 1,
                    startedAt: Instant.zero.wall)))
        #expect(bench.runs.allSatisfy { !$0.instance.isReleaseStep })
        #expect(bench.rollout?.record.state == .succeeded)
        #expect(bench.targets("web").count == 2)
    }

    @Test func `a release step's name can't be taken for another's`() {
        #expect(id("web-3-r-abc123").isReleaseStep && id("r-r-12-r-aaaaaa").isReleaseStep)
        #expect(!id("web-3-abc123").isReleaseStep && !id("web-r-3-abc123").isReleaseStep)
    }
}
