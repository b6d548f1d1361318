import Autoscaling
import OrchestryModel
import Testing

/// Rate policies against the cases published with Kubernetes' Horizontal Pod Autoscaler (Apache-2.0).
struct RateLimitTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var bounds: ClosedRange<Int>
        var current: Int
        var desired: Int
        /// Instances added (above 0) or removed, half a minute ago.
        var past: [Int]
        var policies: [ScalingPolicy.RatePolicy]
        var expected: Int
        var rule: LimitRule

        init(
            _ name: String, _ bounds: ClosedRange<Int>, from current: Int, to desired: Int, past: [Int] = [],
            _ policies: [ScalingPolicy.RatePolicy], expect expected: Int, _ rule: LimitRule
        ) {
            self.name = name
            self.bounds = bounds
            self.current = current
            self.desired = desired
            self.past = past
            self.policies = policies
            self.expected = expected
            self.rule = rule
        }
        var testDescription: String { name }
    }

    private static func instances(_ amount: Int, _ seconds: Int) -> ScalingPolicy.RatePolicy {
        ScalingPolicy.RatePolicy(.instances, amount, periodSeconds: seconds)
    }
    private static func percent(_ amount: Int, _ seconds: Int) -> ScalingPolicy.RatePolicy {
        ScalingPolicy.RatePolicy(.percent, amount, periodSeconds: seconds)
    }

    static let rows: [Row] = [
        Row(
            "up-default", 1...1000, from: 10, to: 50, [instances(4, 15), percent(100, 15)], expect: 20, .ratePolicy),
        Row(
            "up-percent-larger", 1...1000, from: 10, to: 500, [instances(2, 60), percent(100, 60)], expect: 20,
            .ratePolicy),
        Row("up-pod-limit", 1...1000, from: 10, to: 50, [instances(30, 60)], expect: 40, .ratePolicy),
        Row(
            "down-percent-vs-pods", 1...1000, from: 100, to: 2, [instances(20, 60), percent(1, 60)], expect: 80,
            .ratePolicy),
        Row("down-min", 1...1000, from: 10, to: 0, [instances(100, 60)], expect: 1, .minReplicas),
        Row("down-pod-limit", 1...1000, from: 10, to: 2, [instances(5, 60)], expect: 5, .ratePolicy),
        Row(
            "up-max-events", 1...200, from: 100, to: 500, past: [1, 5, 9], [instances(300, 60)], expect: 200,
            .maxReplicas),
        Row(
            "up-blocked-by-events", 1...1000, from: 100, to: 500, past: [1, 5, 9], [instances(5, 120)], expect: 100,
            .ratePolicy),
        Row(
            "up-percent-events", 1...1000, from: 100, to: 500, past: [1, 5, 9], [percent(200, 120)], expect: 255,
            .ratePolicy),
        Row(
            "down-min-events", 1...1000, from: 100, to: 0, past: [-1, -5, -9], [instances(115, 120)], expect: 1,
            .minReplicas),
        Row(
            "down-min5-percent-events", 5...1000, from: 100, to: 2, past: [-1, -5, -9], [percent(100, 120)],
            expect: 5, .minReplicas),
        Row(
            "down-percent-events", 1...1000, from: 100, to: 0, past: [-2, -4, -6], [percent(50, 120)], expect: 56,
            .ratePolicy),
        Row(
            "down-blocked-percent", 1...1000, from: 100, to: 0, past: [-10, -10, -10], [percent(10, 120)],
            expect: 100, .ratePolicy),
    ]

    @Test(arguments: rows)
    func `limits equal the published vectors`(_ row: Row) {
        let limited = RateLimits.limit(
            current: row.current, desired: row.desired, bounds: row.bounds, out: row.policies, in: row.policies,
            changes: row.past.map { RateLimits.Change(second: 970, delta: $0) }, at: 1000)
        #expect(limited.count == row.expected)
        #expect(limited.rule == row.rule)
    }

    @Test func `changes older than the period don't count`() {
        let changes = [RateLimits.Change(second: 940, delta: 8), RateLimits.Change(second: 941, delta: 2)]
        let limited = RateLimits.limit(
            current: 20, desired: 100, bounds: 1...1000, out: [Self.instances(5, 60)], in: [], changes: changes,
            at: 1000)
        #expect(limited.count == 23)
    }

    @Test func `without policies only the bounds hold`() {
        let none = RateLimits.limit(
            current: 5, desired: 90, bounds: 1...100, out: [], in: [], changes: [], at: 0)
        #expect(none.count == 90)
        #expect(none.rule == nil)
        let least = RateLimits.limit(current: 5, desired: 0, bounds: 2...100, out: [], in: [], changes: [], at: 0)
        #expect(least.count == 2)
        #expect(least.rule == .minReplicas)
    }

    @Test func `an evaluation obeys rate policies and past changes`() {
        var policy = plainPolicy(rps: 10).likeHPA
        policy.scaleOutPolicies = [Self.instances(4, 60)]
        var scaler = Autoscaler()
        scaler.record(seconds: 0...199) { sample($0, rps: 400) }
        scaler.noteScaled(app, from: 7, to: 10, at: 170)
        let state = ReplicaState(desired: 10, ready: ready(10))
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 200).wanted == 11)
        scaler.noteScaled(app, from: 10, to: 11, at: 200)
        let next = ReplicaState(desired: 11, ready: ready(10), starting: 1)
        let held = scaler.evaluate(app, policy: policy, state: next, at: 201)
        #expect(held.wanted == 11)
        #expect(held.limits.contains { $0.rule == .ratePolicy })
    }
}
