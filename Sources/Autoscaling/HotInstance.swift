import OrchestryModel

/// One instance that carries much more than the others: no average shows it, and more instances don't cure it (a client
/// that is bound to it, a stuck job, a slow disk). Said to people; nothing is done about it.
public struct HotInstance: Hashable, Sendable {
    public var instance: InstanceID
    /// Percent of its CPU limit.
    public var percent: Double
    /// Of all of them.
    public var medianPercent: Double

    /// Fewer have no typical one among them.
    private static let fewest = 3
    /// Times the median.
    private static let factor = 2.0
    /// Percent of the limit: below that nobody is hot.
    private static let leastPercent = 50.0

    /// - Parameter percents: CPU of the ready instances that were measured.
    /// - Returns: nil when none stands out.
    public init?(_ percents: [InstanceID: Double]) {
        let sorted = percents.sorted { ($0.value, $0.key) < ($1.value, $1.key) }
        guard sorted.count >= Self.fewest, let hottest = sorted.last else { return nil }
        let median = (sorted[(sorted.count - 1) / 2].value + sorted[sorted.count / 2].value) / 2
        guard hottest.value >= Self.leastPercent, hottest.value > median * Self.factor else { return nil }
        instance = hottest.key
        percent = hottest.value
        medianPercent = median
    }

    public var words: String {
        let times = medianPercent >= 1 ? "\(Decimal.oneDigit(percent / medianPercent)) × " : "far more than "
        return "\(instance) carries \(times)the median CPU of the app's instances "
            + "(\(Decimal.short(percent.rounded()))% of its limit against \(Decimal.short(medianPercent.rounded()))%)."
    }
}
