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

    /// A metric that the app's instances show themselves, in Prometheus' text format: `customMetrics`.
    public struct CustomMetric: Hashable, Sendable, Codable {
        public enum Kind: String, Hashable, Sendable, Codable {
            /// A level, taken as it is.
            case gauge
            /// A number that only rises: its growth per second counts.
            case counter
        }
        /// In explanations; unique within the policy.
        public var name: String
        /// The name in the page, `jobs_waiting`.
        public var metric: String
        /// Lines must have these labels; of several lines that do, the sum counts.
        public var labels: [String: String]
        public var kind: Kind
        /// Per instance, in the metric's own unit (a counter: per second); above 0.
        public var target: Double
        /// Of the page, `/metrics`.
        public var path: String
        /// nil: the app's primary port.
        public var port: Int?
        public init(
            name: String, metric: String, labels: [String: String] = [:], kind: Kind = .gauge, target: Double,
            path: String = "/metrics", port: Int? = nil
        ) {
            self.name = name
            self.metric = metric
            self.labels = labels
            self.kind = kind
            self.target = target
            self.path = path
            self.port = port
        }
    }

    /// What becomes of an app that nobody asks for: with `minReplicas` 0 its last instance goes, and the proxies hold the
    /// next requests until one has started.
    public struct ScaleToZero: Hashable, Sendable, Codable {
        /// `idleSeconds`: this long without any request, and with none in flight, before the last one goes. 10…86,400.
        public var idleSeconds: Int
        /// `holdSeconds`: how long a request waits for the first instance at most, 1…300.
        public var holdSeconds: Int
        /// `holdLimit`: requests of the app that wait in one node's proxy at most, 1…100,000.
        public var holdLimit: Int
        public init(idleSeconds: Int = 300, holdSeconds: Int = 30, holdLimit: Int = 1_000) {
            self.idleSeconds = idleSeconds
            self.holdSeconds = holdSeconds
            self.holdLimit = holdLimit
        }
    }

    public var mode: Mode
    /// `minReplicas`, 0…1,000; 0: see `scaleToZero`.
    public var minReplicas: Int
    /// `maxReplicas`, `minReplicas`…1,000, at least 1.
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
    /// `customMetrics`; nil: none, never empty.
    public var customMetrics: [CustomMetric]?
    /// `schedules`; nil: none, never empty.
    public var schedules: [ScalingSchedule]?
    /// Not nil exactly where `minReplicas` is 0.
    public var scaleToZero: ScaleToZero?

    /// The fewest instances that metrics may ask for: the last one goes by `scaleToZero` only.
    public var leastAwake: Int { max(1, minReplicas) }

    /// Defaults: a 20 s window and no wait before growing, because capacity that comes late costs requests; 30 s of
    /// stabilization and of cooldown before shrinking, because capacity kept half a minute too long costs little.
    ///
    /// Thresholds 100/75: a target is what an instance is meant to carry, so that is what the count is computed for
    /// (500 requests per second at a target of 50 are 10 instances; at a threshold of 80% they would be 13, three of
    /// them for headroom that nobody asked for). Who wants headroom lowers the target or `scaleOutThresholdPct`. Below
    /// 75% of all targets instances are given back, as many as leave the rest at most at 95%: a count just reached is
    /// neither given back nor added to at once. Measured by `orchestry simulate --race`.
    public init(
        mode: Mode = .auto, minReplicas: Int = 1, maxReplicas: Int = 5, targetRPS: Double? = nil,
        maxP95LatencyMilliseconds: Double? = nil, maxConnections: Double? = nil, maxCPUPercent: Double? = nil,
        maxMemoryPercent: Double? = nil, scaleOutThresholdPercent: Double = 100, scaleInThresholdPercent: Double = 75,
        windowSeconds: Int = 20, cooldownSeconds: Int = 30, stabilizationWindowSeconds: Int = 30,
        maxScaleOutStep: Int? = nil, maxScaleInStep: Int? = nil, toleranceOut: Double = 0, toleranceIn: Double = 0,
        scaleOutPolicies: [RatePolicy] = [], scaleInPolicies: [RatePolicy] = [], warmupSeconds: Int = 10,
        customMetrics: [CustomMetric]? = nil,
        schedules: [ScalingSchedule]? = nil, scaleToZero: ScaleToZero? = nil
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
        self.customMetrics = customMetrics
        self.schedules = schedules
        self.scaleToZero = minReplicas == 0 ? scaleToZero ?? ScaleToZero() : nil
    }
}
