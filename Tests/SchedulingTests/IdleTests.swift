import OrchestryModel
import Scheduling
import Testing

/// Apps that have no instance while nobody asks for them.
@Suite struct IdleTests {
    private func application(
        _ revision: Int = 1, replicas: Int, running: Bool = true, mode: ScalingPolicy.Mode = .auto,
        release: AppSpec.RolloutPolicy.Release? = nil
    ) -> Application {
        var spec = makeSpec("web", image: "web:\(revision)", release: release)
        spec.scaling = ScalingPolicy(mode: mode, minReplicas: 0)
        return makeApplication(spec, revision: revision, replicas: replicas, running: running)
    }

    /// One instance serves.
    private func awake(release: AppSpec.RolloutPolicy.Release? = nil) -> LeaderBench {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(replicas: 1)))
        bench.settle("web")
        bench.acknowledge()
        return bench
    }

    private func activation(_ bench: LeaderBench) -> RoutingTable.Activation? {
        bench.reconciler.routingTable.routes.first { $0.app == app("web") }?.activation
    }

    @Test func `requests are held while it is up, and only then`() {
        var bench = awake()
        #expect(activation(bench) == .init(holds: true, holdSeconds: 30, holdLimit: 1_000))
        bench.send(.applicationChanged(application(replicas: 0)))
        #expect(activation(bench)?.holds == true)
        bench.send(.applicationChanged(application(replicas: 0, running: false)))
        #expect(activation(bench)?.holds == false)
        bench.send(.applicationChanged(application(replicas: 0, mode: .manual)))
        #expect(activation(bench)?.holds == false, "nobody would wake it")
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 1)))
        #expect(activation(bench) == nil)
    }

    @Test func `its last instance leaves routing before it is stopped, and a new one starts beside it`() {
        var bench = awake()
        let old = bench.targets("web")
        bench.send(.applicationChanged(application(replicas: 0)))
        #expect(bench.targets("web").isEmpty && bench.stops.isEmpty && bench.instances("web", .draining).count == 1)
        // Woken while the old one still drains.
        bench.send(.applicationChanged(application(replicas: 1)))
        #expect(bench.runs.count == 1)
        bench.settle("web")
        #expect(bench.targets("web").count == 1 && bench.targets("web").isDisjoint(with: old))
    }

    @Test func `a revision that comes while it is idle is what the next start makes`() throws {
        var bench = awake()
        bench.send(.applicationChanged(application(replicas: 0)))
        bench.finishDrains(of: "web")
        let record = RolloutRecord(app: app("web"), revision: 2, from: 1, startedAt: bench.now.wall)
        bench.send(.applicationChanged(application(2, replicas: 0), rollout: record))
        #expect(bench.runs.isEmpty)
        #expect(bench.rollouts[app("web")]?.state == .superseded)
        #expect(bench.rollouts[app("web")]?.reason.contains("its next start takes this revision") == true)
        bench.send(.applicationChanged(application(2, replicas: 1)))
        #expect(bench.runs.map(\.revision) == [2])
        bench.settle("web")
        #expect(bench.targets("web").count == 1)
        #expect(bench.reverts.isEmpty)
    }

    @Test func `its release command runs before that start, once`() throws {
        let step = AppSpec.RolloutPolicy.Release(command: ["migrate", "up"], timeoutSeconds: 100)
        var bench = awake()
        bench.send(.applicationChanged(application(replicas: 0)))
        bench.finishDrains(of: "web")
        let record = RolloutRecord(app: app("web"), revision: 2, from: 1, startedAt: bench.now.wall)
        bench.send(.applicationChanged(application(2, replicas: 0, release: step), rollout: record))
        #expect(bench.runs.isEmpty)
        bench.send(.applicationChanged(application(2, replicas: 1, release: step)))
        let release = try #require(bench.runs.first)
        #expect(bench.runs.count == 1 && release.instance.isReleaseStep)
        bench.report(release.instance, .starting)
        bench.exitRelease(release.instance, 0)
        #expect(bench.runs.count == 1 && bench.runs[0].instance.isReleaseStep == false)
        bench.settle("web")
        bench.send(.tick, after: 3)
        bench.finishDrains(of: "web")
        #expect(bench.targets("web").count == 1)
        // Another sleep: the command has been run.
        bench.send(.applicationChanged(application(2, replicas: 0, release: step)))
        bench.finishDrains(of: "web")
        bench.send(.applicationChanged(application(2, replicas: 1, release: step)))
        #expect(bench.runs.count == 1 && bench.runs[0].instance.isReleaseStep == false)
    }

    @Test func `a new leader leaves it idle`() {
        var bench = awake()
        bench.send(.applicationChanged(application(replicas: 0)))
        bench.finishDrains(of: "web")
        var next = LeaderBench(epoch: 2, rows: bench.rows)
        next.takeOver([application(replicas: 0)])
        next.send(.tick, after: 5)
        #expect(next.instances("web").isEmpty && next.runs.isEmpty)
        #expect(activation(next)?.holds == true)
        next.send(.applicationChanged(application(replicas: 1)))
        #expect(next.runs.count == 1)
    }
}
