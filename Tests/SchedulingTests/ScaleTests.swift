import OrchestryModel
import Scheduling
import Testing

@Suite struct ScaleTests {
    /// 300 apps of 10 instances on 30 nodes: everything is placed evenly, and one app's change stays one app's.
    @Test func `three thousand instances are placed evenly, and a change concerns only its app`() throws {
        let names = (0..<30).map { "n\($0)" }
        var bench = LeaderBench(nodes: names)
        let small = AppSpec.Resources(cpuMillicores: 10, memoryBytes: 16 << 20)
        let applications = (0..<300).map { makeApplication(makeSpec("app\($0)", resources: small), replicas: 10) }
        bench.takeOver(applications)
        let views = bench.reconciler.nodeViews
        #expect(views.map(\.instances).reduce(0, +) == 3_000)
        #expect(views.allSatisfy { (90...110).contains($0.instances) })
        let one = try #require(bench.instances("app7").first?.instance)
        bench.report(one, .ready)
        #expect(bench.last.count == 3, "ready, its row, the new table: \(bench.last.count) outputs")
        bench.send(.applicationChanged(makeApplication(makeSpec("app8", resources: small), replicas: 11)))
        #expect(bench.runs.count == 1)
        bench.inventory(node("n5"), after: 0.1)
        #expect(bench.last.isEmpty)
    }
}
