import OrchestryModel

/// What one entry of the audit trail says.
package struct AuditRecord: Hashable, Sendable {
    package enum Outcome: String, Sendable { case accepted, refused }

    package var time: WallTime
    package var actor: String
    /// nil: not known.
    package var address: String?
    /// The node that took the request.
    package var node: NodeID?
    /// The operation's name, `scale`; of requests refused before they were read, the route's.
    package var operation: String
    package var app: AppName?
    package var outcome: Outcome
    /// HTTP's.
    package var status: Int
    /// The idempotency key; nil: the request did not get so far.
    package var request: String?
    /// What was asked, without what is in `changes`, and never a secret.
    package var arguments: JSONValue
    package var changes: [DocumentDifference.Change]
    /// Why it was refused.
    package var reason: String?
    /// More of the same caller, operation and status that this entry stands for.
    package var repeats = 0

    package init(
        time: WallTime, actor: String, address: String?, node: NodeID?, operation: String, app: AppName? = nil,
        outcome: Outcome, status: Int, request: String? = nil, arguments: JSONValue = .null,
        changes: [DocumentDifference.Change] = [], reason: String? = nil
    ) {
        self.time = time
        self.actor = actor
        self.address = address
        self.node = node
        self.operation = operation
        self.app = app
        self.outcome = outcome
        self.status = status
        self.request = request
        self.arguments = arguments
        self.changes = changes
        self.reason = reason
    }

    /// Of a write that was carried out.
    /// - Parameters:
    ///   - before: the app as it was; nil: there was none.
    ///   - after: as it is now; nil: there is none.
    package init(
        _ request: ControlRequest, time: WallTime, node: NodeID, before: Application? = nil, after: Application? = nil
    ) {
        let (operation, arguments) = request.operation.audited
        var app: AppName?
        if case .app(let name) = request.operation.scope { app = name }
        self.init(
            time: time, actor: request.actor, address: request.caller?.address, node: request.caller?.node ?? node,
            operation: operation, app: app, outcome: .accepted, status: 200, request: request.idempotencyKey,
            arguments: arguments,
            changes: before == nil && after == nil
                ? [] : DocumentDifference.between(Self.picture(before), Self.picture(after)))
    }

    /// What of an app people change.
    private static func picture(_ application: Application?) -> JSONValue {
        guard let application else { return .null }
        var members = application.document.objectValue ?? [:]
        members["status"] = .string(application.status.rawValue)
        members["replicas"] = JSONValue(application.replicas)
        members["revision"] = JSONValue(application.revision)
        if let control = application.control {
            members["autoscaler"] = [
                "fixed": control.fixed.map { JSONValue($0.replicas) } ?? .null,
                "pausedOut": .bool(control.pauseOut != nil), "pausedIn": .bool(control.pauseIn != nil),
            ]
        }
        return .object(members)
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "time": .int(time.milliseconds), "actor": .string(actor), "operation": .string(operation),
            "outcome": .string(outcome.rawValue), "status": JSONValue(status),
        ]
        members["address"] = address.map { .string($0) }
        members["node"] = node.map { .string($0.rawValue) }
        members["app"] = app.map { .string($0.rawValue) }
        members["request"] = request.map { .string($0) }
        members["reason"] = reason.map { .string(String($0.unicodeScalars.prefix(500).map(Character.init))) }
        if arguments != .null, arguments != .object([:]) { members["arguments"] = arguments }
        if !changes.isEmpty { members["changes"] = .array(changes.map(\.json)) }
        if repeats > 0 { members["repeats"] = JSONValue(repeats) }
        return .object(members)
    }
}

extension Operation {
    /// The operation's name and what else was asked, for the audit trail. Documents are left out: their differences are
    /// recorded. So is everything that is or opens a secret.
    package var audited: (name: String, arguments: JSONValue) {
        switch self {
        case .register: ("register", .null)
        case .start: ("start", .null)
        case .stop: ("stop", .null)
        case .delete: ("delete", .null)
        case .scale(_, let replicas, let seconds):
            ("scale", ["replicas": JSONValue(replicas), "forSeconds": seconds.map { JSONValue($0) } ?? .null])
        case .autoscale(_, let change):
            (
                "autoscale",
                [
                    "action": .string(change.action.rawValue), "direction": .string(change.direction.rawValue),
                    "forSeconds": change.forSeconds.map { JSONValue($0) } ?? .null,
                ]
            )
        case .setPolicy: ("setPolicy", .null)
        case .simulateMetrics: ("simulateMetrics", .null)
        case .rollback(_, let revision): ("rollback", ["to": revision.map { JSONValue($0) } ?? .null])
        case .pauseRollout: ("pauseRollout", .null)
        case .resumeRollout: ("resumeRollout", .null)
        case .abortRollout: ("abortRollout", .null)
        case .cordonNode(let node): ("cordonNode", ["node": .string(node.rawValue)])
        case .uncordonNode(let node): ("uncordonNode", ["node": .string(node.rawValue)])
        case .drainNode(let node, let seconds):
            ("drainNode", ["node": .string(node.rawValue), "deadlineSeconds": JSONValue(seconds)])
        case .rebalance(let moves): ("rebalance", ["maxMoves": JSONValue(moves)])
        case .stepDown: ("stepDown", .null)
        case .retry: ("retry", .null)
        case .setSecret(let sealed): ("setSecret", ["secret": .string(sealed.name.rawValue)])
        case .removeSecret(let name, let force):
            ("removeSecret", ["secret": .string(name.rawValue), "force": .bool(force)])
        case .createToken(let wanted):
            (
                "createToken",
                [
                    "token": .string(wanted.name.rawValue), "role": .string(wanted.grant.role.rawValue),
                    "verbs": wanted.grant.verbs.map { .array($0.map { .string($0.rawValue) }) } ?? .null,
                    "apps": wanted.grant.apps.map { .array($0.map { .string($0.rawValue) }) } ?? .null,
                    "expiresSeconds": wanted.expiresSeconds.map { JSONValue($0) } ?? .null,
                ]
            )
        case .revokeToken(let name): ("revokeToken", ["token": .string(name.rawValue)])
        case .restore(let checksum, let merge):
            ("restore", ["checksum": .string(checksum), "merge": .bool(merge)])
        case .changeSettings: ("changeSettings", .null)
        case .exec(_, let instance, let command):
            (
                "exec",
                [
                    "instance": .string(instance.rawValue),
                    // Enough to tell what was done; somebody's script as an argument is cut.
                    "command": .array(command.words.prefix(32).map { .string(String($0.prefix(256))) }),
                    "words": JSONValue(command.words.count), "input": .bool(command.hasInput),
                    "terminal": .bool(command.terminal != nil),
                ]
            )
        case .listApps, .appStatus, .appDocument, .appMetrics, .appLogs, .events, .systemMetrics, .why, .simulate,
            .listSecrets, .showSecret, .rolloutStatus, .revisions, .listNodes, .listTokens, .tokensInForce, .audit,
            .plan, .usageOfApps, .overview, .appHistory, .followLog, .eventsAfter, .backup, .listSettings:
            ("read", .null)
        }
    }
}
