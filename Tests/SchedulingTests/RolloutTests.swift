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

    @Test func `a revert goes back without another start of what still runs, or as a new revision`() throws {
        var back = running(3)
        back.send(next(2, replicas: 3))
        let bad = try #require(back.runs.first?.instance)
        back.report(bad, .starting)
        back.send(.tick, after: 61)
        back.send(next(1, replicas: 3))
        #expect(back.runs.isEmpty)
        #expect(back.stops == [bad], "it never had traffic")
        #expect(back.kinds.contains(.rolloutFinished))

        var forward = running(2)
        forward.send(next(2, replicas: 2))
        forward.send(.tick, after: 61)
        #expect(forward.reverts == [1])
        forward.send(next(3, replicas: 2), after: 1)
        #expect(forward.instances("web", .draining).allSatisfy { $0.revision == 2 })
        forward.send(.tick, after: 61)
        #expect(forward.kinds.contains(.rolloutFailed))
        #expect(forward.reverts.isEmpty, "a revert is not reverted")
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
