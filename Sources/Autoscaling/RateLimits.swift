import OrchestryModel

/// How far a count may move, by rate policies and bounds. Kubernetes' HPA v2 `behavior` rules: with several policies
/// the more permissive wins, and no limit pushes the count past the current one the other way.
public enum RateLimits {
    /// A past change of the count.
    public struct Change: Hashable, Sendable {
        /// Seconds since 1970.
        public var second: Int64
        /// Instances added; negative: removed.
        public var delta: Int
        public init(second: Int64, delta: Int) {
            self.second = second
            self.delta = delta
        }
    }

    /// The most instances the policies allow now; nil: no policy.
    public static func ceiling(
        current: Int, policies: [ScalingPolicy.RatePolicy], changes: [Change], at second: Int64
    ) -> Int? {
        var best: Int?
        for policy in policies {
            let start = startCount(current, policy, changes, second)
            let allowed =
                switch policy.unit {
                case .instances: start + policy.amount
                case .percent: Int((Double(start) * (1 + Double(policy.amount) / 100) - 1e-9).rounded(.up))
                }
            best = max(best ?? allowed, allowed)
        }
        return best.map { max($0, current) }
    }

    /// The fewest instances the policies allow now; nil: no policy.
    public static func floor(
        current: Int, policies: [ScalingPolicy.RatePolicy], changes: [Change], at second: Int64
    ) -> Int? {
        var best: Int?
        for policy in policies {
            let start = startCount(current, policy, changes, second)
            let allowed =
                switch policy.unit {
                case .instances: start - policy.amount
                case .percent: Int((Double(start) * (1 - Double(policy.amount) / 100) + 1e-9).rounded(.down))
                }
            best = min(best ?? allowed, allowed)
        }
        return best.map { min(max($0, 0), current) }
    }

    /// - Parameters:
    ///   - desired: the wish; the answer lies between it and `current`, or on a bound.
    ///   - out: policies for growth; `in`: for shrinking. Empty: unlimited.
    ///   - changes: any order; those older than a policy's period don't count for it.
    /// - Returns: the count allowed and the rule that kept it from `desired`, if one did.
    public static func limit(
        current: Int, desired: Int, bounds: ClosedRange<Int>, out: [ScalingPolicy.RatePolicy],
        in inward: [ScalingPolicy.RatePolicy], changes: [Change], at second: Int64
    ) -> (count: Int, rule: LimitRule?) {
        if desired > current {
            let rate = ceiling(current: current, policies: out, changes: changes, at: second) ?? Int.max
            let allowed = min(rate, bounds.upperBound)
            if desired > allowed { return (allowed, rate < bounds.upperBound ? .ratePolicy : .maxReplicas) }
        } else if desired < current {
            let rate = floor(current: current, policies: inward, changes: changes, at: second) ?? 0
            let allowed = max(rate, bounds.lowerBound)
            if desired < allowed { return (allowed, rate > bounds.lowerBound ? .ratePolicy : .minReplicas) }
        }
        return (desired, nil)
    }

    /// The count when the policy's period began.
    private static func startCount(
        _ current: Int, _ policy: ScalingPolicy.RatePolicy, _ changes: [Change], _ second: Int64
    ) -> Int {
        var start = current
        for change in changes where second - change.second < Int64(policy.periodSeconds) { start -= change.delta }
        return max(start, 0)
    }
}
