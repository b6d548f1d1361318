import Autoscaling
import OrchestryModel
import Testing

/// Load steps against a policy with defaults: 50 requests per second and instance, 1–20 instances, new ones ready after
/// 2 s. One instance carries its target, so 500 need 10.
struct ScenarioTests {
    private static let rightSize = 10

    private func load(_ second: Int64) -> Int { (120..<720).contains(second) ? 500 : 20 }

    private func run(lateNode: Int?, seed: UInt64?) -> World {
        var world = World(policy: ScalingPolicy(minReplicas: 1, maxReplicas: 20, targetRPS: 50), instances: 1)
        world.lateNode = lateNode
        var random = seed.map { Seeded($0) }
        for second in Int64(0)..<900 {
            var now = load(second)
            if random != nil { now += Int.random(in: -now / 20...now / 20, using: &random!) }  // Just tested for nil.
            world.run(second, load: now)
        }
        return world
    }

    @Test(arguments: [nil, 2] as [Int?], [nil, 1, 2, 3] as [UInt64?])
    func `a step is met in seconds and left again in two minutes`(lateNode: Int?, seed: UInt64?) throws {
        let world = run(lateNode: lateNode, seed: seed)
        let report = "late \(String(describing: lateNode)) seed \(String(describing: seed)): \(world.steps)"
        let first = try #require(world.steps.first, "\(report)")
        #expect(first.second >= 120 && first.second <= 123, "first action; \(report)")
        let right = try #require(world.steps.first { $0.to >= Self.rightSize }, "\(report)")
        #expect(right.second <= 126, "right size; \(report)")
        let most = world.steps.map(\.to).max() ?? 0
        #expect(most <= Self.rightSize + 1, "overshoot; \(report)")
        let shrinks = world.steps.filter { $0.to < $0.from }
        #expect(shrinks.allSatisfy { $0.second >= 720 }, "nothing shrinks under load; \(report)")
        let back = try #require(world.steps.last, "\(report)")
        #expect(back.to == 1, "\(report)")
        #expect(back.second <= 820, "back to one; \(report)")
    }

    @Test func `a new app grows on the part of the window there is`() {
        var policy = plainPolicy(rps: 50, window: 60)
        policy.maxReplicas = 20
        var scaler = Autoscaler()
        // 1.5 times capacity: no burst, and only three of sixty seconds known.
        scaler.record(seconds: 100...102) { sample($0, rps: 60) }
        let state = ReplicaState(desired: 1, ready: ready(1, since: 99))
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 103)
        #expect(evaluation.wanted == 2)
        #expect(evaluation.coveredSeconds == 3)
        #expect(evaluation.burst == nil)
    }

    @Test func `a new leader that took in samples as a follower acts at once`() {
        let policy = ScalingPolicy(minReplicas: 1, maxReplicas: 20, targetRPS: 50)
        var follower = Autoscaler()
        follower.record(seconds: 100...159) { sample($0, rps: 240) }
        let state = ReplicaState(desired: 2, ready: ready(2))
        #expect(follower.evaluate(app, policy: policy, state: state, at: 160).wanted == 5)
    }

    @Test(arguments: [true, false])
    func `a new leader does not shrink before it has seen a stabilization window itself`(ledBefore: Bool) {
        let policy = ScalingPolicy(minReplicas: 1, maxReplicas: 20, targetRPS: 50)
        var scaler = Autoscaler()
        let state = ReplicaState(desired: 6, ready: ready(6))
        var wanted: [Int64: Int] = [:]
        for second in Int64(0)...250 {
            scaler.record(sample(second - 1, rps: 20))
            // If it led before, long ago: what it wished then says nothing about the time between.
            guard second >= 200 || (ledBefore && second < 20) else { continue }
            wanted[second] = scaler.evaluate(app, policy: policy, state: state, at: second).wanted
        }
        for second in Int64(200)..<230 { #expect(wanted[second] == 6, "at \(second)") }
        #expect(wanted[230] == 1)
    }
}
