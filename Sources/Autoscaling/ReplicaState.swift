import OrchestryModel

/// What the leader knows of an app's instances when it evaluates.
public struct ReplicaState: Hashable, Sendable, Codable {
    /// Wanted instances: the count that the autoscaler changes. A rollout's surge is not in it. 0: stopped, or idle.
    public var desired: Int
    /// Instances in routing, each with the second (since 1970) in which it became ready.
    public var ready: [InstanceID: Int64]
    /// Instances on their way to ready.
    public var starting: Int
    public var rolloutInProgress: Bool
    /// The most instances of this app that the cluster's capacity can hold; nil: not known, no limit.
    public var capacityLimit: Int?
    /// A person paused growth.
    public var pauseOut: Bool
    /// A person paused shrinking.
    public var pauseIn: Bool
    /// A count fixed by hand: the metrics have no say until it expires.
    public var fixed: ScalingControl.Override?
    /// Bounds in place of the policy's, by schedules that hold now.
    public var schedule: ScheduledBounds?
    /// When the count last changed, seconds since 1970; nil: never, or known from `noteScaled` only.
    public var lastScaledSecond: Int64?
    /// Of an app that may have no instance while nobody asks for it; nil: it may not.
    public var activation: Activation?

    public init(
        desired: Int, ready: [InstanceID: Int64], starting: Int = 0, rolloutInProgress: Bool = false,
        capacityLimit: Int? = nil, pauseOut: Bool = false, pauseIn: Bool = false, fixed: ScalingControl.Override? = nil,
        schedule: ScheduledBounds? = nil, lastScaledSecond: Int64? = nil, activation: Activation? = nil
    ) {
        self.desired = desired
        self.ready = ready
        self.starting = starting
        self.rolloutInProgress = rolloutInProgress
        self.capacityLimit = capacityLimit
        self.pauseOut = pauseOut
        self.pauseIn = pauseIn
        self.fixed = fixed
        self.schedule = schedule
        self.lastScaledSecond = lastScaledSecond
        self.activation = activation
    }
}

/// What the proxies say of an app that may have no instance.
public struct Activation: Hashable, Sendable, Codable {
    public struct Waiting: Hashable, Sendable, Codable {
        public var node: NodeID
        /// Above 0.
        public var requests: UInt64
        public init(node: NodeID, requests: UInt64) {
            self.node = node
            self.requests = requests
        }
    }
    /// None are wanted because nobody asked for it: the app is up all the same.
    public var isIdle: Bool
    /// Requests that wait for an instance. Sorted by node; nodes without any are not in it.
    public var waiting: [Waiting]
    /// Connected nodes whose proxy can't hold requests. Sorted.
    public var blindNodes: [NodeID]
    /// Connected nodes whose proxy has said nothing lately. Sorted.
    public var silentNodes: [NodeID]
    public init(
        isIdle: Bool, waiting: [Waiting] = [], blindNodes: [NodeID] = [], silentNodes: [NodeID] = []
    ) {
        self.isIdle = isIdle
        self.waiting = waiting
        self.blindNodes = blindNodes
        self.silentNodes = silentNodes
    }
    public var requests: UInt64 { waiting.reduce(0) { $0 + $1.requests } }
}
