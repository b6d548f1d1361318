import HTTPTypes

/// Every route there is: the one list the router, the answers 404 and 405, and the test of `openapi.json` go by.
package enum RestRoute: String, CaseIterable, Sendable {
    case register, plan, start, stop, scale, autoscale, retry, setPolicy, simulateMetrics, simulate, deleteApp
    case listApps, appStatus, appDocument, appLogs, appMetrics, why, exec
    case appHistory, events, eventStream, systemMetrics, prometheusMetrics, usageOfApps
    case listSecrets, showSecret, setSecret, removeSecret
    case rollback, pauseRollout, resumeRollout, abortRollout, rolloutStatus, revisions
    case clusterStatus, clusterLeader, clusterHealth, stepDown
    case listNodes, cordonNode, uncordonNode, drainNode, rebalance
    case backup, restore, listSettings, changeSettings
    case listTokens, createToken, revokeToken, audit
    case health, openAPI, dashboard, dashboardFile

    package var method: HTTPRequest.Method {
        switch self {
        case .register, .plan, .start, .stop, .scale, .autoscale, .retry, .setPolicy, .simulateMetrics, .simulate,
            .stepDown,
            .rollback,
            .pauseRollout, .resumeRollout, .abortRollout, .cordonNode, .uncordonNode, .drainNode, .rebalance, .restore,
            .createToken:
            .post
        case .deleteApp, .removeSecret, .revokeToken: .delete
        case .setSecret: .put
        case .changeSettings: .patch
        case .listApps, .appStatus, .appDocument, .appLogs, .appMetrics, .why, .events, .systemMetrics,
            .listSecrets, .showSecret, .prometheusMetrics, .clusterStatus, .clusterLeader, .clusterHealth, .health,
            .openAPI, .rolloutStatus, .revisions, .listNodes, .backup, .listSettings, .listTokens, .audit,
            .appHistory, .eventStream, .dashboard, .dashboardFile, .usageOfApps, .exec:
            .get
        }
    }

    /// Whether it asks for a change. A simulation is sent with POST for its body and changes nothing; a WebSocket begins with
    /// GET, whatever is done by it.
    package var isWrite: Bool { (method != .get && self != .simulate && self != .plan) || self == .exec }

    /// As OpenAPI and the router write it: a segment in braces stands for any one.
    package var path: String {
        switch self {
        case .register: "/apps/register"
        case .plan: "/apps/plan"
        case .start: "/apps/{name}/up"
        case .stop: "/apps/{name}/down"
        case .scale: "/apps/{name}/scale"
        case .retry: "/apps/{name}/retry"
        case .autoscale: "/apps/{name}/autoscale"
        case .setPolicy: "/apps/{name}/policy"
        case .simulateMetrics: "/apps/{name}/simulateMetrics"
        case .simulate: "/apps/{name}/simulate"
        case .deleteApp: "/apps/{name}"
        case .listApps: "/apps"
        case .appStatus: "/apps/{name}/status"
        case .appDocument: "/apps/{name}/raw"
        case .appLogs: "/apps/{name}/logs"
        case .exec: "/apps/{name}/exec"
        case .appMetrics: "/apps/{name}/metrics"
        case .why: "/apps/{name}/why"
        case .rollback: "/apps/{name}/rollback"
        case .pauseRollout: "/apps/{name}/rollout/pause"
        case .resumeRollout: "/apps/{name}/rollout/resume"
        case .abortRollout: "/apps/{name}/rollout/abort"
        case .rolloutStatus: "/apps/{name}/rollout"
        case .revisions: "/apps/{name}/revisions"
        case .listNodes: "/nodes"
        case .cordonNode: "/nodes/{node}/cordon"
        case .uncordonNode: "/nodes/{node}/uncordon"
        case .drainNode: "/nodes/{node}/drain"
        case .rebalance: "/cluster/rebalance"
        case .appHistory: "/apps/{name}/history"
        case .events: "/events"
        case .eventStream: "/events/stream"
        case .systemMetrics: "/metrics"
        case .prometheusMetrics: "/metrics/prometheus"
        case .usageOfApps: "/metrics/apps"
        case .listSecrets: "/secrets"
        case .showSecret, .setSecret, .removeSecret: "/secrets/{secret}"
        case .listTokens, .createToken: "/tokens"
        case .revokeToken: "/tokens/{token}"
        case .audit: "/audit"
        case .clusterStatus: "/cluster/status"
        case .clusterLeader: "/cluster/leader"
        case .clusterHealth: "/cluster/health"
        case .stepDown: "/cluster/step-down"
        case .backup: "/backup"
        case .restore: "/restore"
        case .listSettings, .changeSettings: "/settings"
        case .health: "/health"
        case .openAPI: "/openapi.json"
        case .dashboard: "/ui"
        case .dashboardFile: "/ui/{file}"
        }
    }

    /// The methods `path` answers to, sorted by name, HEAD with GET; empty: there is no such path.
    package static func methods(for path: String) -> [HTTPRequest.Method] {
        let segments = path.split(separator: "/")
        let matching = allCases.filter { route in
            let template = route.path.split(separator: "/")
            return template.count == segments.count
                && zip(template, segments).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
        }
        // A literal path hides the pattern it also fits: the router does not look further.
        let literal = matching.filter { !$0.path.contains("{") }
        var methods = Set((literal.isEmpty ? matching : literal).map(\.method))
        if methods.contains(.get) { methods.insert(.head) }
        return methods.sorted { $0.rawValue < $1.rawValue }
    }
}
