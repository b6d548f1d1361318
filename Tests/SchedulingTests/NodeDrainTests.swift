import OrchestryModel
import Scheduling
import Testing

@Suite struct NodeDrainTests {
    private let one = node("n1")

    private func running(_ apps: [String: Int], nodes: [String] = ["n1", "n2", "n3"]) -> LeaderBench {
        var bench = LeaderBench(nodes: nodes)
        bench.takeOver()
        for (name, replicas) in apps.sorted(by: { $0.key < $1.key }) {
            bench.send(.applicationChanged(makeApplication(makeSpec(name), replicas: replicas)))
            bench.settle(name)
        }
        bench.acknowledge()
        return bench
    }
    private func cordon(_ node: NodeID) -> Reconciler.Input {
        .scheduling(NodeScheduling(node: node, isCordoned: true))
    }
    private func drain(_ node: NodeID, seconds: Double? = 300) -> Reconciler.Input {
        .scheduling(NodeScheduling(node: node, isCordoned: true, isDraining: true, drainSecondsLeft: seconds))
    }

    @Test func `a cordoned node keeps what it has and gets nothing new`() {
        var bench = running(["web": 3])
        bench.send(cordon(one))
        #expect(bench.instances("web", .ready).count == 3)
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 9)))
        #expect(bench.runs.count == 6 && !bench.runs.contains { $0.node == one })
        bench.settle("web")
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 8)))
        #expect(
            bench.instances("web", .draining).map(\.node) == [one], "of two alike, the one that is not welcome goes")
        bench.settle("web")
        bench.send(.scheduling(NodeScheduling(node: one)))
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 9)))
        #expect(bench.runs.map(\.node) == [one])
    }

    @Test func `what fits nowhere else waits, and is placed when the node is open again`() {
        var bench = running([:], nodes: ["n1"])
        bench.send(cordon(one))
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 1)))
        #expect(bench.runs.isEmpty)
        #expect(bench.reconciler.explain(app("web")).contains { $0.contains("is cordoned") })
        #expect(bench.reconciler.capacityLimit(for: makeSpec("web")) == 0)
        bench.send(.scheduling(NodeScheduling(node: one)))
        #expect(bench.runs.count == 1)
    }

    @Test func `a drained node is emptied one instance at a time, each after its replacement is ready`() throws {
        var bench = running(["a": 3, "b": 3, "c": 1])
        let before = ["a", "b", "c"].flatMap { bench.instances($0) }.count { $0.node == one }
        #expect(before >= 2)
        bench.send(drain(one))
        var moved = 0
        var finished: [NodeID] = []
        for _ in 0..<60 where finished.isEmpty {
            let coming = ["a", "b", "c"].flatMap { bench.instances($0) }.filter { $0.state == .pending }
            #expect(coming.count <= 1 && !coming.contains { $0.node == one })
            for (name, wanted) in [("a", 3), ("b", 3), ("c", 1)] {
                #expect(
                    bench.targets(name).count >= wanted, "\(name) lost an instance before its replacement was ready")
            }
            if let next = coming.first {
                moved += 1
                bench.report(next.instance, .ready)
            }
            for name in ["a", "b", "c"] {
                bench.finishDrains(of: name)
                finished += bench.drained
            }
        }
        #expect(finished == [one] && moved == before)
        let view = try #require(bench.reconciler.nodeViews.first { $0.id == one })
        #expect(view.instances == 0 && view.scheduling == NodeScheduling(node: one, isCordoned: true))
    }

    @Test func `a replacement that does not come holds up the others for a while only`() throws {
        var bench = running(["a": 3, "b": 3])
        bench.send(drain(one))
        let stuck = try #require(bench.runs.first)
        bench.report(stuck.instance, .crashLooping, restarts: 5)
        bench.send(.tick, after: 29)
        #expect(Set(bench.runs.map(\.app)).subtracting([stuck.app]).isEmpty)
        bench.send(.tick, after: 3)
        #expect(bench.runs.contains { $0.app != stuck.app })
    }

    @Test func `at its deadline what is left leaves by the usual way`() throws {
        var bench = running(["a": 3])
        let left = try #require(bench.instances("a").first { $0.node == one }?.instance)
        bench.send(drain(one, seconds: 100))
        #expect(bench.runs.count == 1)
        bench.send(.tick, after: 60)
        #expect(bench.instances("a", .draining).isEmpty && bench.targets("a").contains(left))
        #expect(bench.reconciler.nextDeadline <= bench.now + .seconds(40))
        bench.send(.tick, after: 40)
        #expect(bench.instances("a", .draining).map(\.instance) == [left])
        #expect(!bench.targets("a").contains(left))
        #expect(bench.stops.isEmpty, "its requests come to their end first")
        bench.acknowledge()
        bench.report(inFlight: [left: 1], after: 0.5)
        #expect(bench.stops.isEmpty)
        bench.report(inFlight: [:], after: 0.5)
        #expect(bench.stops == [left])
        bench.report(left, .stopped)
        #expect(bench.drained == [one])
    }

    @Test func `uncordoned in between, what has not left stays`() throws {
        var bench = running(["a": 3])
        bench.send(drain(one))
        let coming = try #require(bench.runs.first?.instance)
        bench.send(.scheduling(NodeScheduling(node: one)))
        #expect(bench.stops == [coming], "it is not needed any more")
        #expect(bench.instances("a", .ready).count == 3)
    }

    @Test func `a new leader goes on with a drain`() throws {
        var bench = running(["a": 3])
        bench.send(drain(one))
        let coming = try #require(bench.runs.first?.instance)
        bench.report(coming, .ready)
        let leaving = try #require(bench.instances("a", .draining).first?.instance)
        var next = LeaderBench(epoch: 2, rows: bench.rows)
        next.agents = bench.agents
        next.nextAddress = 100
        next.send(
            .loaded(
                [makeApplication(makeSpec("a"), replicas: 3)], instances: Array(next.rows.values),
                knownNodes: next.agents.keys.sorted(),
                scheduling: [NodeScheduling(node: one, isCordoned: true, isDraining: true, drainSecondsLeft: 200)]))
        for name in next.agents.keys.sorted() {
            next.send(.nodeConnected(name))
            next.inventory(name)
        }
        #expect(next.runs.isEmpty)
        next.finishDrains(of: "a")
        #expect(!next.instances("a").contains { $0.instance == leaving || $0.node == one })
        #expect(
            next.drained == [one] || next.reconciler.nodeViews.first { $0.id == one }?.scheduling.isDraining == false)
        #expect(next.instances("a", .ready).count == 3)
    }

    @Test func `a node that dies while it is drained is given up, and is still cordoned when it returns`() throws {
        var bench = running(["a": 3])
        bench.send(drain(one))
        bench.settle("a")
        bench.send(.nodeDisconnected(one))
        bench.send(.tick, after: 31)
        bench.settle("a")
        #expect(bench.instances("a").allSatisfy { $0.node != one } && bench.instances("a").count == 3)
        bench.send(.nodeConnected(one), after: 60)
        bench.inventory(one)
        bench.send(.applicationChanged(makeApplication(makeSpec("a"), replicas: 8)))
        #expect(!bench.runs.contains { $0.node == one })
    }

    @Test func `what a dead node still runs when it returns is removed, its replacements stay`() throws {
        var bench = running(["a": 3])
        let stale = try #require(bench.instances("a").first { $0.node == one }?.instance)
        bench.send(.nodeDisconnected(one))
        bench.send(.tick, after: 31)
        let replacement = try #require(bench.runs.first)
        #expect(replacement.node != one)
        bench.report(replacement.instance, .ready)
        bench.send(.nodeConnected(one), after: 60)
        bench.inventory(one)
        let leaving = bench.instances("a", .draining)
        #expect(leaving.count == 1 && bench.instances("a", .ready).count == 3)
        for _ in 0..<5 { bench.finishDrains(of: "a") }
        #expect(bench.instances("a").count == 3)
        #expect(bench.instances("a").contains { $0.instance == stale } == (leaving.first?.instance != stale))
    }
}

@Suite struct RebalanceTests {
    private func move(_ name: String, _ app: String, _ on: String) -> Rebalancer.Movable {
        Rebalancer.Movable(
            id: id(name), app: AppName(unchecked: app), node: node(on),
            resources: .init(cpuMillicores: 250, memoryBytes: 64 << 20))
    }
    private func open(_ name: String, _ reserved: Int) -> Placement.Node {
        Placement.Node(
            id: node(name), capacityMillicores: 2_000, capacityMemoryBytes: 4 << 30, reservedMillicores: reserved,
            reservedMemoryBytes: Int64(reserved) << 18)
    }

    @Test func `an app that crowds a node moves first, then load is evened out, then nothing`() {
        let crowded = [move("w1", "web", "a"), move("w2", "web", "a"), move("x1", "x", "b")]
        #expect(
            Rebalancer.next(
                [open("a", 500), open("b", 250)], crowded,
                counts: [app("web"): [node("a"): 2], app("x"): [node("b"): 1]]) == id("w1"))
        let loaded = [move("w1", "web", "a"), move("x1", "x", "a"), move("y1", "y", "a")]
        let ones: [AppName: [NodeID: Int]] = [
            app("web"): [node("a"): 1], app("x"): [node("a"): 1], app("y"): [node("a"): 1],
        ]
        #expect(Rebalancer.next([open("a", 750), open("b", 0)], loaded, counts: ones) == id("w1"))
        #expect(Rebalancer.next([open("a", 500), open("b", 250)], loaded, counts: ones) == nil)
        #expect(Rebalancer.next([open("a", 750)], loaded, counts: ones) == nil)
        #expect(Rebalancer.next([open("a", 1_000), open("b", 1_900)], crowded, counts: [:]) == nil, "no room there")
    }

    @Test(arguments: [1, 3])
    func `a cluster whose node was away becomes even again, so many moves at once, and loses no ready instance`(
        atOnce: Int
    ) throws {
        let names = ["a", "b", "c", "d"]
        var bench = LeaderBench(nodes: ["n1", "n2"])
        bench.takeOver()
        let small = AppSpec.Resources(cpuMillicores: 100, memoryBytes: 64 << 20)
        for name in names {
            bench.send(.applicationChanged(makeApplication(makeSpec(name, resources: small), replicas: 3)))
            bench.settle(name)
        }
        bench.agents[node("n3")] = [:]
        bench.send(.nodeConnected(node("n3")))
        bench.inventory(node("n3"))
        #expect(bench.runs.isEmpty, "nothing moves unless asked")
        bench.send(.rebalance(atOnce: atOnce))
        var finished = false
        for _ in 0..<80 where !finished {
            let coming = names.flatMap { bench.instances($0) }.filter { $0.state == .pending }
            #expect(coming.count <= atOnce)
            for name in names { #expect(bench.targets(name).count >= 3) }
            for status in coming { bench.report(status.instance, .ready) }
            finished = bench.kinds.contains(.rebalanceFinished)
            for name in names {
                bench.finishDrains(of: name)
                finished =
                    finished || bench.kinds.contains(.rebalanceFinished) || bench.reconciler.balancingMoves == nil
            }
        }
        #expect(finished)
        let loads = bench.reconciler.nodeViews.map(\.instances)
        #expect(loads.reduce(0, +) == 12 && loads.allSatisfy { (3...5).contains($0) }, "\(loads)")
        bench.send(.rebalance(atOnce: atOnce))
        #expect(bench.runs.isEmpty && bench.kinds.contains(.rebalanceFinished), "even is even")
    }
}
