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

/// What a window shows, whatever is asked of it: evaluations and those who only look read the same.
struct WindowFigures: Sendable {
    var windowSeconds: Int
    var end: Int64
    var traffic: TrafficReading
    /// The newest second known of; nil: none.
    var newest: Int64?
    /// Of the instances with a fresh reading.
    var cpu: ReplicaArithmetic.Levels
    var memory: ReplicaArithmetic.Levels
    var p95Milliseconds: Double?
}

extension AppSeries {
    func observed(policy: ScalingPolicy, ready: Int, at second: Int64) -> ObservedMetrics {
        guard isRetained(seconds: policy.windowSeconds) else {
            var copy = self
            copy.retain(seconds: policy.windowSeconds)
            return copy.observed(policy: policy, ready: ready, at: second)
        }
        let end = windowEnd(at: second)
        guard let figures, figures.end == end, figures.windowSeconds == policy.windowSeconds else {
            let traffic = traffic(seconds: max(1, policy.windowSeconds), end: end)
            let start = end - Int64(max(traffic.coveredSeconds, 1)) + 1
            let afresh = figuresAside(traffic, policy, start: start, end: end)
            return observed(afresh, policy: policy, ready: ready, at: second)
        }
        return observed(figures, policy: policy, ready: ready, at: second)
    }

    /// - Parameter traffic: of the policy's window that ends with `end`, whose known seconds begin with `start`.
    func figuresAside(_ traffic: TrafficReading, _ policy: ScalingPolicy, start: Int64, end: Int64) -> WindowFigures {
        let use = freshUse(start: start, end: end)
        return WindowFigures(
            windowSeconds: policy.windowSeconds, end: end, traffic: traffic, newest: newest, cpu: use.cpu,
            memory: use.memory,
            p95Milliseconds: traffic.isKnown ? p95MillisecondsAside(from: start, end: end) : nil)
    }

    private func observed(
        _ figures: WindowFigures, policy: ScalingPolicy, ready: Int, at second: Int64
    ) -> ObservedMetrics {
        let traffic = figures.traffic
        var observed = ObservedMetrics(
            app: app, second: second, windowSeconds: policy.windowSeconds, coveredSeconds: traffic.coveredSeconds,
            ageSeconds: figures.newest.map { Int(min(max(figures.end - $0, 0), Int64(Int32.max))) },
            rps: traffic.lowRate, p95LatencyMilliseconds: figures.p95Milliseconds,
            connections: traffic.lowConcurrency, cpuPercent: Self.mean(figures.cpu),
            memoryPercent: Self.mean(figures.memory), ready: ready, factors: [])
        guard traffic.isKnown else { return observed }
        observed.factors.reserveCapacity(ScalingMetric.inOrder.count)
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
            let levels = metric == .cpu ? figures.cpu : figures.memory
            let isUse = metric == .cpu || metric == .memory
            observed.factors.append(
                Factor(
                    metric: metric, observed: value, target: target, factor: value / target,
                    measured: isUse ? levels.measured : ready, missing: isUse ? levels.missing : traffic.silentNodes,
                    setAside: 0, wanted: nil))
        }
        if policy.customMetrics != nil { observed.factors += customFactors(policy: policy, end: figures.end) }
        return observed
    }

    private static func mean(_ levels: ReplicaArithmetic.Levels) -> Double? {
        levels.measured > 0 ? levels.sum / Double(levels.measured) : nil
    }
}
