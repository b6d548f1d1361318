import OrchestryModel

extension InstanceLifecycle {
    /// What happened. The shell reports exactly one answer to each engine action it is given.
    public enum Event: Hashable, Sendable {
        /// Answers `ensureImage`.
        case imagePresent
        case imageFailed(String)
        /// Answers `startContainer`: the container runs (or ran: its exit is reported after this).
        case containerStarted(containerID: String, endpoint: Endpoint?)
        /// Answers `startContainer`: nothing was left behind.
        case startFailed(String)
        case probeSucceeded
        case probeFailed(String)
        /// What the liveness check says, where there is one.
        case livenessSucceeded
        case livenessFailed(String)
        /// The container no longer runs. May be reported more than once. With a `containerID` a report that is late
        /// can't be taken for one of the container that came after; nil means the current one.
        case containerExited(containerID: String? = nil, code: Int, outOfMemory: Bool, lastLogLines: [String])
        /// The leader wants it gone; 0…600 s between SIGTERM and SIGKILL.
        case stopRequested(graceSeconds: Int)
        /// Answers `removeContainer`: it is gone (or was never there).
        case containerRemoved
        /// Answers `removeContainer` or `stopContainer`: it did not work; it is tried again.
        case removeFailed(String)
        /// Somebody asks to skip the back-off.
        case retryRequested
        /// The engine stopped answering: no engine action is given until `engineBack`.
        case engineLost
        case engineBack
        /// The same instance with other terms that need no new container (its health check).
        case assignmentUpdated(Assignment)
        /// Time passed; also the first event of all.
        case tick
    }

    /// What the shell is to do, in this order.
    public enum Action: Hashable, Sendable {
        /// Pull the image, by the spec's pull policy, unless it is there.
        case ensureImage
        /// Make and start a container for the assignment.
        case startContainer
        case stopContainer(containerID: String, graceSeconds: Int)
        case removeContainer(containerID: String)
        /// Probe by the assignment's health check, and by its liveness check where it has one, at once and then each
        /// period; replaces any probing so far.
        case startProbing(Endpoint?)
        case stopProbing
        /// Something the leader should know changed.
        case statusChanged(InstanceStatus)
        case record(EventKind, message: String, details: JSONValue)
        /// Send `tick` then. Replaces any earlier wake.
        case wake(at: Instant)
        /// The instance is gone: forget it. Always the last action.
        case finished
    }

    /// A container found on the engine when the agent started.
    public struct ExistingContainer: Hashable, Sendable {
        public var containerID: String
        public var isRunning: Bool
        /// nil when it has no address (not running, or no port).
        public var endpoint: Endpoint?
        public var startedAt: WallTime?
        /// nil while it runs.
        public var exitCode: Int?
        public var outOfMemory: Bool
        public var lastLogLines: [String]
        public init(
            containerID: String, isRunning: Bool, endpoint: Endpoint? = nil, startedAt: WallTime? = nil,
            exitCode: Int? = nil, outOfMemory: Bool = false, lastLogLines: [String] = []
        ) {
            self.containerID = containerID
            self.isRunning = isRunning
            self.endpoint = endpoint
            self.startedAt = startedAt
            self.exitCode = exitCode
            self.outOfMemory = outOfMemory
            self.lastLogLines = lastLogLines
        }
    }
}
