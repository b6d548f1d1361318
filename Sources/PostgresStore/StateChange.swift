import OrchestryModel

/// One change of the shared state. The changes of one `StateStore.write` are committed together or not at all.
/// All but `completeRequest` are safe to repeat.
public enum StateChange: Sendable {
    /// Inserts or replaces. Brings a deleted app back.
    case saveApplication(Application)
    /// Marks it deleted; its row stays for what refers to it.
    case deleteApplication(AppName, at: WallTime)
    /// The application must have been saved before, or earlier in the same write. A number that exists is accepted only
    /// with the same content.
    case saveRevision(
        AppName, revision: Int, document: JSONValue, spec: AppSpec, secrets: [SealedSecret] = [],
        imageDigest: String? = nil, at: WallTime)
    /// What a revision's tag meant, found out after it was made.
    case pinImage(AppName, revision: Int, digest: String)
    /// What a revision uses of secrets, changed after it was made: a secret that it lacked was set.
    case pinSecrets(AppName, revision: Int, [SealedSecret])
    /// A new version, or one that exists sealed under another key. Old versions that no app uses are forgotten.
    case saveSecret(SealedSecret, by: String, at: WallTime)
    case removeSecret(SecretName)
    /// A new one. A name in force or a hash that is there already fails the whole write.
    case saveToken(APIToken)
    /// By hash; does nothing where it is revoked already.
    case revokeToken(hash: String, by: String, at: WallTime)
    /// Inserts or replaces the instance's row; without container or address only updates a row that exists, because
    /// `instances.container_id` and `ip` can't be null.
    case saveInstance(InstanceStatus)
    case removeInstance(InstanceID)
    /// A run of a node's outbox, oldest first. What was taken over before is skipped; nothing older than what was taken
    /// over can follow, so batches must start at the oldest unacknowledged event.
    case appendEvents(node: NodeID, [Event])
    /// As `appendEvents`.
    case appendDecisions(node: NodeID, [ScalingDecision])
    /// Rows of apps that do not exist are skipped.
    /// An event of the leader itself that must stand or fall with the other changes of this transaction: it does not go
    /// through an outbox and has no sequence.
    case recordEvent(Event)
    /// A decision, as `recordEvent`.
    case recordDecision(ScalingDecision)
    case appendMetrics([MetricRow])
    case saveNode(NodeInfo, seenAt: WallTime)
    /// Inserts or updates, all but whether it is paused. One that has ended is not made to run again.
    case saveRollout(RolloutRecord)
    /// Of a rollout that was saved before.
    case pauseRollout(AppName, revision: Int, Bool)
    /// Of a node that was saved before.
    case saveScheduling(NodeScheduling)
    /// It is empty; whether it is cordoned stays.
    case endNodeDrain(NodeID)
    /// Takes over a backup: see `RestoredState`.
    case restore(RestoredState)
    /// nil: the setting goes.
    case saveSetting(String, JSONValue?, by: String, at: WallTime)
    /// An entry of the audit trail, at the end of the chain. Last of all: its lock is held to the end of the transaction.
    case audit(JSONValue)
    /// Records the answer to a client's write. A key used before fails the whole write with `.duplicateRequest`.
    /// - fingerprint: tells another request under the same key from this one; empty: not told apart.
    case completeRequest(
        key: String, response: ControlResponse, actor: String, at: WallTime, fingerprint: String = "")
}

/// One row of `metrics`: an app over all nodes at one time. nil: not measured.
public struct MetricRow: Hashable, Sendable {
    public var app: AppName
    public var time: WallTime
    public var cpuPercent: Double?
    public var memoryPercent: Double?
    /// Requests per second.
    public var rps: Double?
    public var latencyP95Milliseconds: Double?
    public var activeConnections: Int?
    public var replicas: Int?
    public init(
        app: AppName, time: WallTime, cpuPercent: Double? = nil, memoryPercent: Double? = nil, rps: Double? = nil,
        latencyP95Milliseconds: Double? = nil, activeConnections: Int? = nil, replicas: Int? = nil
    ) {
        self.app = app
        self.time = time
        self.cpuPercent = cpuPercent
        self.memoryPercent = memoryPercent
        self.rps = rps
        self.latencyP95Milliseconds = latencyP95Milliseconds
        self.activeConnections = activeConnections
        self.replicas = replicas
    }
}

/// One accepted specification of an app.
package struct StoredRevision: Hashable, Sendable {
    package var revision: Int
    package var document: JSONValue
    package var spec: AppSpec
    /// What it used, as far as these versions are still there.
    package var secrets: [SealedSecret]
    /// What its image's tag meant; nil: not known.
    package var imageDigest: String?
    package var createdAt: WallTime
    package init(
        revision: Int, document: JSONValue, spec: AppSpec, secrets: [SealedSecret] = [], imageDigest: String? = nil,
        createdAt: WallTime
    ) {
        self.revision = revision
        self.document = document
        self.spec = spec
        self.secrets = secrets
        self.imageDigest = imageDigest
        self.createdAt = createdAt
    }
}

/// An event with its place in PostgreSQL, for paging.
package struct StoredEvent: Hashable, Sendable {
    package var id: Int64
    package var event: Event
    package init(id: Int64, event: Event) {
        self.id = id
        self.event = event
    }
}

/// A decision with its place in PostgreSQL, for paging.
package struct StoredDecision: Hashable, Sendable {
    package var id: Int64
    package var decision: ScalingDecision
    package init(id: Int64, decision: ScalingDecision) {
        self.id = id
        self.decision = decision
    }
}

/// A node as it was last recorded.
package struct StoredNode: Hashable, Sendable {
    package var info: NodeInfo
    package var lastSeenAt: WallTime
    package var scheduling: NodeScheduling
    package init(info: NodeInfo, lastSeenAt: WallTime, scheduling: NodeScheduling? = nil) {
        self.info = info
        self.lastSeenAt = lastSeenAt
        self.scheduling = scheduling ?? NodeScheduling(node: info.id)
    }
}

/// The last sequences of a node's outbox that PostgreSQL has; 0: none.
package struct OutboxProgress: Hashable, Sendable {
    package var events: Int64
    package var decisions: Int64
    package init(events: Int64, decisions: Int64) {
        self.events = events
        self.decisions = decisions
    }
}
