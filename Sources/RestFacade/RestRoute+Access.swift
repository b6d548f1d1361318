import HTTPTypes
import OrchestryModel

/// Who may use which route: the one table of it. A new route must say here what it needs before it compiles.
extension RestRoute {
    package enum Access: Hashable, Sendable {
        /// Anybody, without credentials: says nothing about the cluster.
        case open
        /// For callers limited to apps too: about one app, or showing of several what the caller may see.
        case apps(Verb)
        /// About the cluster as a whole: not for callers limited to apps.
        case cluster(Verb)
    }

    package var access: Access {
        switch self {
        case .health, .openAPI, .dashboard, .dashboardFile: .open
        case .listApps, .appStatus, .appDocument, .appLogs, .appMetrics, .why, .events, .simulate, .rolloutStatus,
            .revisions, .plan, .usageOfApps, .appHistory, .eventStream:
            .apps(.read)
        case .register, .deleteApp: .apps(.deploy)
        case .start, .stop, .retry: .apps(.run)
        case .exec: .apps(.exec)
        case .scale, .autoscale, .setPolicy, .simulateMetrics: .apps(.scale)
        case .rollback, .pauseRollout, .resumeRollout, .abortRollout: .apps(.rollout)
        case .systemMetrics, .prometheusMetrics, .listSecrets, .showSecret, .clusterStatus, .clusterLeader,
            .clusterHealth, .listNodes, .listSettings:
            .cluster(.read)
        case .cordonNode, .uncordonNode, .drainNode, .rebalance: .cluster(.nodes)
        case .setSecret, .removeSecret: .cluster(.secrets)
        case .listTokens, .createToken, .revokeToken: .cluster(.tokens)
        case .audit: .cluster(.audit)
        case .stepDown, .backup, .restore, .changeSettings: .cluster(.cluster)
        }
    }

    /// Why the caller may not use the route, whatever app it names; nil: it may.
    package func objection(to caller: Caller) -> Problem? {
        guard let grant = caller.grant else { return nil }
        switch access {
        case .open: return nil
        case .apps(let verb): return caller.objection(lacking: verb)
        case .cluster(let verb):
            if let problem = caller.objection(lacking: verb) { return problem }
            guard grant.isLimitedToApps else { return nil }
            return .forbidden(
                "\(caller.name) is limited to some apps, and \(method.rawValue) \(path) is about the cluster as a whole: "
                    + "use a token without --apps.")
        }
    }
}
