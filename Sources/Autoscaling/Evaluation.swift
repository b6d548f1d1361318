import OrchestryModel

/// What an app can be scaled on. The names are those of `scale_factors` in the REST API.
public enum ScalingMetric: String, Hashable, Sendable, Codable, CaseIterable {
    case rps, latency, connections, cpu, memory
    /// One of the policy's `customMetrics`: the factor's `name` tells which.
    case custom

    /// Those with a target of their own in the policy.
    static let inOrder: [ScalingMetric] = allCases.filter { $0 != .custom }

    /// The policy's target for it; nil: not scaled on.
    public func target(in policy: ScalingPolicy) -> Double? {
        let target: Double? =
            switch self {
            case .rps: policy.targetRPS
            case .latency: policy.maxP95LatencyMilliseconds
            case .connections: policy.maxConnections
            case .cpu: policy.maxCPUPercent
            case .memory: policy.maxMemoryPercent
            case .custom: nil
            }
        return target.flatMap { $0 > 0 && $0.isFinite ? $0 : nil }
    }
}

/// One metric's part in an evaluation.
public struct Factor: Hashable, Sendable, Codable {
    public var metric: ScalingMetric
    /// Of a custom metric; nil for all others.
    public var name: String? = nil
    /// Over the window, per ready instance: requests per second, requests in flight, percent of the limit, a custom
    /// metric's own unit; for `latency` the app's p95 in milliseconds. nil: no data, or none yet that counts.
    public var observed: Double?
    public var target: Double
    /// Observed ÷ target (1: on target), with missing instances filled in; nil: no data.
    public var factor: Double?
    /// Ready instances that were measured; for traffic all that share it.
    public var measured: Int
    /// Ready instances without a reading (CPU, memory); nodes that are silent (traffic).
    public var missing: Int
    /// Instances starting or warming up (CPU, memory).
    public var setAside: Int
    /// Instances this metric asks for; nil: no data.
    public var wanted: Int?

    /// As people read it: the metric's name.
    public var label: String { name ?? metric.rawValue }
}

/// A rule that had a say in an evaluation's result.
public enum LimitRule: String, Hashable, Sendable, Codable, CaseIterable {
    /// The policy's mode is manual.
    case manual
    /// A person fixed the count. `value`: seconds left.
    case fixed
    /// No instances are wanted: the app is down.
    case stopped
    /// The policy names no metric.
    case noTargets
    /// No metric has any data.
    case noMetrics
    /// The newest data are too old. `value`: their age in seconds.
    case staleMetrics
    /// Some metric has no data: nothing shrinks.
    case missingMetrics
    /// No instance is ready: nothing shrinks.
    case noneReady
    /// All factors lie between the thresholds.
    case threshold
    /// A factor is over the threshold for growth, but within its tolerance; or under that for shrinking.
    case tolerance
    /// As many as the load needs are already wanted, and on their way.
    case onTheWay
    /// Latency alone adds at most half again. `value`: the most it may ask for.
    case latencyStep
    /// The burst window asked for more, or forbids shrinking. `value`: seconds it looks at.
    case burst
    /// The highest wish of the window counts. `value`: its seconds.
    case stabilization
    /// `value`: seconds left.
    case cooldown
    /// `value`: the step.
    case maxScaleOutStep, maxScaleInStep
    /// `value`: the count the policies allow.
    case ratePolicy
    /// `value`: the bound.
    case minReplicas, maxReplicas
    case rollout, pausedOut, pausedIn
    /// `value`: the most instances the cluster can hold.
    case capacity
    /// Nobody asks for the app: it has no instance until the first request.
    case asleep
    /// Requests wait for the first instance. `value`: how many.
    case woken
    /// The last instance goes: no request for `value` seconds.
    case idle
    /// No request lately, but not long enough for the last instance to go. `value`: seconds left.
    case notIdleYet
    /// Whether requests came is not known of every node: the last instance stays.
    case unseen
    /// A node's proxy can't hold requests: there has to be an instance.
    case blind
}

/// A rule and what it did to the count.
public struct AppliedLimit: Hashable, Sendable, Codable {
    public var rule: LimitRule
    public var from: Int
    /// Equal to `from` for a rule that only explains why nothing changes.
    public var to: Int
    /// A figure of the rule (see there); 0 where it has none.
    public var value: Int
    public init(rule: LimitRule, from: Int, to: Int, value: Int = 0) {
        self.rule = rule
        self.from = from
        self.to = to
        self.value = value
    }
}

/// What the short window showed.
public struct BurstReading: Hashable, Sendable, Codable {
    public var metric: ScalingMetric
    /// Per ready instance.
    public var observed: Double
    public var target: Double
    /// Observed ÷ target.
    public var factor: Double
    /// Length of the short window.
    public var seconds: Int
}

/// One evaluation of one app: inputs, factors, the rules that limited it, and the result.
public struct Evaluation: Hashable, Sendable, Codable {
    public var app: AppName
    /// Seconds since 1970.
    public var second: Int64
    /// Wanted instances before.
    public var current: Int
    public var ready: Int
    public var starting: Int
    /// Wanted instances after; equal to `current`: no change.
    public var wanted: Int
    /// What the metrics alone ask for, before any limit.
    public var wish: Int
    /// In the order of `ScalingMetric`, the configured ones only.
    public var factors: [Factor]
    /// The metric that asked for most; nil: none had data.
    public var deciding: ScalingMetric?
    /// Of a deciding custom metric.
    public var decidingName: String? = nil
    /// The schedules whose bounds hold in place of the policy's; nil: none.
    public var schedule: String? = nil
    /// What the proxies say of an app that may have no instance; nil: it may not.
    public var activation: Activation? = nil
    /// The strongest short-window reading; nil outside a burst.
    public var burst: BurstReading?
    /// In the order they were applied.
    public var limits: [AppliedLimit]
    public var windowSeconds: Int
    /// Seconds of the window for which there was any data.
    public var coveredSeconds: Int
    public var scaleOutThresholdPercent: Double
    public var scaleInThresholdPercent: Double

    public var shouldScale: Bool { wanted != current }

    /// The factor of one metric; nil: not configured.
    public func factor(of metric: ScalingMetric) -> Factor? { factors.first { $0.metric == metric } }

    /// The factor of the deciding metric.
    var decidingFactor: Factor? { factors.first { $0.metric == deciding && $0.name == decidingName } }
}

/// The evaluations of the last minutes: each that differs in its result or in the rules that shaped it, and one in ten
/// seconds of those that don't. The newest is always there.
struct EvaluationHistory: Sendable {
    private static let keptSeconds: Int64 = 300
    private static let quietSeconds: Int64 = 10
    private static let largestCount = 128

    private var kept: [Evaluation] = []
    /// Of the last one kept.
    private var keptSecond = Int64.min
    /// Alike the last one kept.
    private var newest: Evaluation?

    mutating func add(_ evaluation: Evaluation) {
        if evaluation.second >= keptSecond, keptSecond > evaluation.second - Self.quietSeconds,
            let previous = newest ?? kept.last, isAlike(previous, evaluation)
        {
            newest = evaluation
            return
        }
        newest = nil
        kept.append(evaluation)
        keptSecond = evaluation.second
        let expired = kept.prefix { $0.second <= evaluation.second - Self.keptSeconds }.count
        let spare = max(expired, kept.count - Self.largestCount)
        if spare > 0 { kept.removeFirst(spare) }
    }

    /// Oldest first.
    var evaluations: [Evaluation] { newest.map { kept + [$0] } ?? kept }

    private func isAlike(_ left: Evaluation, _ right: Evaluation) -> Bool {
        left.current == right.current && left.wanted == right.wanted && left.limits.count == right.limits.count
            && zip(left.limits, right.limits).allSatisfy { $0.rule == $1.rule }
    }
}
