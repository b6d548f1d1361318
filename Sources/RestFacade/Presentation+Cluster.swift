import OrchestryModel

extension Presentation {
    /// `GET /cluster/status`.
    package static func clusterStatus(_ view: ClusterView) -> JSONValue {
        let term = JSONValue.int(Int64(clamping: view.epoch.rawValue))
        return [
            "node_id": .string(view.me.id.rawValue), "hostname": .string(view.me.host),
            "state": .string(view.state.rawValue), "term": term, "is_leader": .bool(view.state == .leader),
            "leader_id": JSONValue(view.leader?.rawValue), "cluster_size": JSONValue(view.members.count),
            "nodes": .array(view.members.map { node($0, term: term) }), "lease": lease(view.lease),
        ]
    }

    private static func node(_ member: ClusterView.Member, term: JSONValue) -> JSONValue {
        [
            "node_id": .string(member.info.id.rawValue), "hostname": .string(member.info.host),
            "port": JSONValue(port(of: member.info.apiURL) ?? member.info.clusterPort),
            "api_url": .string(member.info.apiURL), "state": .string(member.state.rawValue),
            "last_heartbeat": seconds(member.lastHeartbeat),
            // The original never fills these two for a node either.
            "lease_expires_at": .null, "votes_received": 0,
            "term": term, "is_healthy": .bool(member.isHealthy), "cluster_port": JSONValue(member.info.clusterPort),
            "role": .string(member.info.role == .controller ? "controller" : "worker"),
        ]
    }

    private static func lease(_ lease: LeaseRow?) -> JSONValue {
        guard let lease else { return .null }
        return [
            "leader_id": .string(lease.leader.rawValue), "term": .int(Int64(clamping: lease.epoch.rawValue)),
            "acquired_at": seconds(lease.acquiredAt), "expires_at": seconds(lease.expiresAt),
            "renewed_at": seconds(lease.renewedAt), "hostname": .string(lease.hostname),
            "api_url": .string(lease.apiURL), "mode": .string(lease.mode.rawValue),
        ]
    }

    /// `GET /cluster/leader`; nil while no leader is known.
    package static func clusterLeader(_ view: ClusterView) -> JSONValue? {
        guard let id = view.leader, let leader = view.members.first(where: { $0.info.id == id })?.info else {
            return nil
        }
        // A lease read before the last change of leader says nothing about this one.
        let lease = view.lease.flatMap { $0.leader == id ? $0 : nil }
        return [
            "leader_id": .string(id.rawValue), "hostname": .string(leader.host), "api_url": .string(leader.apiURL),
            "external_api_url": .string(leader.apiURL), "term": .int(Int64(clamping: view.epoch.rawValue)),
            "lease_expires_at": seconds(lease?.expiresAt),
        ]
    }

    /// `GET /cluster/health`. Without a leader the status is `degraded`, still with HTTP 200: this node works.
    package static func clusterHealth(_ view: ClusterView, now: WallTime, version: String) -> JSONValue {
        [
            "status": view.leader == nil ? "degraded" : "healthy", "clustering": "enabled",
            "node_id": .string(view.me.id.rawValue), "state": .string(view.state.rawValue),
            "is_leader": .bool(view.state == .leader), "leader_id": JSONValue(view.leader?.rawValue),
            "cluster_size": JSONValue(view.members.count), "cluster_ready": .bool(view.leader != nil),
            "timestamp": seconds(now), "version": .string(version),
        ]
    }

    /// The port of a URL such as `http://127.0.0.1:8101`; nil where it names none.
    private static func port(of url: String) -> Int? {
        let afterScheme = url.split(separator: "//", maxSplits: 1).last ?? ""
        let authority = afterScheme.prefix { $0 != "/" }
        guard let colon = authority.lastIndex(of: ":") else { return nil }
        return Int(authority[authority.index(after: colon)...])
    }
}
