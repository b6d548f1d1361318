import OrchestryModel
import Scheduling
import Testing

@Suite struct RolloutTests {
    private func running(_ replicas: Int, surge: Int = 1, unavailable: Int = 0) -> LeaderBench {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(
            .applicationChanged(
                makeApplication(makeSpec("web", surge: surge, unavailable: unavailable), replicas: replicas)))
        bench.settle("web")
        bench.acknowledge()
        return bench
    }
    private func next(
        _ revision: Int, replicas: Int, surge: Int = 1, unavailable: Int = 0
    ) -> Reconciler.Input {
        .applicationChanged(
            makeApplication(
                makeSpec("web", surge: surge, unavailable: unavailable, image: "web:\(revision)"), revision: revision,
                replicas: replicas))
    }

    @Test(arguments: [(1, 0), (2, 0), (0, 1), (1, 1), (0, 0)])
    func `a rollout replaces every instance within its limits`(surge: Int, unavailable: Int) throws {
        var bench = running(4, surge: surge, unavailable: unavailable)
        bench.send(next(2, replicas: 4, surge: surge, unavailable: unavailable))
        #expect(bench.kinds.contains(.rolloutStarted))
        #expect(bench.reconciler.replicaView(of: app("web")).rolloutInProgress)
        var finished = false
        let limit = 4 + (surge == 0 && unavailable == 0 ? 1 : surge)
        for _ in 0..<40 where !finished {
            let alive = bench.instances("web").filter { $0.state != .draining }
            #expect(alive.count <= limit)
            #expect(bench.targets("web").count >= 4 - unavailable)
            // One step: whatever was made becomes ready, what drains ends.
            if let coming = alive.first(where: { $0.state != .ready }) {
                bench.report(coming.instance, .ready)
                finished = bench.kinds.contains(.rolloutFinished)
            } else {
                bench.finishDrains(of: "web")
            }
        }
        #expect(finished)
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == [2, 2, 2, 2])
        #expect(!bench.reconciler.replicaView(of: app("web")).rolloutInProgress)
    }

    @Test func `without progress it fails once and asks for the last revision that worked`() throws {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        let bad = try #require(bench.runs.first?.instance)
        bench.report(bad, .crashLooping, restarts: 5)
        bench.send(.tick, after: 59)
        #expect(bench.reverts.isEmpty)
        bench.send(.tick, after: 1.1)
        #expect(bench.reverts == [1])
        #expect(bench.kinds.contains(.rolloutFailed))
        #expect(bench.targets("web").count == 3, "the old ones never left")
        bench.send(.tick, after: 600)
        #expect(bench.reverts.isEmpty && !bench.kinds.contains(.rolloutFailed))
    }

    /// The answer to a revert: a new revision with the content of an old one.
    private func goBack(to old: Int, as revision: Int, replicas: Int, _ origin: RolloutRecord.Origin = .automatic)
        -> Reconciler.Input
    {
        var application = makeApplication(makeSpec("web", image: "web:\(old)"), revision: revision, replicas: replicas)
        application.equalRevisions = [old, revision]
        return .applicationChanged(
            application,
            rollout: RolloutRecord(
                app: app("web"), revision: revision, from: nil, origin: origin, restores: old, reason: "because",
                startedAt: Instant.zero.wall))
    }

    @Test func `a revert goes back without another start of what still runs`() throws {
        var back = running(3)
        back.send(next(2, replicas: 3))
        let bad = try #require(back.runs.first?.instance)
        back.report(bad, .starting)
        back.send(.tick, after: 61)
        back.send(goBack(to: 1, as: 3, replicas: 3))
        #expect(back.runs.allSatisfy { $0.instance != bad }, "the health check is told anew, nothing is started")
        #expect(back.instances("web").count == 4)
        #expect(back.stops == [bad], "it never had traffic")
        #expect(back.kinds.contains(.rolloutFinished))
        let shown = try #require(back.rollout)
        #expect(!shown.isActive && shown.record.state == .succeeded && shown.record.reason == "because")
        #expect(back.reconciler.explain(app("web")).contains { $0.contains("rolled back to by itself: because") })
    }

    @Test(arguments: [RolloutRecord.Origin.automatic, .abort])
    func `a way back that fails is not followed by another`(_ origin: RolloutRecord.Origin) {
        var bench = running(2)
        bench.send(next(2, replicas: 2))
        bench.settle("web")
        bench.send(goBack(to: 1, as: 3, replicas: 2, origin))
        #expect(bench.runs.count == 1)
        bench.send(.tick, after: 61)
        #expect(bench.kinds.contains(.rolloutFailed))
        #expect(bench.reverts.isEmpty)
    }

    @Test func `a failed rollout whose leader died before it went back is taken back by the next`() {
        var bench = running(2)
        bench.send(next(2, replicas: 2))
        bench.send(.tick, after: 61)
        #expect(bench.reverts == [1])
        var successor = LeaderBench(epoch: 2, rows: bench.rows)
        successor.agents = bench.agents
        successor.rollouts = bench.rollouts
        successor.send(
            .loaded(
                [makeApplication(makeSpec("web", image: "web:2"), revision: 2, replicas: 2)],
                instances: Array(successor.rows.values), knownNodes: successor.agents.keys.sorted(),
                rollouts: Array(successor.rollouts.values)))
        #expect(successor.reverts == [1])
    }

    @Test func `a new instance counts after its minimum healthy time, and an old one leaves no earlier`() throws {
        var bench = running(2)
        func spec(_ revision: Int) -> Reconciler.Input {
            .applicationChanged(
                makeApplication(
                    makeSpec("web", image: "web:\(revision)", minHealthySeconds: 20), revision: revision, replicas: 2))
        }
        bench.send(spec(2))
        let first = try #require(bench.instances("web").first { $0.revision == 2 })
        bench.report(first.instance, .ready)
        #expect(bench.targets("web").count == 3, "it serves")
        bench.send(.tick, after: 10)
        #expect(bench.instances("web", .draining).isEmpty)
        bench.report(first.instance, .unhealthy)
        bench.report(first.instance, .ready, after: 1)
        bench.send(.tick, after: 19)
        #expect(bench.instances("web", .draining).isEmpty, "the time began anew")
        #expect(bench.reconciler.nextDeadline <= bench.now + .seconds(1))
        bench.send(.tick, after: 1)
        #expect(bench.instances("web", .draining).count == 1)
        bench.finishDrains(of: "web")
        let second = try #require(bench.instances("web").first { $0.revision == 2 && $0.state != .ready })
        bench.report(second.instance, .ready)
        bench.send(.tick, after: 20)
        #expect(bench.kinds.contains(.rolloutFinished))
        bench.finishDrains(of: "web")
        #expect(bench.instances("web").map(\.revision) == [2, 2])
    }

    @Test func `shares of the wanted number are rounded up for surge, down for unavailable`() {
        let half = AppSpec.RolloutPolicy(surge: .percent(25), unavailable: .percent(25))
        #expect(half.surge.resolved(of: 5, roundingUp: true) == 2)
        #expect(half.unavailable.resolved(of: 5, roundingUp: false) == 1)
        #expect(half.unavailable.resolved(of: 3, roundingUp: false) == 0)
        var bench = running(8)
        var application = makeApplication(makeSpec("web", image: "web:2"), revision: 2, replicas: 8)
        application.spec.rollout = half
        bench.send(.applicationChanged(application))
        #expect(bench.runs.count == 4, "two above, two in place of the two that leave")
        #expect(bench.instances("web", .draining).count == 2)
    }

    @Test func `a paused rollout neither makes new nor drops old instances, and what fails is replaced by the old`()
        throws
    {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        let first = try #require(bench.runs.first?.instance)
        bench.send(.rolloutPaused(app("web"), true))
        bench.report(first, .ready)
        bench.send(.tick, after: 600)
        #expect(bench.instances("web").map(\.revision).sorted() == [1, 1, 1, 2], "not even a deadline passes")
        #expect(bench.runs.isEmpty && bench.reverts.isEmpty)
        #expect(bench.rollouts[app("web")]?.isPaused == true)
        // Scaling goes on, with what is known to work.
        bench.send(next(2, replicas: 5))
        #expect(bench.runs.map(\.revision) == [1])
        #expect(bench.runs.map(\.spec.image) == ["web:1"])
        bench.report(try #require(bench.runs.first?.instance), .ready)
        // So does healing: a host with an old instance dies.
        let gone = try #require(bench.instances("web", .ready).first { $0.revision == 1 })
        bench.report(gone.instance, .stopped)
        #expect(bench.runs.map(\.revision) == [1])
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision).sorted() == [1, 1, 1, 1, 2])
        bench.send(.rolloutPaused(app("web"), false))
        #expect(bench.runs.map(\.revision) == [2])
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == [2, 2, 2, 2, 2])
    }

    @Test func `a pause and the way back outlive the leader`() throws {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        bench.report(try #require(bench.runs.first?.instance), .ready)
        bench.report(try #require(bench.runs.first?.instance), .starting)
        bench.send(.rolloutPaused(app("web"), true))
        bench.finishDrains(of: "web")
        let before = bench.instances("web").map(\.instance)
        var successor = LeaderBench(epoch: 2, rows: bench.rows)
        successor.agents = bench.agents
        successor.rollouts = bench.rollouts
        successor.nextAddress = 100
        successor.takeOver([makeApplication(makeSpec("web", image: "web:2"), revision: 2, replicas: 3)])
        successor.send(.tick, after: 500)
        #expect(successor.instances("web").map(\.instance) == before)
        #expect(successor.rollout?.record.isPaused == true && successor.rollout?.record.from == 1)
        #expect(successor.reverts.isEmpty)
        successor.send(.rolloutPaused(app("web"), false))
        successor.send(.tick, after: 61)
        #expect(successor.reverts == [1])
    }

    @Test func `each new ready instance extends the deadline`() throws {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        for _ in 0..<3 {
            let coming = try #require(bench.instances("web").first { $0.state != .ready && $0.state != .draining })
            bench.send(.tick, after: 45)
            bench.report(coming.instance, .ready)
            bench.finishDrains(of: "web")
            #expect(bench.reverts.isEmpty)
        }
        #expect(bench.instances("web").allSatisfy { $0.revision == 2 })
    }

    @Test func `scaling during a rollout ends at the new count and revision`() {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        bench.send(next(2, replicas: 6))
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == Array(repeating: 2, count: 6))
        bench.send(next(3, replicas: 6))
        bench.send(next(3, replicas: 2))
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == [3, 3])
    }

    @Test func `a new leader goes on with a rollout`() throws {
        var bench = running(3)
        bench.send(next(2, replicas: 3))
        let coming = try #require(bench.runs.first?.instance)
        bench.report(coming, .starting)
        var successor = LeaderBench(epoch: 2, rows: bench.rows)
        successor.agents = bench.agents
        successor.nextAddress = 100
        successor.takeOver([makeApplication(makeSpec("web", image: "web:2"), revision: 2, replicas: 3)])
        #expect(successor.commands.isEmpty)
        #expect(successor.reconciler.replicaView(of: app("web")).rolloutInProgress)
        successor.send(.tick, after: 60)
        #expect(successor.reverts == [1])
        successor.settle("web")
        #expect(successor.instances("web").map(\.revision) == [2, 2, 2])
    }
}
