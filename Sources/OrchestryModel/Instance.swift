/// Where an instance is in its life. See `Scheduling.InstanceLifecycle` for the transitions.
public enum InstanceState: UInt8, Hashable, Sendable, Codable, CaseIterable {
    case pending = 0
    case pulling = 1
    case starting = 2
    case ready = 3
    case unhealthy = 4
    case draining = 5
    case stopped = 6
    case crashLooping = 7

    /// The word shown to users and stored in `instances.status`.
    public var label: String {
        switch self {
        case .pending: "pending"
        case .pulling: "pulling"
        case .starting: "starting"
        case .ready: "ready"
        case .unhealthy: "unhealthy"
        case .draining: "draining"
        case .stopped: "stopped"
        case .crashLooping: "crash-looping"
        }
    }
    public init?(label: String) {
        guard let match = Self.allCases.first(where: { $0.label == label }) else { return nil }
        self = match
    }
}

/// Where an instance's traffic goes: `host` is an IPv4 or IPv6 literal.
public struct Endpoint: Hashable, Sendable, Codable, CustomStringConvertible {
    public var host: String
    /// 1…65535.
    public var port: Int
    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
    /// `host:port`, with brackets around IPv6.
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// What the leader wants a node to run: an instance of one revision. Self-contained, so that an agent needs nothing else.
public struct Assignment: Hashable, Sendable, Codable {
    public var instance: InstanceID
    public var revision: Int
    public var node: NodeID
    public var spec: AppSpec
    /// Wanted replicas when the instance was made, for `app.replicas`.
    public var replicas: Int
    /// Sealed for the node's key; sorted by name.
    public var secrets: [SealedSecret]
    public init(
        instance: InstanceID, revision: Int, node: NodeID, spec: AppSpec, replicas: Int, secrets: [SealedSecret] = []
    ) {
        self.instance = instance
        self.revision = revision
        self.node = node
        self.spec = spec
        self.replicas = replicas
        self.secrets = secrets
    }
    public var app: AppName { spec.name }
}

/// An order of the leader to a node's agent. Safe to repeat: an agent that already did it reports its status again.
public enum InstanceCommand: Hashable, Sendable {
    /// Run this instance and keep it running (restarting its container with back-off) until told otherwise.
    case run(Assignment)
    /// Stop and remove the instance's container: SIGTERM, then SIGKILL after `graceSeconds` (0…600).
    /// The leader sends it only after every node has stopped routing to the instance.
    case stop(InstanceID, graceSeconds: Int)
    /// Leave crash-loop back-off and try at once.
    case retry(InstanceID)

    public var instance: InstanceID {
        switch self {
        case .run(let assignment): assignment.instance
        case .stop(let instance, _), .retry(let instance): instance
        }
    }
}

/// What an agent knows of one of its instances.
public struct InstanceStatus: Hashable, Sendable, Codable {
    public var instance: InstanceID
    public var app: AppName
    public var revision: Int
    public var node: NodeID
    public var state: InstanceState
    /// 64 hexadecimal digits; nil until a container exists.
    public var containerID: String?
    /// nil until the container has an address.
    public var endpoint: Endpoint?
    /// Containers started for this instance beyond the first.
    public var restarts: Int
    /// Failed probes in a row.
    public var failures: Int
    /// The last container's exit code; nil while the first still runs.
    public var exitCode: Int?
    public var outOfMemory: Bool
    /// Why it is not ready, in words for the operator; empty when it is.
    public var message: String
    /// When the current container was started.
    public var startedAt: WallTime?
    public var lastProbeAt: WallTime?
    /// When the state became what it is.
    public var since: WallTime

    public init(
        instance: InstanceID, app: AppName, revision: Int, node: NodeID, state: InstanceState,
        containerID: String? = nil, endpoint: Endpoint? = nil, restarts: Int = 0, failures: Int = 0,
        exitCode: Int? = nil, outOfMemory: Bool = false, message: String = "", startedAt: WallTime? = nil,
        lastProbeAt: WallTime? = nil, since: WallTime
    ) {
        self.instance = instance
        self.app = app
        self.revision = revision
        self.node = node
        self.state = state
        self.containerID = containerID
        self.endpoint = endpoint
        self.restarts = restarts
        self.failures = failures
        self.exitCode = exitCode
        self.outOfMemory = outOfMemory
        self.message = message
        self.startedAt = startedAt
        self.lastProbeAt = lastProbeAt
        self.since = since
    }
}

extension InstanceStatus {
    /// A release step that has exited and still can say how.
    public var hasKeptContainer: Bool { state == .stopped && containerID != nil && instance.isReleaseStep }
}

/// Everything an agent runs, sent to a leader when a connection to it begins, when anything changes, and each 10 s.
public struct Inventory: Hashable, Sendable {
    public var node: NodeID
    /// The highest epoch whose command the agent has obeyed.
    public var highestEpoch: Epoch
    /// What may be reserved on this node by all instances together.
    public var capacityMillicores: Int
    public var capacityMemoryBytes: Int64
    /// False when the container engine does not answer.
    public var engineAvailable: Bool
    /// Sorted by instance.
    public var instances: [InstanceStatus]
    public init(
        node: NodeID, highestEpoch: Epoch, capacityMillicores: Int, capacityMemoryBytes: Int64,
        engineAvailable: Bool, instances: [InstanceStatus]
    ) {
        self.node = node
        self.highestEpoch = highestEpoch
        self.capacityMillicores = capacityMillicores
        self.capacityMemoryBytes = capacityMemoryBytes
        self.engineAvailable = engineAvailable
        self.instances = instances
    }
}
