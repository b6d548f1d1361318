import OrchestryModel

/// What an app's window shows now, on any node that gets its samples.
public struct ObservedMetrics: Hashable, Sendable, Codable {
    public var app: AppName
    /// Seconds since 1970.
    public var second: Int64
    public var windowSeconds: Int
    /// Seconds of the window since anything was known of the app; 0: nothing is, and every figure is nil or 0.
    public var coveredSeconds: Int
    /// Age of the newest sample in seconds; nil: none.
    public var ageSeconds: Int?
    /// Requests per second of the whole app.
    public var rps: Double
    /// nil: no request finished in the window.
    public var p95LatencyMilliseconds: Double?
    /// Mean number of requests in flight, whole app.
    public var connections: Double
    /// Mean over the instances with a fresh reading, percent of their limit; nil: none has one.
    public var cpuPercent: Double?
    public var memoryPercent: Double?
    public var ready: Int
    /// Of the policy's metrics, those with data; plain quotients without the corrections of an evaluation.
    public var factors: [Factor]

    /// The names and rounding of the original's `GET /apps/{name}/metrics`, instance counts left out.
    public var json: JSONValue {
        [
            "rps": JSONValue((rps * 100).rounded() / 100),
            "p95_latency_ms": JSONValue(((p95LatencyMilliseconds ?? 0) * 100).rounded() / 100),
            "active_connections": JSONValue(Int(connections.rounded())),
            "cpu_percent": JSONValue(((cpuPercent ?? 0) * 100).rounded() / 100),
            "memory_percent": JSONValue(((memoryPercent ?? 0) * 100).rounded() / 100),
        ]
    }

    /// Metric → factor: `scale_factors` of the REST API.
    public var scaleFactors: JSONValue { factors.scaleFactors }
}

extension AppSeries {
    /// Mutating only for the running totals: callers that only read use a copy.
    mutating func observed(policy: ScalingPolicy, ready: Int, at second: Int64) -> ObservedMetrics {
        retain(seconds: policy.windowSeconds)
        let end = windowEnd(at: second)
        let traffic = traffic(seconds: max(1, policy.windowSeconds), end: end, sliding: true)
        let start = end - Int64(max(traffic.coveredSeconds, 1)) + 1
        let fresh = instances.filter { $0.use.latest >= end - Self.staleSeconds }
        let all = Dictionary(uniqueKeysWithValues: fresh.map { ($0.instance, Int64.min / 2) })
        let use = use(of: all, starting: 0, policy: policy, start: start, end: end)
        var observed = ObservedMetrics(
            app: app, second: second, windowSeconds: policy.windowSeconds, coveredSeconds: traffic.coveredSeconds,
            ageSeconds: newest.map { Int(min(max(end - $0, 0), Int64(Int32.max))) }, rps: traffic.lowRate,
            p95LatencyMilliseconds: traffic.isKnown ? p95Milliseconds(from: start, end: end) : nil,
            connections: traffic.lowConcurrency, cpuPercent: Self.mean(use.cpu), memoryPercent: Self.mean(use.memory),
            ready: ready, factors: [])
        guard traffic.isKnown else { return observed }
        for metric in ScalingMetric.inOrder {
            guard let target = metric.target(in: policy) else { continue }
            let perInstance = Double(max(ready, 1))
            let value: Double? =
                switch metric {
                case .rps: observed.rps / perInstance
                case .latency: observed.p95LatencyMilliseconds
                case .connections: observed.connections / perInstance
                case .cpu: observed.cpuPercent
                case .memory: observed.memoryPercent
                case .custom: nil
                }
            guard let value else { continue }
            let levels = metric == .cpu ? use.cpu : use.memory
            let isUse = metric == .cpu || metric == .memory
            observed.factors.append(
                Factor(
                    metric: metric, observed: value, target: target, factor: value / target,
                    measured: isUse ? levels.measured : ready, missing: isUse ? levels.missing : traffic.silentNodes,
                    setAside: 0, wanted: nil))
        }
        observed.factors += customFactors(policy: policy, end: end)
        return observed
    }

    private static func mean(_ levels: ReplicaArithmetic.Levels) -> Double? {
        levels.measured > 0 ? levels.sum / Double(levels.measured) : nil
    }
}
