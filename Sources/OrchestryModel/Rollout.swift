/// The way of one app to one of its revisions: begun by a new revision of a running app, kept after its end as the
/// record of what became of that revision.
public struct RolloutRecord: Hashable, Sendable, Codable {
    public enum Origin: String, Hashable, Sendable, Codable {
        /// Somebody registered another spec.
        case deploy
        /// Somebody asked to go back.
        case rollback
        /// Somebody stopped the rollout of the revision before.
        case abort
        /// The revision before failed.
        case automatic
    }
    public enum State: String, Hashable, Sendable, Codable, CaseIterable {
        case running, succeeded, failed, aborted
        /// Another revision, or the end of the app's run, came first.
        case superseded
    }
    public enum Phase: String, Hashable, Sendable, Codable {
        /// The release command is run; nothing else of the revision is there yet.
        case release
        /// A few new instances are compared with the old ones.
        case canary
        case rolling
    }

    public var app: AppName
    public var revision: Int
    /// What to go back to when it fails; nil: nothing known to have worked.
    public var from: Int?
    public var origin: Origin
    /// The earlier revision whose content this one repeats; nil: its content is new.
    public var restores: Int?
    public var state: State
    public var phase: Phase
    public var isPaused: Bool
    /// Why it began or ended as it did, one sentence without a full stop; empty: nothing special.
    public var reason: String
    public var startedAt: WallTime
    /// nil as well for one that failed while nobody has gone back yet.
    public var endedAt: WallTime?
    /// The spec of `from`, its image by digest where that is known, so that its instances can still be made; not part of
    /// the stored row. nil: not known.
    public var previousSpec: AppSpec?
    /// The secrets of `from`; not part of the stored row either.
    public var previousSecrets: [SealedSecret]

    public init(
        app: AppName, revision: Int, from: Int?, origin: Origin = .deploy, restores: Int? = nil,
        state: State = .running, phase: Phase = .rolling, isPaused: Bool = false, reason: String = "",
        startedAt: WallTime, endedAt: WallTime? = nil, previousSpec: AppSpec? = nil,
        previousSecrets: [SealedSecret] = []
    ) {
        self.app = app
        self.revision = revision
        self.from = from
        self.origin = origin
        self.restores = restores
        self.state = state
        self.phase = phase
        self.isPaused = isPaused
        self.reason = reason
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.previousSpec = previousSpec
        self.previousSecrets = previousSecrets
    }
}

/// Whether a node may take instances, as people set it.
public struct NodeScheduling: Hashable, Sendable, Codable {
    public var node: NodeID
    /// Takes no new instances.
    public var isCordoned: Bool
    /// Its instances are moved elsewhere; only while cordoned.
    public var isDraining: Bool
    /// Until what is left is stopped without a replacement that is ready, seconds from now, at least 0; nil: it waits.
    public var drainSecondsLeft: Double?
    public init(node: NodeID, isCordoned: Bool = false, isDraining: Bool = false, drainSecondsLeft: Double? = nil) {
        self.node = node
        self.isCordoned = isCordoned
        self.isDraining = isDraining
        self.drainSecondsLeft = drainSecondsLeft
    }
}
