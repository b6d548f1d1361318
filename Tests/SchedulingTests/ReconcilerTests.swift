import OrchestryModel
import Scheduling
import Testing

/// Steady state, scaling, failures of instances and nodes.
@Suite struct ReconcilerTests {
    private func running(_ replicas: Int, surge: Int = 1) -> LeaderBench {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web", surge: surge), replicas: replicas)))
        bench.settle("web")
        return bench
    }

    @Test func `a new app is spread over the nodes and routed as its instances become ready`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 3)))
        #expect(bench.runs.count == 3)
        #expect(Set(bench.runs.map(\.node)).count == 3)
        #expect(bench.kinds.filter { $0 == .instanceCreated }.count == 3)
        #expect(bench.published?.routes.map(\.targets) == [[]], "the proxy answers 503 until something is ready")
        #expect(bench.runs.allSatisfy { InstanceID.isValid($0.instance.rawValue) })
        let first = try #require(bench.runs.first?.instance)
        bench.report(first, .ready)
        #expect(bench.kinds == [.instanceReady])
        #expect(bench.targets("web") == [first])
        #expect(bench.reconciler.readyCount(of: app("web")) == 1)
        bench.settle("web")
        #expect(bench.targets("web").count == 3)
        bench.send(.tick, after: 100)
        #expect(bench.commands.isEmpty)
        #expect(bench.reconciler.explain(app("web")).isEmpty)
        #expect(bench.rows.values.allSatisfy { $0.state == .ready })
    }

    @Test func `ids stay within their limit for the longest names`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        let name = String(repeating: "a", count: 63)
        bench.send(.applicationChanged(makeApplication(makeSpec(name), revision: 99_999_999, replicas: 1)))
        let id = try #require(bench.runs.first?.instance.rawValue)
        #expect(InstanceID.isValid(id), "\(id)")
    }

    @Test func `a command without effect is repeated at a bounded rate`() {
        var bench = LeaderBench(nodes: ["n1"])
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 1)))
        #expect(bench.runs.count == 1)
        #expect(bench.send(.tick, after: 1).isEmpty)
        #expect(bench.reconciler.nextDeadline <= bench.now + .seconds(1))
        bench.send(.tick, after: 1)
        #expect(bench.runs.count == 1)
        bench.settle("web")
        bench.send(.tick, after: 10)
        #expect(bench.runs.isEmpty)
    }

    @Test func `what does not fit is recorded once, explained, and placed when there is room`() {
        var bench = LeaderBench(nodes: ["n1"])
        bench.takeOver()
        let spec = makeSpec("web", resources: .init(cpuMillicores: 900))
        bench.send(.applicationChanged(makeApplication(spec, replicas: 3)))
        #expect(bench.runs.count == 2)
        #expect(bench.kinds.contains(.instanceFailed))
        #expect(bench.reconciler.explain(app("web")).contains { $0.contains("can't be placed") })
        #expect(bench.reconciler.capacityLimit(for: spec) == 2)
        bench.send(.tick, after: 5)
        #expect(!bench.kinds.contains(.instanceFailed))
        bench.agents[node("n2")] = [:]
        bench.send(.nodeConnected(node("n2")))
        #expect(bench.kinds == [.nodeJoined])
        bench.inventory(node("n2"))
        #expect(bench.runs.map(\.node) == [node("n2")])
        #expect(bench.reconciler.capacityLimit(for: spec) == 4)
    }

    @Test func `a node without a working engine gets nothing`() {
        var bench = LeaderBench(nodes: ["n1", "n2"])
        bench.takeOver()
        bench.inventory(node("n1"), engine: false)
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 4)))
        #expect(Set(bench.runs.map(\.node)) == [node("n2")])
    }

    @Test func `scale-in drains: out of routing, acknowledged, empty, then stopped`() throws {
        var bench = running(3)
        bench.acknowledge()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        let leaving = try #require(bench.instances("web", .draining).first?.instance)
        #expect(bench.kinds == [.instanceDraining])
        #expect(bench.published?.routes.first?.targets.map(\.instance).contains(leaving) == false)
        #expect(bench.rows[leaving]?.state == .draining, "a new leader goes on from there")
        #expect(bench.stops.isEmpty)
        bench.acknowledge([node("n1"), node("n2")])
        bench.report(inFlight: [:], after: 0.3)
        #expect(bench.stops.isEmpty, "n3 has not acknowledged")
        bench.acknowledge([node("n3")])
        bench.report(inFlight: [:], [node("n3")], after: 0.1)
        #expect(bench.stops.isEmpty, "this report may have left before the acknowledgement")
        bench.report(inFlight: [leaving: 2], [node("n3")], after: 0.9)
        #expect(bench.stops.isEmpty, "two requests are in flight")
        bench.report(inFlight: [:], [node("n3")], after: 1)
        #expect(bench.stops == [leaving])
        #expect(bench.send(.tick, after: 1).isEmpty)
        bench.send(.tick, after: 1)
        #expect(bench.stops == [leaving], "repeated until it is gone")
        bench.report(leaving, .stopped)
        #expect(bench.kinds == [.instanceStopped])
        #expect(bench.last.contains(.forget(leaving)))
        #expect(bench.instances("web").count == 2)
    }

    @Test func `requests that do not end are cut off after drainSeconds`() throws {
        var bench = running(2)
        bench.acknowledge()
        bench.send(.applicationChanged(makeApplication(makeSpec("web", drainSeconds: 5), replicas: 1)))
        let leaving = try #require(bench.instances("web", .draining).first?.instance)
        bench.acknowledge()
        bench.report(inFlight: [leaving: 1], after: 1)
        bench.send(.tick, after: 3.9)
        #expect(bench.stops.isEmpty)
        bench.send(.tick, after: 0.2)
        #expect(bench.stops == [leaving])
    }

    @Test func `a node that does not acknowledge is reported, and holds a drain up only so long`() throws {
        var bench = running(2)
        bench.acknowledge()
        bench.send(.applicationChanged(makeApplication(makeSpec("web", drainSeconds: 5), replicas: 1)))
        bench.acknowledge([node("n1"), node("n2")])
        bench.send(.tick, after: 5)
        #expect(bench.kinds == [.proxyRejected])
        #expect(bench.last.contains { if case .publishTo(node("n3"), _) = $0 { true } else { false } })
        bench.send(.tick, after: 4.9)
        #expect(bench.stops.isEmpty)
        bench.send(.tick, after: 0.2)
        #expect(bench.stops.count == 1)
    }

    @Test func `a node that disconnects is not waited for`() {
        var bench = running(2)
        bench.acknowledge()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 1)))
        let leaving = bench.instances("web", .draining)
        let other = bench.agents.keys.sorted().last { name in leaving.allSatisfy { $0.node != name } } ?? node("n3")
        let rest = bench.agents.keys.filter { $0 != other }.sorted()
        bench.acknowledge(rest)
        bench.report(inFlight: [:], rest, after: 0.5)
        #expect(bench.stops.isEmpty)
        bench.send(.nodeDisconnected(other))
        #expect(bench.stops == leaving.map(\.instance))
    }

    @Test func `a drained instance whose node comes back with an old table is not stopped before that node lets go`()
        throws
    {
        var bench = running(3)
        bench.acknowledge()
        let away = node("n2")
        let leaving = try #require(bench.instances("web").first { $0.node == away }?.instance)
        bench.send(.nodeDisconnected(away))
        bench.send(.applicationChanged(makeApplication(makeSpec("web", drainSeconds: 5), replicas: 2)))
        #expect(bench.instances("web", .draining).map(\.instance) == [leaving], "what may be dead goes first")
        let others = [node("n1"), node("n3")]
        bench.acknowledge(others)
        bench.report(inFlight: [:], others, after: 0.5)
        bench.send(.tick, after: 20)
        #expect(bench.stops.isEmpty, "nobody to tell")
        bench.send(.nodeConnected(away))
        bench.inventory(away)
        #expect(bench.stops.isEmpty, "its own proxy may still route to it")
        bench.acknowledge([away])
        bench.report(inFlight: [leaving: 1], [away], after: 0.5)
        #expect(bench.stops.isEmpty)
        bench.report(inFlight: [:], [away], after: 1)
        #expect(bench.stops == [leaving])
    }

    @Test func `unhealthy: out of routing at once, replaced, removed when the replacement is ready`() throws {
        var bench = running(3)
        let sick = try #require(bench.instances("web").first?.instance)
        bench.report(sick, .unhealthy)
        #expect(bench.kinds.contains(.instanceUnhealthy))
        #expect(bench.published?.routes.first?.targets.count == 2)
        let replacement = try #require(bench.runs.first?.instance)
        #expect(bench.runs.count == 1)
        bench.report(replacement, .ready)
        #expect(bench.instances("web", .draining).map(\.instance) == [sick])
        bench.finishDrains(of: "web")
        #expect(bench.instances("web").count == 3)
    }

    @Test func `if it recovers first, the replacement goes`() throws {
        var bench = running(3)
        let sick = try #require(bench.instances("web").first?.instance)
        bench.report(sick, .unhealthy)
        let replacement = try #require(bench.runs.first?.instance)
        bench.report(sick, .ready)
        #expect(bench.stops == [replacement], "it never had traffic: no drain")
        #expect(bench.targets("web").contains(sick))
    }

    @Test func `a plain restart is no reason for a replacement, a crash loop is for one`() throws {
        var bench = running(2)
        let one = try #require(bench.instances("web").first?.instance)
        bench.report(one, .starting, restarts: 1)
        #expect(bench.runs.isEmpty)
        #expect(!bench.targets("web").contains(one))
        bench.report(one, .crashLooping, restarts: 1)
        #expect(bench.runs.isEmpty)
        bench.report(one, .crashLooping, restarts: 2)
        #expect(bench.runs.count == 1)
        let other = try #require(bench.runs.first?.instance)
        bench.report(other, .starting)
        bench.report(other, .crashLooping, restarts: 3)
        #expect(bench.runs.isEmpty, "never more than wanted + surge")
        bench.send(.tick, after: 600)
        #expect(bench.runs.isEmpty)
        #expect(bench.instances("web").count == 3)
    }

    @Test func `one that is not ready in time is replaced`() throws {
        var bench = running(1)
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        let slow = try #require(bench.runs.first?.instance)
        bench.report(slow, .starting)
        bench.send(.tick, after: 32.9)
        #expect(bench.runs.isEmpty)
        #expect(bench.reconciler.nextDeadline <= bench.now + .seconds(0.2))
        bench.send(.tick, after: 0.2)
        #expect(bench.runs.count == 1)
    }

    @Test func `a dead node's instances are placed anew, and stale ones stopped when it returns`() throws {
        var bench = running(3)
        let dead = node("n2")
        let stale = try #require(bench.instances("web").first { $0.node == dead })
        bench.send(.nodeDisconnected(dead))
        bench.send(.tick, after: 29.9)
        #expect(bench.runs.isEmpty)
        #expect(bench.targets("web").contains(stale.instance), "it may well be serving")
        bench.send(.tick, after: 0.2)
        #expect(bench.kinds.contains(.nodeLost))
        #expect(bench.runs.count == 1)
        #expect(bench.last.contains(.forget(stale.instance)))
        #expect(bench.published?.routes.first?.targets.count == 2)
        bench.settle("web")
        bench.send(.nodeConnected(dead), after: 10)
        #expect(bench.kinds == [.nodeJoined])
        bench.inventory(dead)
        // Not the one that has just taken its place, however many its node has.
        #expect(bench.instances("web", .ready).count == 3)
        #expect(bench.instances("web", .draining).map(\.instance) == [stale.instance])
        bench.finishDrains(of: "web")
        #expect(bench.instances("web").count == 3)
        #expect(bench.instances("web").allSatisfy { $0.node != dead })
    }

    @Test func `a node that comes back in time keeps its instances`() {
        var bench = running(3)
        bench.send(.nodeDisconnected(node("n2")))
        bench.send(.nodeConnected(node("n2")), after: 20)
        bench.inventory(node("n2"))
        #expect(bench.commands.isEmpty)
        bench.send(.tick, after: 20)
        #expect(bench.commands.isEmpty)
        #expect(bench.targets("web").count == 3)
    }

    @Test func `an instance missing from an inventory is replaced, unless it reported a moment ago`() throws {
        var bench = running(3)
        let gone = try #require(bench.instances("web").first)
        bench.agents[gone.node]?[gone.instance] = nil
        bench.inventory(gone.node, after: 1)
        #expect(bench.runs.isEmpty, "the inventory may be older than the report")
        bench.inventory(gone.node, after: 10)
        #expect(bench.kinds.contains(.instanceFailed))
        #expect(bench.runs.count == 1)
    }

    @Test func `a restarted agent that probes anew does not interrupt routing`() throws {
        var bench = running(2)
        let one = try #require(bench.instances("web").first)
        let since = one.since
        bench.report(one.instance, .starting)
        #expect(bench.targets("web").contains(one.instance))
        bench.report(one.instance, .ready, after: 1)
        #expect(bench.instances("web").first?.since == since, "it did not warm up again")
        bench.report(one.instance, .starting)
        bench.send(.tick, after: 10)
        #expect(!bench.targets("web").contains(one.instance), "it had time enough")
    }

    @Test func `an agent that falls silent while it probes anew is given until it is back`() throws {
        var bench = running(2)
        let one = try #require(bench.instances("web").first)
        bench.report(one.instance, .starting)
        bench.send(.nodeDisconnected(one.node))
        bench.send(.tick, after: 15)
        #expect(bench.targets("web").contains(one.instance), "silent: it counts as it last was")
        bench.send(.nodeConnected(one.node))
        bench.inventory(one.node)
        #expect(!bench.targets("web").contains(one.instance), "it is back, and still not ready")
    }

    @Test func `stopped keeps its route without targets, deleted loses it after the drain`() {
        var bench = running(2)
        bench.acknowledge()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 0, running: false)))
        #expect(bench.instances("web", .draining).count == 2)
        bench.finishDrains(of: "web")
        #expect(bench.instances("web").isEmpty)
        #expect(bench.reconciler.routingTable.routes.map(\.app) == [app("web")])
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 1)))
        bench.settle("web")
        bench.send(.applicationDeleted(app("web")))
        #expect(bench.published?.routes.map(\.targets) == [[]])
        bench.finishDrains(of: "web")
        #expect(bench.reconciler.routingTable.routes.isEmpty)
        #expect(bench.rows.isEmpty)
    }

    @Test func `a worker is not routed`() {
        var bench = LeaderBench()
        bench.takeOver()
        var spec = makeSpec("job")
        spec.kind = .worker
        spec.ports = []
        bench.send(.applicationChanged(makeApplication(spec, replicas: 1)))
        bench.settle("job")
        #expect(bench.reconciler.readyCount(of: app("job")) == 1)
        #expect(bench.reconciler.routingTable.routes.isEmpty)
    }

    @Test func `a changed health check is sent to the instances there are`() {
        var bench = running(2)
        var spec = makeSpec("web")
        spec.health.path = "/healthz"
        bench.send(.applicationChanged(makeApplication(spec, replicas: 2)))
        #expect(bench.runs.map(\.spec.health.path) == ["/healthz", "/healthz"])
        #expect(Set(bench.runs.map(\.instance)) == Set(bench.instances("web").map(\.instance)))
        bench.send(.tick, after: 10)
        #expect(bench.runs.isEmpty)
    }

    @Test func `retry reaches those that are not ready`() throws {
        var bench = running(2)
        let one = try #require(bench.instances("web").first?.instance)
        bench.report(one, .crashLooping, restarts: 1)
        bench.send(.retry(app("web")))
        #expect(bench.commands == [.retry(one)])
    }

    @Test func `the autoscaler's view leaves draining instances out`() throws {
        var bench = running(3)
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        var view = bench.reconciler.replicaView(of: app("web"))
        #expect(view.ready.count == 2 && view.starting == 0 && !view.rolloutInProgress)
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 4)))
        view = bench.reconciler.replicaView(of: app("web"))
        #expect(view.ready.count == 2 && view.starting == 2)
        let second = try #require(view.ready.values.first)
        #expect(second == bench.instances("web", .ready).first?.since.wholeSecond)
    }
}
