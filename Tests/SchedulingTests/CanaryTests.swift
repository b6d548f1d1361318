import OrchestryModel
import Scheduling
import Testing

@Suite struct CanaryEvaluatorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var new: (requests: UInt64, errors: UInt64)
        var old: (requests: UInt64, errors: UInt64) = (1_000, 0)
        /// Milliseconds of every request.
        var newLatency: UInt64 = 10
        var oldLatency: UInt64 = 10
        var seconds = 60.0
        var policy = AppSpec.RolloutPolicy.Canary(maxP95Factor: 2)
        /// nil: undecided; empty: passed; else words of the reason.
        var expected: String?
        var testDescription: String { name }
    }

    static let rows = [
        Row(name: "as good", new: (100, 0), expected: ""),
        Row(name: "too early", new: (500, 0), seconds: 59, expected: nil),
        Row(name: "too few requests, however long", new: (99, 0), seconds: 6_000, expected: nil),
        Row(name: "no requests asked for, none seen", new: (0, 0), policy: .init(minRequests: 0), expected: ""),
        Row(name: "one point more is allowed", new: (100, 1), expected: ""),
        Row(name: "more is not", new: (100, 2), expected: "2 of 100 requests failed (2%)"),
        Row(name: "the old one fails as often", new: (100, 5), old: (1_000, 45), expected: ""),
        Row(name: "no old traffic counts as no errors", new: (100, 2), old: (0, 0), expected: "of 0 (0%)"),
        Row(name: "beyond doubt, early", new: (60, 12), seconds: 3, expected: "12 of 60"),
        Row(name: "three of a hundred prove nothing early", new: (100, 3), seconds: 3, expected: nil),
        Row(name: "one failure of one proves nothing", new: (3, 1), old: (50, 10), seconds: 3, expected: nil),
        Row(name: "slower than allowed", new: (100, 0), newLatency: 30, expected: "p95 latency"),
        Row(name: "slower, within the factor", new: (100, 0), newLatency: 18, expected: ""),
        Row(
            name: "latency is not compared unless asked for", new: (100, 0), newLatency: 900, policy: .init(),
            expected: ""),
    ]

    @Test(arguments: rows)
    func `a verdict`(_ row: Row) {
        var evaluator = CanaryEvaluator(policy: row.policy, startedAt: .seconds(100))
        func traffic(_ side: (requests: UInt64, errors: UInt64), _ milliseconds: UInt64) -> InstanceTraffic {
            var latency = LatencyHistogram()
            latency.record(microseconds: milliseconds * 1_000, count: side.requests)
            return InstanceTraffic(
                instance: id("web-1-a"), requests: side.requests, errors: side.errors, latency: latency)
        }
        evaluator.add(traffic(row.new, row.newLatency), isNew: true)
        evaluator.add(traffic(row.old, row.oldLatency), isNew: false)
        let verdict = evaluator.verdict(at: .seconds(100 + row.seconds))
        switch (verdict, row.expected) {
        case (.undecided, nil), (.passed, ""): break
        case (.failed(let reason), let words?): #expect(!words.isEmpty && reason.contains(words), "\(reason)")
        default: Issue.record("\(verdict), expected \(row.expected ?? "undecided")")
        }
    }

    /// How often a revision is judged wrongly, with 2,000 requests at the defaults: the price of a threshold.
    @Test func `a clean revision passes, one with three percent errors does not`() {
        var generator = SeededGenerator(seed: 11)
        for errorRate in [0.0, 0.001, 0.03, 0.1] {
            var stopped = 0
            for _ in 0..<100 {
                var evaluator = CanaryEvaluator(policy: .init(), startedAt: .zero)
                var failed = false
                for second in 1...60 where !failed {
                    let errors = (0..<33).count { _ in generator.chance(errorRate) }
                    evaluator.add(
                        InstanceTraffic(instance: id("n"), requests: 33, errors: UInt64(errors)), isNew: true)
                    evaluator.add(InstanceTraffic(instance: id("o"), requests: 300, errors: 0), isNew: false)
                    if case .failed = evaluator.verdict(at: .seconds(Double(second))) { failed = true }
                }
                if failed { stopped += 1 }
            }
            #expect(errorRate >= 0.03 ? stopped == 100 : stopped == 0, "\(errorRate): \(stopped) of 100 stopped")
        }
    }

    @Test(arguments: [(10, 1, 1), (10, 1, 3), (10, 2, 10), (1, 1, 2), (50, 1, 1), (50, 1, 99), (1, 1, 99), (33, 3, 7)])
    func `weights give the new instances their share`(percent: Int, new: Int, old: Int) {
        let weights = CanaryWeights.weights(percent: percent, new: new, old: old)
        #expect((1...100).contains(weights.new) && (1...100).contains(weights.old))
        let share = Double(weights.new * new) / Double(weights.new * new + weights.old * old) * 100
        #expect(abs(share - Double(percent)) < 0.4, "\(weights): \(share)%")
    }
}

@Suite struct CanaryRolloutTests {
    private let policy = AppSpec.RolloutPolicy.Canary(weightPercent: 10, intervalSeconds: 30, minRequests: 50)

    private func next(_ revision: Int, replicas: Int) -> Reconciler.Input {
        .applicationChanged(
            makeApplication(
                makeSpec("web", image: "web:\(revision)", canary: policy), revision: revision, replicas: replicas))
    }

    /// Three of revision 1 serve, and one of revision 2 beside them.
    private func watching() throws -> (bench: LeaderBench, canary: InstanceID) {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 3)))
        bench.settle("web")
        bench.acknowledge()
        bench.send(next(2, replicas: 3))
        #expect(bench.runs.count == 1)
        let canary = try #require(bench.runs.first?.instance)
        bench.send(.tick, after: 20)
        #expect(bench.instances("web", .draining).isEmpty && !bench.reconciler.watchesTraffic(of: app("web")))
        bench.report(canary, .ready)
        #expect(bench.kinds.contains(.canaryStarted))
        #expect(bench.reconciler.watchesTraffic(of: app("web")))
        return (bench, canary)
    }

    /// A second of traffic on all.
    private func traffic(_ bench: inout LeaderBench, _ canary: InstanceID, errors: UInt64) {
        bench.send(
            .traffic(
                bench.instances("web", .ready).map {
                    InstanceTraffic(instance: $0.instance, requests: 10, errors: $0.instance == canary ? errors : 0)
                }), after: 1)
    }

    @Test func `a canary gets its weight, and the rest follows when it does well`() throws {
        var (bench, canary) = try watching()
        let targets = try #require(bench.reconciler.routingTable.routes.first?.targets)
        let share = { (target: RoutingTable.Target) in target.instance == canary ? target.weight : 0 }
        let total = targets.map(\.weight).reduce(0, +)
        #expect(targets.map(share).reduce(0, +) * 100 / total == 10, "\(targets)")
        for _ in 0..<29 {
            traffic(&bench, canary, errors: 0)
            #expect(bench.runs.isEmpty && bench.instances("web", .draining).isEmpty)
        }
        traffic(&bench, canary, errors: 0)
        #expect(bench.kinds.contains(.canaryPassed))
        #expect(bench.rollouts[app("web")]?.phase == .rolling)
        #expect(Set(bench.reconciler.routingTable.routes.first?.targets.map(\.weight) ?? []) == [1])
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == [2, 2, 2])
        #expect(bench.rollout?.record.state == .succeeded)
    }

    @Test func `one that fails is taken back, with the figures, and the old ones never left`() throws {
        var (bench, canary) = try watching()
        for _ in 0..<40 where bench.reverts.isEmpty {
            traffic(&bench, canary, errors: 3)
            #expect(bench.targets("web").count == 4)
        }
        #expect(bench.reverts == [1])
        #expect(bench.kinds.contains(.canaryFailed))
        let view = try #require(bench.rollout)
        #expect(view.record.state == .failed && view.record.reason.contains("requests failed (30%)"), "\(view.record)")
        #expect(view.canary["new"]?["errors"]?.intValue ?? 0 > 0)
        // Until the way back is stored it stays as it is, with its small share.
        bench.send(.tick, after: 300)
        #expect(bench.runs.isEmpty && bench.reverts.isEmpty)
        #expect(Set(bench.reconciler.routingTable.routes.first?.targets.map(\.weight) ?? []).count == 2)
        var back = makeApplication(makeSpec("web", canary: policy), revision: 3, replicas: 3)
        back.equalRevisions = [1, 3]
        bench.send(
            .applicationChanged(
                back,
                rollout: RolloutRecord(
                    app: app("web"), revision: 3, from: nil, origin: .automatic, restores: 1, reason: "because",
                    startedAt: bench.now.wall)))
        #expect(bench.instances("web", .draining).map(\.instance) == [canary], "\(bench.instances("web"))")
        #expect(bench.instances("web", .ready).map(\.revision) == [1, 1, 1])
        #expect(bench.kinds.contains(.rolloutFinished))
    }

    @Test func `too little traffic is no proof`() throws {
        var (bench, _) = try watching()
        bench.send(.tick, after: 30)
        bench.send(.tick, after: 59)
        #expect(bench.reverts.isEmpty)
        bench.send(.tick, after: 2)
        #expect(bench.reverts == [1])
        #expect(bench.rollout?.record.reason.contains("0 of 50 requests") == true)
    }

    @Test func `what is lost of the old while it is watched is made of the old`() throws {
        var (bench, _) = try watching()
        let old = try #require(bench.instances("web").first { $0.revision == 1 })
        bench.report(old.instance, .stopped)
        #expect(bench.runs.map(\.revision) == [1])
        #expect(bench.runs.map(\.spec.image) == ["web:1"])
        bench.send(next(2, replicas: 6))
        #expect(bench.runs.map(\.revision) == [1, 1, 1])
    }

    @Test func `a new leader watches anew`() throws {
        var (bench, canary) = try watching()
        for _ in 0..<20 { traffic(&bench, canary, errors: 0) }
        var successor = LeaderBench(epoch: 2, rows: bench.rows)
        successor.agents = bench.agents
        successor.rollouts = bench.rollouts
        successor.nextAddress = 100
        var application = makeApplication(makeSpec("web", image: "web:2", canary: policy), revision: 2, replicas: 3)
        application.updatedAt = bench.now.wall
        successor.takeOver([application])
        for _ in 0..<29 {
            traffic(&successor, canary, errors: 0)
            #expect(successor.runs.isEmpty)
        }
        for _ in 0..<2 { traffic(&successor, canary, errors: 0) }
        #expect(successor.rollout?.record.phase == .rolling)
    }

    @Test func `where nothing serves there is nothing to compare with`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        for status in bench.instances("web") { bench.report(status.instance, .crashLooping, restarts: 3) }
        bench.send(next(2, replicas: 2))
        #expect(bench.runs.count == 2)
        bench.settle("web")
        #expect(bench.instances("web").map(\.revision) == [2, 2])
    }
}
