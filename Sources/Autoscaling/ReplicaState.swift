import OrchestryModel

/// What the leader knows of an app's instances when it evaluates.
public struct ReplicaState: Hashable, Sendable, Codable {
    /// Wanted instances: the count that the autoscaler changes. A rollout's surge is not in it. 0: stopped.
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

    public init(
        desired: Int, ready: [InstanceID: Int64], starting: Int = 0, rolloutInProgress: Bool = false,
        capacityLimit: Int? = nil, pauseOut: Bool = false, pauseIn: Bool = false, fixed: ScalingControl.Override? = nil,
        schedule: ScheduledBounds? = nil, lastScaledSecond: Int64? = nil
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
    }
}
