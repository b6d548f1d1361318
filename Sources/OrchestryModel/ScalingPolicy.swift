/// How many instances an app may have and what makes that number change. Field names of the spec are in the comments;
/// every one of the original's is accepted.
public struct ScalingPolicy: Hashable, Sendable, Codable {
    public enum Mode: String, Hashable, Sendable, Codable { case auto, manual }

    /// A limit on how fast the count may change, as Kubernetes' HPA v2 `behavior` has it.
    public struct RatePolicy: Hashable, Sendable, Codable {
        public enum Unit: String, Hashable, Sendable, Codable { case instances, percent }
        public var unit: Unit
        /// Instances, or percent of the count at the period's start; 1…1,000.
        public var amount: Int
        /// 1…3,600.
        public var periodSeconds: Int
        public init(_ unit: Unit, _ amount: Int, periodSeconds: Int) {
            self.unit = unit
            self.amount = amount
            self.periodSeconds = periodSeconds
        }
    }

    public var mode: Mode
    /// `minReplicas`, 1…1,000.
    public var minReplicas: Int
    /// `maxReplicas`, `minReplicas`…1,000.
    public var maxReplicas: Int
    /// `targetRPSPerReplica`: requests per second and instance; nil: not scaled on.
    public var targetRPS: Double?
    /// `maxP95LatencyMs`; nil: not scaled on.
    public var maxP95LatencyMilliseconds: Double?
    /// `maxConnPerReplica`: requests in flight per instance; nil: not scaled on.
    public var maxConnections: Double?
    /// `maxCPUPercent` (also `targetCPUUtilizationPercentage`): percent of the instance's limit; nil: not scaled on.
    public var maxCPUPercent: Double?
    /// `maxMemoryPercent` (also `targetMemoryUtilizationPercentage`): percent of the limit; nil: not scaled on.
    public var maxMemoryPercent: Double?
    /// `scaleOutThresholdPct`: out when a factor exceeds this percentage of its target, 1…100.
    public var scaleOutThresholdPercent: Double
    /// `scaleInThresholdPct`: in when all factors are below this percentage of their targets, 0…100, under the above.
    public var scaleInThresholdPercent: Double
    /// `windowSeconds`: how far back an evaluation looks, 2…3,600.
    public var windowSeconds: Int
    /// `cooldownSeconds`: after a change in either direction, no further *shrinking* for this long. 0…86,400.
    public var cooldownSeconds: Int
    /// `stabilizationWindowSeconds`: shrinking takes the highest wish of this window. 0…3,600.
    public var stabilizationWindowSeconds: Int
    /// `maxScaleOutStep`: instances added by one decision, 1…1,000; nil: unlimited.
    public var maxScaleOutStep: Int?
    /// `maxScaleInStep`: instances removed by one decision, 1…1,000; nil: unlimited.
    public var maxScaleInStep: Int?
    /// `tolerance.out`, `tolerance.in`: dead band around the thresholds as a fraction, 0…0.5.
    public var toleranceOut: Double
    public var toleranceIn: Double
    /// `scaleOutPolicies`, `scaleInPolicies`; empty: no rate limit. The more permissive one wins.
    public var scaleOutPolicies: [RatePolicy]
    public var scaleInPolicies: [RatePolicy]
    /// `warmupSeconds`: a new instance's CPU is set aside (shrinking) or counts as idle (growing) this long. 0…3,600.
    public var warmupSeconds: Int

    /// Defaults: a 20 s window and no wait before growing, because capacity that comes late costs requests; 30 s of
    /// stabilization and of cooldown before shrinking, because capacity kept half a minute too long costs little.
    /// Thresholds 80/60: growth starts with 20% of headroom left, and a count just reached is not given back at once.
    public init(
        mode: Mode = .auto, minReplicas: Int = 1, maxReplicas: Int = 5, targetRPS: Double? = nil,
        maxP95LatencyMilliseconds: Double? = nil, maxConnections: Double? = nil, maxCPUPercent: Double? = nil,
        maxMemoryPercent: Double? = nil, scaleOutThresholdPercent: Double = 80, scaleInThresholdPercent: Double = 60,
        windowSeconds: Int = 20, cooldownSeconds: Int = 30, stabilizationWindowSeconds: Int = 30,
        maxScaleOutStep: Int? = nil, maxScaleInStep: Int? = nil, toleranceOut: Double = 0, toleranceIn: Double = 0,
        scaleOutPolicies: [RatePolicy] = [], scaleInPolicies: [RatePolicy] = [], warmupSeconds: Int = 10
    ) {
        self.mode = mode
        self.minReplicas = minReplicas
        self.maxReplicas = maxReplicas
        self.targetRPS = targetRPS
        self.maxP95LatencyMilliseconds = maxP95LatencyMilliseconds
        self.maxConnections = maxConnections
        self.maxCPUPercent = maxCPUPercent
        self.maxMemoryPercent = maxMemoryPercent
        self.scaleOutThresholdPercent = scaleOutThresholdPercent
        self.scaleInThresholdPercent = scaleInThresholdPercent
        self.windowSeconds = windowSeconds
        self.cooldownSeconds = cooldownSeconds
        self.stabilizationWindowSeconds = stabilizationWindowSeconds
        self.maxScaleOutStep = maxScaleOutStep
        self.maxScaleInStep = maxScaleInStep
        self.toleranceOut = toleranceOut
        self.toleranceIn = toleranceIn
        self.scaleOutPolicies = scaleOutPolicies
        self.scaleInPolicies = scaleInPolicies
        self.warmupSeconds = warmupSeconds
    }
}
