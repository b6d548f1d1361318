/// One line of the audit trail. Identified by `(node, sequence)`, which makes its way to PostgreSQL exactly-once.
public struct Event: Hashable, Sendable, Codable {
    public var node: NodeID
    /// Rises by one for each event of the node, for ever (kept in the outbox). 0: not yet in an outbox.
    public var sequence: Int64
    public var time: WallTime
    /// nil: about the cluster.
    public var app: AppName?
    /// A word of `EventKind`, at most 50 characters.
    public var kind: String
    /// One sentence for the operator.
    public var message: String
    /// Facts: an object.
    public var details: JSONValue
    public init(
        node: NodeID, sequence: Int64 = 0, time: WallTime, app: AppName?, kind: EventKind, message: String,
        details: JSONValue = [:]
    ) {
        self.init(
            node: node, sequence: sequence, time: time, app: app, kindName: kind.rawValue, message: message,
            details: details)
    }
    /// For events read back, whose kind may come from a newer release.
    public init(
        node: NodeID, sequence: Int64, time: WallTime, app: AppName?, kindName: String, message: String,
        details: JSONValue
    ) {
        self.node = node
        self.sequence = sequence
        self.time = time
        self.app = app
        self.kind = kindName
        self.message = message
        self.details = details
    }
}

/// The kinds of event there are; `events.event_type` holds the raw value.
public enum EventKind: String, Sendable, CaseIterable {
    case leaderElected = "leader_elected"
    case leaderLost = "leader_lost"
    case nodeJoined = "node_joined"
    case nodeLost = "node_lost"
    case appRegistered = "app_registered"
    case appUpdated = "app_updated"
    case appStarted = "app_started"
    case appStopped = "app_stopped"
    case appDeleted = "app_deleted"
    case policyUpdated = "policy_updated"
    case appRetried = "app_retried"
    case revisionRefused = "revision_refused"
    case appHeld = "app_held"
    case secretSet = "secret_set"
    case secretRemoved = "secret_removed"
    case tokenCreated = "token_created"
    case tokenRevoked = "token_revoked"
    case requestRefused = "request_refused"
    case execStarted = "exec_started"
    case execEnded = "exec_ended"
    case callerLockedOut = "caller_locked_out"
    case stepDownRequested = "step_down_requested"
    case metricsSimulated = "metrics_simulated"
    case scaled = "scaled"
    case scaleRequested = "scale_requested"
    case autoscalePaused = "autoscale_paused"
    case autoscaleResumed = "autoscale_resumed"
    case instanceCreated = "instance_created"
    case instanceReady = "instance_ready"
    case instanceUnhealthy = "instance_unhealthy"
    case instanceExited = "instance_exited"
    case instanceRestarted = "instance_restarted"
    case instanceAdopted = "instance_adopted"
    case duplicateRemoved = "duplicate_removed"
    case containerIgnored = "container_ignored"
    case instanceDraining = "instance_draining"
    case instanceStopped = "instance_stopped"
    case instanceFailed = "instance_failed"
    case rolloutStarted = "rollout_started"
    case rolloutFinished = "rollout_finished"
    case rolloutFailed = "rollout_failed"
    case rolloutPaused = "rollout_paused"
    case rolloutResumed = "rollout_resumed"
    case rolloutAborted = "rollout_aborted"
    case rolledBack = "rolled_back"
    case releaseFinished = "release_finished"
    case canaryStarted = "canary_started"
    case canaryPassed = "canary_passed"
    case canaryFailed = "canary_failed"
    case nodeCordoned = "node_cordoned"
    case nodeUncordoned = "node_uncordoned"
    case nodeDraining = "node_draining"
    case nodeDrained = "node_drained"
    case rebalanceStarted = "rebalance_started"
    case rebalanceFinished = "rebalance_finished"
    /// From one node's proxy: others may have a way.
    case hostUnreachable = "host_unreachable"
    case hostReachable = "host_reachable"
    case proxyRejected = "proxy_config_rejected"
    case proxyLost = "proxy_lost"
    case proxyRecovered = "proxy_recovered"
    case proxyDegraded = "proxy_degraded"
    case engineLost = "engine_lost"
    case engineRecovered = "engine_recovered"
    case storeLost = "store_lost"
    case storeRecovered = "store_recovered"
    case samplesDropped = "samples_dropped"
    case stateRestored = "state_restored"
    case settingChanged = "setting_changed"
    case historyArchived = "history_archived"
    case historyDropped = "history_dropped"
    case retentionFailed = "retention_failed"
    case certificateReplaced = "certificate_replaced"
    case certificateRefused = "certificate_refused"
    case certificateExpiring = "certificate_expiring"
}

/// An evaluation that changed an app's wanted replicas: one row of `scaling_decisions`.
public struct ScalingDecision: Hashable, Sendable, Codable {
    public var node: NodeID
    /// As an event's: `(node, sequence)` identifies it.
    public var sequence: Int64
    public var epoch: Epoch
    public var time: WallTime
    public var app: AppName
    public var fromReplicas: Int
    public var toReplicas: Int
    /// One sentence, for example "Scale out: rps at 212% of target".
    public var reason: String
    /// `autoscaler`, `manual`, `up`, `down` or `policy`.
    public var triggeredBy: String
    /// The observed metrics, as `GET /apps/{name}/metrics` names them; null for a manual change.
    public var metrics: JSONValue
    /// The whole evaluation (inputs, factors, limits); null for a manual change.
    public var explanation: JSONValue
    public init(
        node: NodeID, sequence: Int64 = 0, epoch: Epoch, time: WallTime, app: AppName, fromReplicas: Int,
        toReplicas: Int, reason: String, triggeredBy: String, metrics: JSONValue = nil, explanation: JSONValue = nil
    ) {
        self.node = node
        self.sequence = sequence
        self.epoch = epoch
        self.time = time
        self.app = app
        self.fromReplicas = fromReplicas
        self.toReplicas = toReplicas
        self.reason = reason
        self.triggeredBy = triggeredBy
        self.metrics = metrics
        self.explanation = explanation
    }
}
