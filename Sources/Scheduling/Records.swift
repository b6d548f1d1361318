import OrchestryModel

/// What the reconciler knows of one app.
struct AppRecord: Sendable {
    /// nil: deleted, or never known; its instances go.
    var application: Application?
    var instances: Set<InstanceID> = []
    var rollout: RolloutProgress?
    /// What became of the present revision; nil: it never needed a rollout.
    var lastRollout: RolloutRecord?
    /// The last revision that served with all its instances.
    var stableRevision: Int?
    /// Why the last attempt to place an instance failed; nil: nothing waits for a node.
    var shortage: String?
    /// It is the release step that waits for a node.
    var isReleaseShort = false
    /// Since when new instances wait for nodes that have just connected; nil: none wait.
    var waitsForNodesSince: Instant?
    /// Why no instance may be made, as last recorded; nil: one may.
    var hold: String?
    /// Outlives the application: draining after deletion follows the last known terms.
    var termination = AppSpec.Termination()
    /// When to look at it again without being told to.
    var wakeAt: Instant?

    /// Its release command has to end well before anything of the revision is made.
    var isReleasing: Bool { wanted > 0 && rollout?.record.phase == .release }

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
    /// Since when this leader has known it to be ready; nil while it is not.
    var readySince: Instant?
    /// Since when it has been chosen to be replaced by one on another node.
    var movingSince: Instant?
    /// The move is for an even load, not for a node that is drained.
    var movesForBalance = false
    var restartsWhenReady: Int
    /// Its node had been given up, and it has been placed anew elsewhere: of two alike, this one goes.
    var isStale = false
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
    var connectedAt: Instant?
    /// An inventory arrived over the present connection.
    var hasInventory = false
    /// Set while it is not both connected and reporting.
    var silentSince: Instant?
    var isLost = false
    /// It was given up and is back: what it turns out to run is stale. Until its first inventory.
    var isBack = false
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
    /// Takes no new instances.
    var isCordoned = false
    /// Its instances are to be moved elsewhere.
    var isDraining = false
    /// When what is left of them is stopped without further ado.
    var drainDeadline: Instant?

    var isReporting: Bool { isConnected && hasInventory }
    /// It is there, and never said what it runs: a controller without an engine.
    var hasNothingToReport: Bool { isConnected && !hasInventory && instances.isEmpty }
    /// When it is given up if nothing is heard of it; nil: not because of silence.
    func lost(after limit: Duration) -> Instant? {
        isLost || hasNothingToReport ? nil : silentSince.map { $0 + limit }
    }
    var canTakeInstances: Bool { isReporting && engineAvailable }
    var isOpen: Bool { canTakeInstances && !isCordoned }
}
