import OrchestryModel

/// What the reconciler knows of one app.
struct AppRecord: Sendable {
    /// nil: deleted, or never known; its instances go.
    var application: Application?
    var instances: Set<InstanceID> = []
    var rollout: RolloutProgress?
    /// The last revision that served with all its instances.
    var stableRevision: Int?
    /// When this reconciler last asked for a revert.
    var revertAskedAt: Instant?
    /// Why the last attempt to place an instance failed; nil: nothing waits for a node.
    var shortage: String?
    /// Why no instance may be made, as last recorded; nil: one may.
    var hold: String?
    /// Outlives the application: draining after deletion follows the last known terms.
    var termination = AppSpec.Termination()
    /// When to look at it again without being told to.
    var wakeAt: Instant?

    /// Instances that should be ready.
    var wanted: Int {
        guard let application, application.status == .running else { return 0 }
        return max(0, application.replicas)
    }
}

/// What the reconciler knows of one instance.
struct InstanceRecord: Sendable {
    /// As last reported, except that one being probed anew by a restarted agent still counts as ready.
    var status: InstanceStatus
    /// What the agent said, while `status` says more; and until when.
    var held: (report: InstanceStatus, until: Instant)?
    /// What it takes of its node.
    var resources: AppSpec.Resources
    /// Kept until the agent has reported the instance.
    var assignment: Assignment?
    var commandSentAt: Instant?
    /// When its agent was last heard speaking of it; nil: never.
    var reportedAt: Instant?
    /// Its agent should hear of a changed health check.
    var needsUpdate = false
    /// Some proxy may have sent it requests.
    var wasRouted: Bool
    var drain: Drain?
    /// Since when it has not been ready; nil while it is.
    var notReadySince: Instant?
    var restartsWhenReady: Int
    /// What PostgreSQL was told last.
    var persisted: InstanceStatus?
    /// Rises with each record made, to tell young from old.
    var order: Int64

    var isObserved: Bool { reportedAt != nil }

    /// As shown and stored: a drain hides the agent's state.
    var shown: InstanceStatus {
        guard let drain else { return status }
        var shown = status
        shown.state = .draining
        shown.since = drain.since
        shown.message = drain.reason
        return shown
    }
}

/// What the reconciler knows of one node.
struct NodeRecord: Sendable {
    var isConnected = false
    /// An inventory arrived over the present connection.
    var hasInventory = false
    /// Set while it is not both connected and reporting.
    var silentSince: Instant?
    var isLost = false
    /// Its joining is no news: earlier leaders knew it, or it was recorded.
    var isKnown = false
    /// Under this leader.
    var wasConnected = false
    var capacityMillicores = 0
    var capacityMemoryBytes: Int64 = 0
    var engineAvailable = false
    var instances: Set<InstanceID> = []
    var reservedMillicores = 0
    var reservedMemoryBytes: Int64 = 0
    var acknowledged = RoutingTable.Version.zero
    /// When the table was last sent to it.
    var tableSentAt: Instant?

    var isReporting: Bool { isConnected && hasInventory }
    var canTakeInstances: Bool { isReporting && engineAvailable }
}
