import OrchestryModel
import Scheduling
import Testing

/// What a new leader does with what it finds.
@Suite struct TakeoverTests {
    private func running(_ replicas: Int) -> (LeaderBench, Application) {
        let application = makeApplication(makeSpec("web"), replicas: replicas)
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application))
        bench.settle("web")
        return (bench, application)
    }

    /// The next leader, with the rows and the agents of the last.
    private func successor(of bench: LeaderBench) -> LeaderBench {
        var next = LeaderBench(epoch: 2, rows: bench.rows)
        next.agents = bench.agents
        next.nextAddress = bench.nextAddress
        return next
    }

    @Test func `with everything as it should be it changes nothing`() {
        let (bench, application) = running(5)
        var next = successor(of: bench)
        var all: [Reconciler.Output] = []
        all += next.send(
            .loaded([application], instances: Array(next.rows.values), knownNodes: next.agents.keys.sorted()))
        for name in next.agents.keys.sorted() {
            all += next.send(.nodeConnected(name))
            all += next.send(.inventory(next.makeInventory(name)))
        }
        all += next.send(.tick, after: 60)
        for output in all {
            switch output {
            case .publish, .publishTo: break
            case .command, .persist, .forget, .record, .revert, .saveRollout, .nodeDrained:
                Issue.record("unexpected \(output)")
            }
        }
        #expect(next.reconciler.routingTable.routes == bench.reconciler.routingTable.routes)
        #expect(next.reconciler.routingTable.version > bench.reconciler.routingTable.version)
    }

    @Test func `it waits for inventories before it publishes or places anything`() {
        let (bench, application) = running(3)
        var next = successor(of: bench)
        next.send(.loaded([application], instances: [], knownNodes: next.agents.keys.sorted()))
        for name in next.agents.keys.sorted() { next.send(.nodeConnected(name)) }
        #expect(next.last.isEmpty)
        next.inventory(node("n1"))
        next.inventory(node("n2"))
        #expect(next.published == nil && next.commands.isEmpty)
        #expect(next.reconciler.capacityLimit(for: application.spec) == nil)
        #expect(next.reconciler.explain(app("web")).contains { $0.contains("n3") })
        next.inventory(node("n3"))
        #expect(next.published?.routes == bench.reconciler.routingTable.routes, "from the agents alone")
        #expect(next.commands.isEmpty, "rows were missing, instances were not")
        #expect(next.rows.count == 3)
    }

    @Test func `rows of a silent node count as alive until it is dead`() throws {
        let (bench, application) = running(3)
        var next = successor(of: bench)
        let silent = node("n2")
        next.send(.loaded([application], instances: Array(next.rows.values), knownNodes: next.agents.keys.sorted()))
        for name in [node("n1"), node("n3")] {
            next.send(.nodeConnected(name))
            next.inventory(name)
        }
        #expect(next.published == nil)
        next.send(.tick, after: 1)
        #expect(next.published?.routes == bench.reconciler.routingTable.routes)
        #expect(next.commands.isEmpty)
        next.send(.tick, after: 28)
        #expect(next.commands.isEmpty)
        next.send(.tick, after: 1)
        #expect(next.kinds.first == .nodeLost)
        #expect(next.runs.count == 1)
        #expect(next.runs.first?.node != silent)
    }

    @Test func `a node without an engine is not given up while it is connected`() {
        let (bench, application) = running(3)
        var next = successor(of: bench)
        let bare = node("n4")
        let all = next.agents.keys.sorted()
        next.send(.loaded([application], instances: Array(next.rows.values), knownNodes: all + [bare]))
        for name in all + [bare] { next.send(.nodeConnected(name)) }
        for name in all { next.inventory(name) }
        for _ in 0..<4 {
            next.send(.tick, after: 20)
            #expect(!next.kinds.contains(.nodeLost))
            #expect(next.reconciler.nextDeadline > next.now, "nothing to wake up for again and again")
        }
        next.send(.nodeDisconnected(bare))
        next.send(.tick, after: 31)
        #expect(next.kinds == [.nodeLost])
    }

    @Test func `the inventory is the truth for its node`() throws {
        let (bench, application) = running(3)
        var next = successor(of: bench)
        let phantom = try #require(bench.instances("web").first)
        next.agents[phantom.node]?[phantom.instance] = nil
        next.send(.nodeConnected(phantom.node))
        next.takeOver([application])
        #expect(next.instances("web").count == 3)
        #expect(!next.instances("web").contains { $0.instance == phantom.instance })
        #expect(next.rows[phantom.instance] == nil)
    }

    @Test func `it goes on with a drain where it stands`() throws {
        let (first, _) = running(3)
        var bench = first
        bench.acknowledge()
        let smaller = makeApplication(makeSpec("web"), replicas: 2)
        bench.send(.applicationChanged(smaller))
        let leaving = try #require(bench.instances("web", .draining).first?.instance)
        var next = successor(of: bench)
        next.takeOver([smaller])
        #expect(next.instances("web", .draining).map(\.instance) == [leaving])
        #expect(!next.targets("web").contains(leaving))
        #expect(next.kinds.isEmpty && next.stops.isEmpty)
        next.acknowledge()
        next.report(inFlight: [:], after: 0.5)
        #expect(next.stops == [leaving])
    }

    @Test func `an instance its agent is stopping already is not waited for`() throws {
        let (bench, application) = running(3)
        var next = successor(of: bench)
        let one = try #require(bench.instances("web").first)
        next.agents[one.node]?[one.instance]?.state = .draining
        next.takeOver([application])
        #expect(next.stops == [one.instance] || next.instances("web", .draining).count == 1)
        #expect(!next.targets("web").contains(one.instance))
        #expect(next.instances("web").count == 4, "and a replacement is made")
    }

    @Test func `instances of unknown apps are drained, surplus ones too, wanted ones kept`() {
        let (bench, application) = running(2)
        var next = successor(of: bench)
        next.rows = [:]
        next.agents[node("n1")]?[id("gone-1-zzzzzz")] = InstanceStatus(
            instance: id("gone-1-zzzzzz"), app: app("gone"), revision: 1, node: node("n1"), state: .ready,
            containerID: "x", endpoint: Endpoint(host: "10.9.9.9", port: 80), since: Instant.zero.wall)
        next.takeOver([application])
        #expect(next.instances("web", .ready).count == 2)
        #expect(next.instances("gone", .draining).count == 1)
        #expect(next.runs.isEmpty)
        next.finishDrains(of: "gone")
        #expect(next.instances("gone").isEmpty)
    }

    /// Right after a change of leader its own node is the first to have told what it holds.
    @Test(arguments: [true, false])
    func `new instances wait a moment for nodes that are connected, so that they are spread`(_ others: Bool) {
        var bench = LeaderBench()
        bench.send(
            .loaded(
                [makeApplication(makeSpec("web"), replicas: 3)], instances: [], knownNodes: bench.agents.keys.sorted()))
        for name in bench.agents.keys.sorted() { bench.send(.nodeConnected(name)) }
        bench.inventory(node("n1"))
        bench.send(.tick, after: 1.5)
        #expect(bench.runs.isEmpty)
        #expect(bench.reconciler.nextDeadline <= bench.now + .seconds(0.6))
        if others {
            bench.inventory(node("n2"))
            #expect(bench.runs.isEmpty)
            bench.inventory(node("n3"))
            #expect(Set(bench.runs.map(\.node)).count == 3)
        } else {
            bench.send(.tick, after: 0.6)
            #expect(bench.runs.map(\.node) == [node("n1"), node("n1"), node("n1")], "and no longer than that")
        }
    }

    @Test func `a fresh cluster waits for its first node`() {
        var bench = LeaderBench(nodes: ["n1"])
        bench.send(.loaded([makeApplication(makeSpec("web"), replicas: 1)], instances: [], knownNodes: []))
        #expect(bench.last.isEmpty)
        bench.send(.nodeConnected(node("n1")))
        #expect(bench.kinds == [.nodeJoined])
        bench.inventory(node("n1"))
        #expect(bench.runs.count == 1)
    }
}
