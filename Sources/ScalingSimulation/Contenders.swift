import Autoscaling
import OrchestryModel

/// The newest values of one metric, for rules that average.
private struct Averages: Sendable {
    private var values: [(second: Int64, value: Double)] = []
    private let kept: Int64

    init(kept: Int64) { self.kept = kept }

    mutating func add(_ value: Double, at second: Int64) {
        values.append((second, value))
        if values.count > Int(kept) * 2 { values.removeFirst(values.count - Int(kept)) }
    }

    /// The mean of what was measured in the `seconds` before `now`; nil: nothing was.
    func mean(last seconds: Int64, before now: Int64) -> Double? {
        let recent = values.reversed().prefix { $0.second >= now - seconds }
        return recent.isEmpty ? nil : recent.reduce(0) { $0 + $1.value } / Double(recent.count)
    }
}

/// Kubernetes' Horizontal Pod Autoscaler v2 as it comes: synchronised every 15 s with figures of the last 15 s (the
/// metrics server's resolution), tolerance 10%, growth by at most 4 or 100% in 15 s, shrinking to the highest wish of
/// 300 s. Source: its documentation, "Horizontal Pod Autoscaling", defaults of `behavior`.
public struct HorizontalPodRule: ScalingRule {
    public let name = "HPA v2"
    private let target: Double
    private let bounds: ClosedRange<Int>
    private var averages = Averages(kept: 60)
    private var wishes: [(second: Int64, count: Int)] = []
    private var changes: [RateLimits.Change] = []
    private let arithmetic = ReplicaArithmetic(outThreshold: 1, inThreshold: 1, toleranceOut: 0.1, toleranceIn: 0.1)

    public init(targetRPS: Double, bounds: ClosedRange<Int>) {
        target = targetRPS
        self.bounds = bounds
    }

    public mutating func decide(_ view: RuleView) -> (count: Int, reason: String) {
        if let observation = view.observation { averages.add(observation.rps, at: view.second - 1) }
        let ready = max(view.ready.count, 1)
        guard view.second % 15 == 0, let rps = averages.mean(last: 15, before: view.second) else {
            return (view.desired, "")
        }
        let factor = rps / target / Double(ready)
        var wish = view.desired
        // Its arithmetic divides by the target, not by the line that was crossed.
        if arithmetic.direction(of: factor) != .hold { wish = Int((rps / target - 1e-9).rounded(.up)) }
        wish = min(max(wish, bounds.lowerBound), bounds.upperBound)
        wishes.append((view.second, wish))
        wishes.removeAll { $0.second < view.second - 300 }
        var count = wish
        if wish < view.desired { count = min(view.desired, wishes.map(\.count).max() ?? wish) }
        count =
            RateLimits.limit(
                current: view.desired, desired: count, bounds: bounds,
                out: [.init(.instances, 4, periodSeconds: 15), .init(.percent, 100, periodSeconds: 15)],
                in: [.init(.percent, 100, periodSeconds: 15)], changes: changes, at: view.second
            ).count
        if count != view.desired { changes.append(.init(second: view.second, delta: count - view.desired)) }
        return (count, "")
    }
}

/// Knative Serving's rule as it comes: every 2 s, means of 60 s and of 6 s, panic at twice the ready instances, in which
/// the count never falls, growth by at most a thousand times, shrinking to half at most. The target is taken whole
/// (its `target-utilization` of 70% would ask for 15 where all others ask for 10). Source: its documentation,
/// "Configuring the Autoscaler", and the vectors this repository tests against.
public struct KnativeRule: ScalingRule {
    public let name = "Knative"
    private let target: Double
    private let bounds: ClosedRange<Int>
    private var averages = Averages(kept: 120)
    private var panicAt: Int64?
    private var maxPanic = 0

    public init(targetRPS: Double, bounds: ClosedRange<Int>) {
        target = targetRPS
        self.bounds = bounds
    }

    public mutating func decide(_ view: RuleView) -> (count: Int, reason: String) {
        if let observation = view.observation { averages.add(observation.rps, at: view.second - 1) }
        guard view.second % 2 == 0, let stable = averages.mean(last: 60, before: view.second),
            let short = averages.mean(last: 6, before: view.second)
        else { return (view.desired, "") }
        let ready = max(view.ready.count, 1)
        func wish(_ rps: Double) -> Int {
            min(max(Int((rps / target - 1e-9).rounded(.up)), ready / 2), ready * 1_000)
        }
        if Double(wish(short)) / Double(ready) >= 2 {
            panicAt = view.second
        } else if let panicked = panicAt, view.second > panicked + 60 {
            panicAt = nil
            maxPanic = 0
        }
        var count = wish(stable)
        if panicAt != nil {
            count = max(count, wish(short), maxPanic, ready)
            maxPanic = count
        }
        return (min(max(count, bounds.lowerBound), bounds.upperBound), "")
    }
}

/// The original Orchestry's published rule: means of a 20 s window, growth at 80% of the target to ⌊count × factor⌋ + 1,
/// shrinking by one at 30%, 30 s of cooldown after either, and a reading that fails counts as no load. Here it is asked
/// every 5 s, and given its app's own requests (really it has one counter for all apps, shared out).
public struct OriginalRule: ScalingRule {
    public let name = "original"
    private let target: Double
    private let bounds: ClosedRange<Int>
    private var loads = Averages(kept: 60)
    private var healthy = Averages(kept: 60)
    private var scaledAt = Int64.min / 2

    public init(targetRPS: Double, bounds: ClosedRange<Int>) {
        target = targetRPS
        self.bounds = bounds
    }

    public mutating func decide(_ view: RuleView) -> (count: Int, reason: String) {
        loads.add(view.observation?.rps ?? 0, at: view.second - 1)
        healthy.add(Double(view.ready.count), at: view.second - 1)
        guard view.second % 5 == 0, view.second - scaledAt >= 30,
            let rps = loads.mean(last: 20, before: view.second), let ready = healthy.mean(last: 20, before: view.second)
        else { return (view.desired, "") }
        let factor = rps / max(ready.rounded(.down), 1) / target
        var count = view.desired
        if factor > 0.8 {
            count = min(Int(Double(view.desired) * factor) + 1, bounds.upperBound)
        } else if factor < 0.3 {
            count = max(view.desired - 1, bounds.lowerBound)
        }
        if count != view.desired { scaledAt = view.second }
        return (count, "")
    }
}
