import OrchestryModel

/// What one instance said of itself in one second.
public struct CustomReading: Hashable, Sendable, Codable {
    /// As in the policy's `customMetrics`.
    public var metric: String
    public var instance: InstanceID
    /// Seconds since 1970.
    public var second: Int64
    /// In the metric's own unit; a counter's growth per second. Negative counts as 0.
    public var value: Double
    public init(metric: String, instance: InstanceID, second: Int64, value: Double) {
        self.metric = metric
        self.instance = instance
        self.second = second
        self.value = value
    }
}

/// One custom metric of one instance.
struct CustomSeries: Sendable {
    let metric: String
    let instance: InstanceID
    var values: SecondRing<CustomValue>
}

/// A value in thousandths, so that sums are exact; and how many there were.
struct CustomValue: AdditiveArithmetic, Sendable {
    var milli: Int64 = 0
    var seconds: Int64 = 0
    static let zero = CustomValue()
    static func + (left: CustomValue, right: CustomValue) -> CustomValue {
        CustomValue(milli: left.milli + right.milli, seconds: left.seconds + right.seconds)
    }
    static func - (left: CustomValue, right: CustomValue) -> CustomValue {
        CustomValue(milli: left.milli - right.milli, seconds: left.seconds - right.seconds)
    }
}

extension AppSeries {
    /// Metrics × instances of one app that are kept at most.
    private static let largestCustomCount = 8_192
    private static let forgetCustomSeconds: Int64 = 600

    mutating func record(_ reading: CustomReading) {
        guard reading.value.isFinite else { return }
        // An hour of the largest ones fits 64 bits.
        let value = CustomValue(milli: Int64((min(max(reading.value, 0), 1e12) * 1_000).rounded()), seconds: 1)
        if let position = custom.firstIndex(where: { $0.metric == reading.metric && $0.instance == reading.instance }) {
            custom[position].values.set(value, at: reading.second)
            return
        }
        custom.removeAll { $0.values.latest < reading.second - Self.forgetCustomSeconds }
        guard custom.count < Self.largestCustomCount else { return }
        var values = SecondRing<CustomValue>(capacity: capacity)
        values.set(value, at: reading.second)
        custom.append(CustomSeries(metric: reading.metric, instance: reading.instance, values: values))
    }

    /// Means over all instances with a fresh reading; metrics without any are left out.
    func customFactors(policy: ScalingPolicy, end: Int64) -> [Factor] {
        (policy.customMetrics ?? []).compactMap { metric in
            let fresh = custom.filter { $0.metric == metric.name && $0.values.latest >= end - Self.staleSeconds }
            let means = fresh.compactMap { series -> Double? in
                let total = series.values.total(
                    from: end - Int64(policy.windowSeconds) + 1, to: max(end, series.values.latest))
                return total.seconds > 0 ? Double(total.milli) / Double(total.seconds) / 1_000 : nil
            }
            guard !means.isEmpty else { return nil }
            let mean = means.reduce(0, +) / Double(means.count)
            return Factor(
                metric: .custom, name: metric.name, observed: mean, target: metric.target,
                factor: mean / metric.target, measured: means.count, missing: 0, setAside: 0, wanted: nil)
        }
    }

    /// A metric of the app's own, as the HPA's metrics of pods: the mean over instances, in whole thousandths; an
    /// instance without a fresh reading counts as on target when shrinking and as zero when growing.
    mutating func readCustom(
        _ metric: ScalingPolicy.CustomMetric, _ arithmetic: ReplicaArithmetic, _ state: ReplicaState, start: Int64,
        end: Int64, into factor: inout Factor
    ) {
        var sum: Int64 = 0
        var measured = 0
        for series in custom where series.metric == metric.name && state.ready[series.instance] != nil {
            guard series.values.latest >= end - Self.staleSeconds else { continue }
            let total = series.values.total(from: start, to: series.values.latest)
            guard total.seconds > 0 else { continue }
            sum += total.milli / total.seconds
            measured += 1
        }
        let levels = ReplicaArithmetic.Levels(
            sum: Double(sum), measured: measured, missing: state.ready.count - measured, setAside: state.starting,
            missingLevel: metric.target * 1_000)
        factor.measured = measured
        factor.missing = levels.missing
        factor.setAside = levels.setAside
        guard let answer = arithmetic.desired(levels, target: metric.target * 1_000, current: state.desired) else {
            return
        }
        factor.observed = Double(sum) / Double(measured) / 1_000
        factor.factor = answer.factor
        factor.wanted = Self.agree(answer, current: state.desired)
    }
}
