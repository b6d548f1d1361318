/// What a caller may be allowed to do, as tokens and roles name it.
public enum Verb: String, Hashable, Sendable, Codable, CaseIterable, Comparable {
    /// Look at apps, nodes, events, metrics and logs. Secrets' names, never their values.
    case read
    /// Register and delete apps.
    case deploy
    /// Start, stop and retry apps.
    case run
    /// Run commands in instances: whoever may can read the app's secrets there.
    case exec
    /// Change replicas, the scaling policy and the autoscaler's pauses.
    case scale
    /// Steer rollouts, and go back to earlier revisions.
    case rollout
    /// Cordon and drain nodes, spread instances.
    case nodes
    /// Set and remove secrets.
    case secrets
    /// Make, list and revoke tokens.
    case tokens
    /// Read the audit trail.
    case audit
    /// Make the leader step down, change runtime settings, take backups (they hold apps with all their environment, sealed
    /// secrets and tokens' hashes) and restore them.
    case cluster

    public static func < (left: Verb, right: Verb) -> Bool { left.rawValue < right.rawValue }
}

/// A set of verbs with a name. Each includes the one before.
public enum Role: String, Hashable, Sendable, Codable, CaseIterable {
    case viewer, `operator`, admin

    public var verbs: Set<Verb> {
        switch self {
        case .viewer: [.read]
        case .operator: [.read, .deploy, .run, .exec, .scale, .rollout, .nodes]
        case .admin: Set(Verb.allCases)
        }
    }

    /// The roles that include a verb, weakest first.
    public static func having(_ verb: Verb) -> [Role] { allCases.filter { $0.verbs.contains(verb) } }
}

/// What one caller may do: a role, narrowed to some verbs and some apps.
public struct AccessGrant: Hashable, Sendable, Codable {
    public var role: Role
    /// nil: all of the role.
    public var verbs: [Verb]?
    /// nil: every app, and what belongs to no app.
    public var apps: [AppName]?
    public init(role: Role, verbs: [Verb]? = nil, apps: [AppName]? = nil) {
        self.role = role
        self.verbs = verbs
        self.apps = apps
    }

    public func allows(_ verb: Verb) -> Bool { role.verbs.contains(verb) && verbs?.contains(verb) != false }
    public func covers(_ app: AppName) -> Bool { apps?.contains(app) != false }
    public var isLimitedToApps: Bool { apps != nil }
}

/// Who asked for something, as the node found out that took the request; it travels to the leader with the request.
public struct Caller: Hashable, Sendable, Codable {
    /// `token:ci`, `jwt:alice`, `bootstrap`, or `anonymous` where nobody has to say who they are.
    public var name: String
    /// Where the request came from, without a port; nil: not known.
    public var address: String?
    /// The node that took it.
    public var node: NodeID?
    /// nil: everything, because authentication is off.
    public var grant: AccessGrant?
    /// The fingerprint of the token that was shown, for the leader to look whether it still holds.
    public var token: String?
    /// What the client showed, from a worker only: controllers don't take a worker's word for who asks.
    public var credential: String?
    public init(
        name: String, address: String? = nil, node: NodeID? = nil, grant: AccessGrant? = nil, token: String? = nil,
        credential: String? = nil
    ) {
        self.name = name
        self.address = address
        self.node = node
        self.grant = grant
        self.token = token
        self.credential = credential
    }

    /// As events and `scaling_decisions` name who did something.
    public var actor: String {
        grant == nil ? address.map { "\(name)@\($0)" } ?? name : name
    }
}

/// Which apps an operation is about.
public enum OperationScope: Hashable, Sendable {
    case app(AppName)
    /// All of these.
    case apps([AppName])
    /// Shows of several apps what the caller may see.
    case filtered
    /// The cluster as a whole: not for callers that are limited to apps.
    case cluster
}

extension Operation {
    public var scope: OperationScope {
        switch self {
        case .register(let document, _):
            // What has no name is refused for that, not for its scope.
            document["metadata"]?["name"]?.stringValue.map { .app(AppName(unchecked: $0)) } ?? .cluster
        case .start(let app), .stop(let app), .delete(let app), .scale(let app, _, _), .autoscale(let app, _),
            .setPolicy(let app, _, _), .simulateMetrics(let app, _), .rollback(let app, _), .pauseRollout(let app),
            .resumeRollout(let app), .abortRollout(let app), .retry(let app), .appStatus(let app),
            .appDocument(let app), .appMetrics(let app), .appLogs(let app, _), .why(let app), .simulate(let app, _),
            .rolloutStatus(let app), .revisions(let app), .appHistory(let app, _), .exec(let app, _, _):
            .app(app)
        case .events(let app, _): app.map { .app($0) } ?? .filtered
        case .listApps, .usageOfApps, .overview: .filtered
        case .plan(let documents):
            .apps(documents.compactMap { $0["metadata"]?["name"]?.stringValue.map(AppName.init(unchecked:)) })
        case .cordonNode, .uncordonNode, .drainNode, .rebalance, .stepDown, .setSecret, .removeSecret, .systemMetrics,
            .listSecrets, .showSecret, .listNodes, .createToken, .revokeToken, .listTokens, .tokensInForce, .audit,
            .followLog, .eventsAfter, .backup, .restore, .listSettings, .changeSettings:
            .cluster
        }
    }
}

extension Operation {
    /// What whoever asks for it must have. Checked where the request came in and once more where it is carried out.
    public var verb: Verb {
        switch self {
        case .listApps, .appStatus, .appDocument, .appMetrics, .appLogs, .events, .systemMetrics, .why, .simulate,
            .listSecrets, .showSecret, .rolloutStatus, .revisions, .listNodes, .plan, .usageOfApps, .overview,
            .appHistory, .followLog, .eventsAfter, .listSettings:
            .read
        case .register, .delete: .deploy
        case .start, .stop, .retry: .run
        case .exec: .exec
        case .scale, .autoscale, .setPolicy, .simulateMetrics: .scale
        case .rollback, .pauseRollout, .resumeRollout, .abortRollout: .rollout
        case .cordonNode, .uncordonNode, .drainNode, .rebalance: .nodes
        case .setSecret, .removeSecret: .secrets
        case .createToken, .revokeToken, .listTokens, .tokensInForce: .tokens
        case .audit: .audit
        case .stepDown, .backup, .restore, .changeSettings: .cluster
        }
    }
}

extension Caller {
    /// Why this caller may do nothing that needs the verb; nil: it has it.
    public func objection(lacking verb: Verb) -> Problem? {
        guard let grant, !grant.allows(verb) else { return nil }
        let roles = Role.having(verb).map(\.rawValue).joined(separator: ", ")
        let cause =
            grant.role.verbs.contains(verb)
            ? "was given other verbs only (\((grant.verbs ?? []).map(\.rawValue).joined(separator: ", ")))"
            : "has role \(grant.role.rawValue); roles with it: \(roles)"
        return .forbidden("This needs the verb '\(verb.rawValue)', and \(name) \(cause).")
    }

    /// Why this caller may not do that, because of the verbs it has or the apps it is limited to; nil: it may.
    public func objection(to operation: Operation) -> Problem? {
        if let problem = objection(lacking: operation.verb) { return problem }
        guard let grant, let apps = grant.apps else { return nil }
        switch operation.scope {
        case .app(let app):
            if grant.covers(app) { return nil }
            return .forbidden(
                "\(name) is limited to \(Self.list(apps)), and this is about app \(app.rawValue.prefix(63)).")
        case .apps(let named):
            guard let foreign = named.first(where: { !grant.covers($0) }) else { return nil }
            return .forbidden(
                "\(name) is limited to \(Self.list(apps)), and this is about app \(foreign.rawValue.prefix(63)), too.")
        case .filtered: return nil
        case .cluster:
            return .forbidden(
                "\(name) is limited to \(Self.list(apps)), and this is about the cluster as a whole: use a token without "
                    + "--apps.")
        }
    }

    private static func list(_ apps: [AppName]) -> String {
        apps.isEmpty
            ? "no app" : "app\(apps.count == 1 ? "" : "s") " + apps.prefix(10).map(\.rawValue).joined(separator: ", ")
    }
}

extension Problem {
    /// 403: who asks is known, and may not.
    public static func forbidden(_ detail: String) -> Problem {
        Problem(status: 403, code: "forbidden", title: "Not allowed", detail: detail)
    }
    /// 401: who asks is not known.
    public static func unauthenticated(_ detail: String) -> Problem {
        Problem(status: 401, code: "unauthenticated", title: "Who asks is not known", detail: detail)
    }
}
