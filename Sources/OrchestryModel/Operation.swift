/// Something a client asks of the cluster, independent of HTTP: what nodes forward to the leader.
public enum Operation: Hashable, Sendable, Codable {
    // Writes: only the leader carries them out.
    /// `condition`: what must hold of the present spec, else 412; nil: nothing.
    case register(document: JSONValue, condition: SpecCondition? = nil)
    case start(AppName)
    case stop(AppName)
    case delete(AppName)
    /// `replicas` is 0…100, as the original bounds it. `forSeconds` fixes it that long against the autoscaler (then at
    /// least 1); nil: until the autoscaler or somebody changes it.
    case scale(AppName, replicas: Int, forSeconds: Int? = nil)
    /// Pauses or resumes the autoscaler.
    case autoscale(AppName, AutoscaleChange)
    case setPolicy(AppName, policy: JSONValue, condition: SpecCondition? = nil)
    case simulateMetrics(AppName, SimulatedMetrics)
    /// Makes a new revision with what containers are made from in revision `to`; nil: in the last one that worked.
    case rollback(AppName, to: Int?)
    case pauseRollout(AppName)
    case resumeRollout(AppName)
    /// Stops the rollout and goes back to where it came from.
    case abortRollout(AppName)
    case cordonNode(NodeID)
    /// Ends a drain too.
    case uncordonNode(NodeID)
    /// Cordons the node and moves its instances away; what is left after 1…86,400 s is stopped.
    case drainNode(NodeID, deadlineSeconds: Int)
    /// Moves instances until they are spread evenly, 1…100 at once.
    case rebalance(maxMoves: Int)
    case stepDown
    /// Skip the back-off of instances that are not ready.
    case retry(AppName)
    /// Sealed by the node that took it, as version 0.
    case setSecret(SealedSecret)
    /// `force`: even though apps name it.
    case removeSecret(SecretName, force: Bool)
    /// Takes over the backup that was put into PostgreSQL under this checksum. `merge`: also beside apps and secrets that
    /// are there already, which stay as they are.
    case restore(checksum: String, merge: Bool)
    /// An object of runtime settings by name; null: back to the node's own configuration.
    case changeSettings(JSONValue)
    case createToken(TokenRequest)
    case revokeToken(TokenName)
    // Reads: answered by the leader from memory, or from PostgreSQL while there is no leader.
    case listApps
    case appStatus(AppName)
    case appDocument(AppName)
    case appMetrics(AppName)
    /// `lines` is at least 0, per instance.
    case appLogs(AppName, lines: Int)
    /// Newest first; `limit` 1…1,000.
    case events(app: AppName?, limit: Int)
    case systemMetrics
    /// The latest evaluations of an app, in words and figures.
    case why(AppName)
    /// What another policy would have done with the load of late.
    case simulate(AppName, SimulationRequest)
    case listSecrets
    case showSecret(SecretName)
    case rolloutStatus(AppName)
    case revisions(AppName)
    case listNodes
    /// All control state as one document.
    case backup
    case listSettings
    /// Every app's load of now.
    case usageOfApps
    /// What registering these would do; see `SpecPlan`.
    case plan(documents: [JSONValue])
    /// One row for each app, with its figures of now.
    case overview
    /// The next lines of an instance's output, for a follower: asked of the node where it runs, leader or not. `cursor` is
    /// what that node gave before; `tail` how many lines to begin with, nil: all.
    case followLog(InstanceID, session: String, cursor: String?, tail: Int?)
    /// Runs a command in an instance of the app: asked of the node where it runs, leader or not, in an ExecRequest.
    case exec(AppName, InstanceID, ExecCommand)
    /// Between nodes only: events with ids above one, oldest first, at most `limit` (0…1,000), and the newest id; for a node
    /// that can't read them from PostgreSQL.
    case eventsAfter(Int64, limit: Int)
    /// An app's metrics and decisions of the last 1…1,440 minutes.
    case appHistory(AppName, minutes: Int)
    case listTokens
    /// Between nodes only: all tokens with their hashes, for a node that can't read them from PostgreSQL.
    case tokensInForce
    /// Newest first; with `after`, oldest first from the entry after that number on. `limit` 1…1,000. `isRaw`: with the
    /// very text that the hashes are made of.
    case audit(app: AppName?, after: Int64?, limit: Int, isRaw: Bool)

    /// Unknown to releases without streams: only asked of nodes that say that they know them.
    public var isOfStreams: Bool {
        switch self {
        case .overview, .followLog, .eventsAfter, .exec: true
        default: false
        }
    }

    public var isWrite: Bool {
        switch self {
        case .register, .start, .stop, .delete, .scale, .autoscale, .setPolicy, .simulateMetrics, .stepDown, .retry,
            .setSecret,
            .removeSecret, .rollback, .pauseRollout, .resumeRollout, .abortRollout, .cordonNode, .uncordonNode,
            .drainNode, .rebalance, .restore, .changeSettings, .createToken, .revokeToken:
            true
        case .listApps, .appStatus, .appDocument, .appMetrics, .appLogs, .events, .systemMetrics, .why, .simulate,
            .listSecrets,
            .showSecret, .rolloutStatus, .revisions, .listNodes, .listTokens, .tokensInForce, .audit, .plan,
            .usageOfApps, .overview, .appHistory, .followLog, .eventsAfter, .backup, .listSettings, .exec:
            false
        }
    }
}

/// The body of `POST /apps/{name}/simulate`.
public struct SimulationRequest: Hashable, Sendable, Codable {
    /// Longest look back: a week, as long as minutes are kept.
    public static let longestSeconds = 7 * 86_400

    /// Fields of `scaling`, merged with the policy in force; null: the policy in force alone.
    public var policy: JSONValue
    /// 60…604,800.
    public var sinceSeconds: Int
    /// Requests per second an instance carries; nil: a fifth more than the target.
    public var capacityPerInstance: Double?
    /// From a decision to the first request; nil: 2.
    public var startSeconds: Int?
    public init(
        policy: JSONValue = .null, sinceSeconds: Int = 3_600, capacityPerInstance: Double? = nil,
        startSeconds: Int? = nil
    ) {
        self.policy = policy
        self.sinceSeconds = sinceSeconds
        self.capacityPerInstance = capacityPerInstance
        self.startSeconds = startSeconds
    }
}

/// The body of `POST /apps/{name}/simulateMetrics`, after the original.
public struct SimulatedMetrics: Hashable, Sendable, Codable {
    public var rps: Double
    public var p95LatencyMs: Double
    public var activeConnections: Int
    public var cpuPercent: Double
    public var memoryPercent: Double
    public var healthyReplicas: Int?
    public var evaluate: Bool
    public init(
        rps: Double = 0, p95LatencyMs: Double = 0, activeConnections: Int = 0, cpuPercent: Double = 0,
        memoryPercent: Double = 0, healthyReplicas: Int? = nil, evaluate: Bool = true
    ) {
        self.rps = rps
        self.p95LatencyMs = p95LatencyMs
        self.activeConnections = activeConnections
        self.cpuPercent = cpuPercent
        self.memoryPercent = memoryPercent
        self.healthyReplicas = healthyReplicas
        self.evaluate = evaluate
    }
}

public struct ControlRequest: Hashable, Sendable, Codable {
    public var operation: Operation
    /// A write with the same key is applied once, however often it arrives. 1…200 characters.
    public var idempotencyKey: String
    /// Who asked, for the audit trail.
    public var actor: String
    /// The same in full; nil: from a node that does not say (an earlier release), or from a node itself.
    public var caller: Caller?
    public init(operation: Operation, idempotencyKey: String, actor: String, caller: Caller? = nil) {
        self.operation = operation
        self.idempotencyKey = idempotencyKey
        self.actor = actor
        self.caller = caller
    }
    public init(operation: Operation, idempotencyKey: String, caller: Caller) {
        self.init(operation: operation, idempotencyKey: idempotencyKey, actor: caller.actor, caller: caller)
    }
}

/// The answer in HTTP's terms, because that is what every client of it speaks.
public struct ControlResponse: Hashable, Sendable, Codable {
    /// 200…599.
    public var status: Int
    public var body: JSONValue
    /// Seconds for `Retry-After`, with 503 and 429.
    public var retryAfterSeconds: Int?
    public init(status: Int = 200, body: JSONValue, retryAfterSeconds: Int? = nil) {
        self.status = status
        self.body = body
        self.retryAfterSeconds = retryAfterSeconds
    }
    public init(_ problem: Problem) {
        self.init(status: problem.status, body: problem.json, retryAfterSeconds: problem.retryAfterSeconds)
    }
}

/// An error as clients see it: RFC 9457 problem details that also carry the original's `detail`.
public struct Problem: Error, Hashable, Sendable {
    public var status: Int
    /// A short name of the kind of problem, `app-not-found`: the last part of `type`.
    public var code: String
    public var title: String
    /// What happened and what to do about it.
    public var detail: String
    public var violations: [Violation]
    public var retryAfterSeconds: Int?
    public init(
        status: Int, code: String, title: String, detail: String, violations: [Violation] = [],
        retryAfterSeconds: Int? = nil
    ) {
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.violations = violations
        self.retryAfterSeconds = retryAfterSeconds
    }

    public var json: JSONValue {
        var members: [String: JSONValue] = [
            "type": .string("urn:orchestry:problem:\(code)"), "title": .string(title), "status": JSONValue(status),
            "detail": .string(detail),
        ]
        if !violations.isEmpty {
            members["violations"] = .array(
                violations.map { ["field": .string($0.field), "rule": .string($0.rule)] })
        }
        return .object(members)
    }

    public static func appNotFound(_ name: AppName) -> Problem {
        Problem(
            status: 404, code: "app-not-found", title: "No such app",
            detail: "App \(name) not found. `orchestry list` shows the registered apps.")
    }
    public static func nodeNotFound(_ node: NodeID) -> Problem {
        Problem(
            status: 404, code: "node-not-found", title: "No such node",
            detail: "Node \(node) not found. `orchestry node list` shows the nodes.")
    }
    public static func invalid(_ error: ValidationError) -> Problem {
        Problem(
            status: 422, code: "invalid-document", title: "The request breaks a rule", detail: error.description,
            violations: error.violations)
    }
    public static func secretNotFound(_ name: SecretName) -> Problem {
        Problem(
            status: 404, code: "secret-not-found", title: "No such secret",
            detail: "Secret \(name) not found. `orchestry secret list` shows the secrets there are.")
    }
    public static func noLeader(_ detail: String) -> Problem {
        Problem(
            status: 503, code: "no-leader", title: "No leader can take this write now", detail: detail,
            retryAfterSeconds: 1)
    }
    public static func storeUnavailable(_ detail: String) -> Problem {
        Problem(
            status: 503, code: "store-unavailable", title: "PostgreSQL does not answer", detail: detail,
            retryAfterSeconds: 2)
    }
}

/// What a node knows of the cluster, for `/cluster/*`.
public struct ClusterView: Hashable, Sendable, Codable {
    public enum State: String, Hashable, Sendable, Codable { case leader, follower, candidate }
    public struct Member: Hashable, Sendable, Codable {
        public var info: NodeInfo
        public var state: State
        /// When this node last heard from it; nil: never.
        public var lastHeartbeat: WallTime?
        public var isHealthy: Bool
        public init(info: NodeInfo, state: State, lastHeartbeat: WallTime?, isHealthy: Bool) {
            self.info = info
            self.state = state
            self.lastHeartbeat = lastHeartbeat
            self.isHealthy = isHealthy
        }
    }
    public var me: NodeInfo
    public var state: State
    /// The highest epoch this node has seen.
    public var epoch: Epoch
    /// The leader this node follows or is; nil: none now.
    public var leader: NodeID?
    /// Sorted by id, this node included.
    public var members: [Member]
    /// As last read from PostgreSQL; nil: never read.
    public var lease: LeaseRow?
    public init(
        me: NodeInfo, state: State, epoch: Epoch, leader: NodeID?, members: [Member], lease: LeaseRow?
    ) {
        self.me = me
        self.state = state
        self.epoch = epoch
        self.leader = leader
        self.members = members
        self.lease = lease
    }
}
