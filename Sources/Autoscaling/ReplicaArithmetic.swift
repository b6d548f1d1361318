import OrchestryModel

/// From one metric to a number of instances. With thresholds 100/100 and tolerance 0.1 it is the replica calculator of
/// Kubernetes' Horizontal Pod Autoscaler v2; thresholds move the two lines at which it acts.
///
/// Factors are fractions of the target: 1 means "on target".
public struct ReplicaArithmetic: Hashable, Sendable {
    public enum Direction: String, Hashable, Sendable, Codable { case out, hold, `in` }

    /// What one metric asks for.
    public struct Answer: Hashable, Sendable {
        /// Observed ÷ target, after missing instances were filled in.
        public var factor: Double
        public var direction: Direction
        /// Instances; the current count when the direction is `hold`.
        public var count: Int
    }

    /// A metric measured at each instance, in the unit of its target.
    public struct Levels: Hashable, Sendable {
        /// Sum over the measured instances.
        public var sum: Double
        public var measured: Int
        /// Ready, past their warm-up, and silent.
        public var missing: Int
        /// Starting or warming up: left out when shrinking, idle when growing.
        public var setAside: Int
        /// What a missing instance counts as when shrinking.
        public var missingLevel: Double
        public init(sum: Double, measured: Int, missing: Int = 0, setAside: Int = 0, missingLevel: Double) {
            self.sum = sum
            self.measured = measured
            self.missing = missing
            self.setAside = setAside
            self.missingLevel = missingLevel
        }
    }

    /// Floating-point noise that must not push a quotient over a whole number or a threshold.
    private static let noise = 1e-9
    /// A count is given back only down to where this part of the growth line is used, so that a load which sits on the
    /// line doesn't shrink and grow in turn. The tolerance does the same job where it is wider.
    private static let settledPart = 0.95
    private static let largestCount = 1_000_000.0

    public let outThreshold: Double
    public let inThreshold: Double
    public let toleranceOut: Double
    public let toleranceIn: Double

    /// - Parameters: fractions, 1 for 100%.
    public init(outThreshold: Double, inThreshold: Double, toleranceOut: Double, toleranceIn: Double) {
        self.outThreshold = max(outThreshold, 0.001)
        self.inThreshold = inThreshold
        self.toleranceOut = toleranceOut
        self.toleranceIn = toleranceIn
    }

    public init(_ policy: ScalingPolicy) {
        self.init(
            outThreshold: policy.scaleOutThresholdPercent / 100, inThreshold: policy.scaleInThresholdPercent / 100,
            toleranceOut: policy.toleranceOut, toleranceIn: policy.toleranceIn)
    }

    public func direction(of factor: Double) -> Direction {
        if factor > outThreshold + toleranceOut + Self.noise { return .out }
        if factor < inThreshold - toleranceIn - Self.noise { return .in }
        return .hold
    }

    /// Instances for a load.
    /// - Parameter load: in instances that would be exactly on target.
    public func size(load: Double, _ direction: Direction) -> Int {
        let level =
            direction == .in ? min(outThreshold, (outThreshold + toleranceOut) * Self.settledPart) : outThreshold
        let count = (load / level - Self.noise).rounded(.up)
        return Int(min(max(count, 0), Self.largestCount))
    }

    /// A figure of the whole app with a target for each instance (requests per second, connections).
    /// - Parameters:
    ///   - low: what was certainly seen; growth is judged by it.
    ///   - high: with unseen parts taken as last known; shrinking is judged by it. At least `low`.
    ///   - ready: instances that share the load; 0 counts as 1.
    public func desired(low: Double, high: Double, targetPerInstance: Double, ready: Int, current: Int) -> Answer {
        let capacity = targetPerInstance * Double(max(ready, 1))
        let lowFactor = low / capacity
        let highFactor = high / capacity
        if direction(of: lowFactor) == .out {
            return Answer(factor: lowFactor, direction: .out, count: size(load: low / targetPerInstance, .out))
        }
        if direction(of: highFactor) == .in {
            return Answer(factor: highFactor, direction: .in, count: size(load: high / targetPerInstance, .in))
        }
        return Answer(factor: highFactor, direction: .hold, count: current)
    }

    /// A figure of the whole app with a target for the whole (a latency percentile): assumed to answer in proportion
    /// to the ready instances.
    public func desired(value: Double, target: Double, ready: Int, current: Int) -> Answer {
        let factor = value / target
        let direction = direction(of: factor)
        if direction == .hold { return Answer(factor: factor, direction: .hold, count: current) }
        return Answer(factor: factor, direction: direction, count: size(load: factor * Double(ready), direction))
    }

    /// A figure of each instance (CPU, memory).
    /// - Parameter target: above 0. Means are truncated to whole units, as the HPA's are.
    /// - Returns: nil when nothing was measured, that is, hold.
    public func desired(_ levels: Levels, target: Double, current: Int) -> Answer? {
        guard levels.measured > 0 else { return nil }
        let seen = factor(levels.sum, levels.measured, target)
        let direction = direction(of: seen)
        if direction == .hold { return Answer(factor: seen, direction: .hold, count: current) }
        if levels.missing == 0, levels.setAside == 0 || direction == .in {
            let load = seen * Double(levels.measured)
            return Answer(factor: seen, direction: direction, count: size(load: load, direction))
        }
        // Whoever is silent is assumed to argue against the change.
        var sum = levels.sum
        var count = levels.measured + levels.missing
        if direction == .out {
            count += levels.setAside
        } else {
            sum += Double(levels.missing) * levels.missingLevel
        }
        let filled = factor(sum, count, target)
        let size = size(load: filled * Double(count), direction)
        let agrees = direction == .out ? size >= current : size <= current
        guard self.direction(of: filled) == direction, agrees else {
            return Answer(factor: filled, direction: .hold, count: current)
        }
        return Answer(factor: filled, direction: direction, count: size)
    }

    private func factor(_ sum: Double, _ count: Int, _ target: Double) -> Double {
        (sum / Double(count) + Self.noise).rounded(.down) / target
    }
}
