import Autoscaling
import OrchestryModel
import Testing

/// The burst window against the cases published with Knative Serving's autoscaler (Apache-2.0): stable window 60 s,
/// burst threshold 2. Its rates of growth and shrinking are rate policies of one second here.
struct KnativeVectorTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var target: Double
        var stable: Double
        var panic: Double
        var ready: Int
        var upRate = 10.0
        var downRate = 10.0
        var panicAge: Int64?
        var maxPanic = 0
        var expected: Int
        /// Where we differ on purpose: what we answer.
        var ours: Int?
        var testDescription: String { name }
    }

    static let rows: [Row] = [
        Row(name: "stable-up", target: 10, stable: 50, panic: 10, ready: 1, expected: 5),
        // The burst window itself goes to zero; an evaluation keeps one: the last goes by idleSeconds only.
        Row(name: "no-traffic-to-zero", target: 10, stable: 0, panic: 0, ready: 1, expected: 0),
        // An activation scale above 1 is not offered: the first requests start one. Without traffic it changes nothing.
        Row(name: "activation-none", target: 10, stable: 0, panic: 0, ready: 1, expected: 0),
        Row(name: "panic-double", target: 10, stable: 50, panic: 100, ready: 1, expected: 10),
        Row(
            name: "in-panic-stable-larger", target: 1, stable: 50, panic: 30, ready: 5, panicAge: 5, maxPanic: 5,
            expected: 50),
        Row(name: "already-scaled", target: 10, stable: 50, panic: 50, ready: 5, expected: 5),
        // Rate policies are whole percents, as the HPA's: 9% of 100 go at once, where Knative's divisor 1.1 takes 10.
        Row(
            name: "small-down-rate", target: 10, stable: 1, panic: 1, ready: 100, downRate: 1.1, expected: 90,
            ours: 91),
        Row(name: "rate-limit-up", target: 10, stable: 1000, panic: 1001, ready: 1, expected: 10),
        Row(name: "rate-limit-down", target: 10, stable: 1, panic: 1, ready: 100, expected: 10),
        Row(
            name: "panic-holds-30s", target: 10, stable: 1, panic: 1, ready: 10, panicAge: 30, maxPanic: 100,
            expected: 100),
        Row(name: "no-endpoints", target: 10, stable: 1000, panic: 888, ready: 0, expected: 10),
        Row(name: "exp-2", target: 1, stable: 36, panic: 36, ready: 6, panicAge: 0, maxPanic: 6, expected: 36),
        Row(
            name: "exp-4", target: 1, stable: 1296, panic: 1296, ready: 216, panicAge: 0, maxPanic: 216,
            expected: 1296),
    ]

    @Test(arguments: rows)
    func `the burst window equals the published vectors`(_ row: Row) {
        let arithmetic = ReplicaArithmetic(outThreshold: 1, inThreshold: 1, toleranceOut: 0, toleranceIn: 0)
        let now: Int64 = 10_000
        let current = max(row.ready, 1)
        var window = BurstWindow(lastTrigger: row.panicAge.map { now - $0 }, peak: row.maxPanic)
        let wish = window.desired(
            stable: arithmetic.size(load: row.stable / row.target, .out),
            burst: arithmetic.size(load: row.panic / row.target, .out),
            overload: row.panic / row.target / Double(current), windowSeconds: 60, at: now)
        let up = ScalingPolicy.RatePolicy(.percent, Int((row.upRate - 1) * 100), periodSeconds: 1)
        let down = ScalingPolicy.RatePolicy(.percent, Int((1 - 1 / row.downRate) * 100), periodSeconds: 1)
        let limited = RateLimits.limit(
            current: current, desired: wish, bounds: 0...2000, out: [up], in: [down], changes: [], at: now)
        #expect(limited.count == row.ours ?? row.expected)
    }

    /// Knative divides the rounded-up wish by the ready instances, so any load over one instance's capacity is a burst
    /// for an app of one. With small apps the rule that would let noise in: 11 of 10 for two seconds would double it.
    @Test func `a little over capacity is no burst, even for one instance`() {
        var window = BurstWindow()
        #expect(window.desired(stable: 1, burst: 2, overload: 1.1, windowSeconds: 60, at: 0) == 1)
        #expect(!window.isActive)
    }

    @Test func `a burst ends more than a window after its last trigger`() {
        var window = BurstWindow()
        #expect(window.desired(stable: 1, burst: 8, overload: 8, windowSeconds: 60, at: 100) == 8)
        window.grant(8)
        #expect(window.desired(stable: 2, burst: 1, overload: 0.1, windowSeconds: 60, at: 160) == 8)
        #expect(window.desired(stable: 2, burst: 1, overload: 0.1, windowSeconds: 60, at: 161) == 2)
        #expect(!window.isActive)
    }

    @Test func `what was asked for but not granted is not held on to`() {
        var window = BurstWindow()
        _ = window.desired(stable: 1, burst: 40, overload: 40, windowSeconds: 20, at: 100)
        window.grant(5)
        #expect(window.desired(stable: 1, burst: 3, overload: 0.6, windowSeconds: 20, at: 101) == 5)
    }

    @Test func `a clock that steps back doesn't prolong a burst`() {
        var window = BurstWindow(lastTrigger: 5_000, peak: 9)
        #expect(window.desired(stable: 1, burst: 0, overload: 0, windowSeconds: 20, at: 100) == 9)
        #expect(window.desired(stable: 1, burst: 0, overload: 0, windowSeconds: 20, at: 121) == 1)
    }
}
