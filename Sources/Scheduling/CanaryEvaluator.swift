import OrchestryModel

/// What the proxies saw of one instance in one second.
public struct InstanceTraffic: Hashable, Sendable {
    public var instance: InstanceID
    public var requests: UInt64
    /// Of these, status 500…599 or no answer.
    public var errors: UInt64
    public var latency: LatencyHistogram
    public init(
        instance: InstanceID, requests: UInt64, errors: UInt64, latency: LatencyHistogram = LatencyHistogram()
    ) {
        self.instance = instance
        self.requests = requests
        self.errors = errors
        self.latency = latency
    }
}

/// Compares a new revision with the old one by the traffic of the same time.
///
/// A verdict needs the whole interval and `minRequests` requests to the new instances, except that a revision that is
/// beyond doubt worse need not be watched to the end: it fails as soon as the lower bound of its error rate (Wilson's
/// score interval, one-sided, 99%; Wilson, "Probable inference…", JASA 22, 1927) is above what is allowed.
package struct CanaryEvaluator: Hashable, Sendable {
    package enum Verdict: Hashable, Sendable {
        case undecided
        case passed
        /// In words, without a full stop.
        case failed(String)
    }

    /// One side of the comparison.
    package struct Side: Hashable, Sendable {
        package internal(set) var requests: UInt64 = 0
        package internal(set) var errors: UInt64 = 0
        var latency = LatencyHistogram()

        mutating func add(_ traffic: InstanceTraffic) {
            requests += traffic.requests
            // A request that is retried elsewhere counts with both; errors never exceed requests.
            errors += min(traffic.errors, traffic.requests)
            latency.merge(traffic.latency)
        }

        /// 0…100; 0 without requests.
        package var errorRatePercent: Double { requests == 0 ? 0 : Double(errors) / Double(requests) * 100 }
        package var p95Milliseconds: Double? { latency.percentileMilliseconds(0.95) }
    }

    package let policy: AppSpec.RolloutPolicy.Canary
    package let startedAt: Instant
    package private(set) var new = Side()
    package private(set) var old = Side()

    package init(policy: AppSpec.RolloutPolicy.Canary, startedAt: Instant) {
        self.policy = policy
        self.startedAt = startedAt
    }

    package var endsAt: Instant { startedAt + .seconds(policy.intervalSeconds) }

    package mutating func add(_ traffic: InstanceTraffic, isNew: Bool) {
        if isNew { new.add(traffic) } else { old.add(traffic) }
    }

    package func verdict(at now: Instant) -> Verdict {
        let limit = old.errorRatePercent + policy.maxErrorRatePct
        if wilsonLowerBoundPercent(new) > limit { return .failed(errorWords) }
        guard now >= endsAt, new.requests >= UInt64(policy.minRequests) else { return .undecided }
        if new.errorRatePercent > limit { return .failed(errorWords) }
        if let factor = policy.maxP95Factor, let mine = new.p95Milliseconds, let theirs = old.p95Milliseconds,
            mine > theirs * factor
        {
            return .failed(
                "p95 latency \(Self.short(mine)) ms, the old revision's \(Self.short(theirs)) ms, "
                    + "at most \(Self.short(factor)) times that is allowed")
        }
        return .passed
    }

    private var errorWords: String {
        "\(new.errors) of \(new.requests) requests failed (\(Self.short(new.errorRatePercent))%), of the old revision's "
            + "\(old.errors) of \(old.requests) (\(Self.short(old.errorRatePercent))%), "
            + "at most \(Self.short(policy.maxErrorRatePct)) points more are allowed"
    }

    /// The figures compared, for events and status pages.
    package var figures: JSONValue {
        func side(_ side: Side) -> JSONValue {
            [
                "requests": .int(Int64(clamping: side.requests)), "errors": .int(Int64(clamping: side.errors)),
                "errorRatePct": JSONValue(side.errorRatePercent),
                "p95LatencyMs": side.p95Milliseconds.map { JSONValue($0) } ?? .null,
            ]
        }
        return ["new": side(new), "old": side(old)]
    }

    /// 0 without errors.
    private func wilsonLowerBoundPercent(_ side: Side) -> Double {
        guard side.errors > 0 else { return 0 }
        let z = 2.326
        let n = Double(side.requests)
        let rate = Double(side.errors) / n
        let centre = rate + z * z / (2 * n)
        let spread = z * (rate * (1 - rate) / n + z * z / (4 * n * n)).squareRoot()
        return max(0, (centre - spread) / (1 + z * z / n)) * 100
    }

    /// At most two digits after the point.
    static func short(_ number: Double) -> String {
        let rounded = (number * 100).rounded() / 100
        return Int64(exactly: rounded).map(String.init) ?? "\(rounded)"
    }
}

/// Weights that give some of an app's instances a share of its traffic.
package enum CanaryWeights {
    /// - Parameters:
    ///   - percent: 1…99: the share of all new instances together.
    ///   - new: new instances, at least 1.
    ///   - old: old instances, at least 1.
    /// - Returns: one weight for each new and one for each old instance, both 1…100, whose ratio is the closest there
    ///   is. (1, 100) where the share is too small for that.
    package static func weights(percent: Int, new: Int, old: Int) -> (new: Int, old: Int) {
        let ratio = Double(percent * old) / Double((100 - percent) * new)
        var best = (new: 1, old: 100)
        var distance = abs(0.01 - ratio)
        for denominator in 1...100 {
            let numerator = min(100, max(1, Int((ratio * Double(denominator)).rounded())))
            let error = abs(Double(numerator) / Double(denominator) - ratio)
            if error < distance - 1e-12 {
                best = (numerator, denominator)
                distance = error
            }
        }
        return best
    }
}
