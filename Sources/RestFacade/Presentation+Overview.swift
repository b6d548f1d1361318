import OrchestryModel

extension Presentation {
    /// One app among all, with its figures of now: what the dashboard's list shows.
    /// - Parameters:
    ///   - observed: nil: nothing is known of its load.
    ///   - rollout: of the present revision, while it is under way; else nil.
    ///   - paused: `out`, `in`, `both`; nil: the autoscaler is not paused.
    ///   - problem: why it is not as wanted, one sentence; nil: it is.
    package static func overviewRow(
        _ app: Application, ready: Int, instances: Int, observed: ObservedMetrics? = nil,
        rollout: RolloutFigures? = nil, paused: String? = nil, problem: String? = nil
    ) -> JSONValue {
        [
            "name": .string(app.name.rawValue), "status": .string(app.status.rawValue),
            "mode": .string(app.spec.scaling.mode.rawValue), "revision": JSONValue(app.revision),
            "image": .string(app.spec.image), "wanted": JSONValue(app.replicas), "ready": JSONValue(ready),
            "instances": JSONValue(instances), "min": JSONValue(app.spec.scaling.minReplicas),
            "max": JSONValue(app.spec.scaling.maxReplicas), "metrics": observed?.json ?? .null,
            "rollout": rollout.map { .object(figures($0)) } ?? .null, "paused": JSONValue(paused),
            "problem": JSONValue(problem),
        ]
    }

    /// The cluster without what changes all the time.
    package static func clusterSummary(_ view: ClusterView) -> JSONValue {
        [
            "node_id": .string(view.me.id.rawValue), "leader_id": JSONValue(view.leader?.rawValue),
            "term": .int(Int64(clamping: view.epoch.rawValue)),
            "acquired_at": seconds(view.lease?.acquiredAt), "mode": JSONValue(view.lease?.mode.rawValue),
            "nodes": .array(
                view.members.map {
                    [
                        "node_id": .string($0.info.id.rawValue), "state": .string($0.state.rawValue),
                        "is_healthy": .bool($0.isHealthy), "api_url": .string($0.info.apiURL),
                        "role": .string($0.info.role == .controller ? "controller" : "worker"),
                    ]
                }),
        ]
    }

    /// One point of `GET /apps/{name}/history`; what was not measured is null.
    package struct HistoryPoint: Hashable, Sendable {
        package var time: WallTime
        package var rps, p95LatencyMilliseconds, cpuPercent, memoryPercent: Double?
        package var activeConnections, replicas: Int?
        package init(
            time: WallTime, rps: Double?, p95LatencyMilliseconds: Double?, cpuPercent: Double?, memoryPercent: Double?,
            activeConnections: Int?, replicas: Int?
        ) {
            self.time = time
            self.rps = rps
            self.p95LatencyMilliseconds = p95LatencyMilliseconds
            self.cpuPercent = cpuPercent
            self.memoryPercent = memoryPercent
            self.activeConnections = activeConnections
            self.replicas = replicas
        }
    }

    /// `GET /apps/{name}/history`, both oldest first.
    package static func history(
        _ app: AppName, points: [HistoryPoint], decisions: [(id: Int64, decision: ScalingDecision)]
    ) -> JSONValue {
        func whole(_ number: Int?) -> JSONValue { number.map { JSONValue($0) } ?? .null }
        func figure(_ number: Double?) -> JSONValue { number.map { rounded($0, digits: 2) } ?? .null }
        return [
            "app": .string(app.rawValue),
            "points": .array(
                points.map {
                    [
                        "timestamp": seconds($0.time), "rps": figure($0.rps),
                        "p95_latency_ms": figure($0.p95LatencyMilliseconds), "cpu_percent": figure($0.cpuPercent),
                        "memory_percent": figure($0.memoryPercent),
                        "active_connections": whole($0.activeConnections), "replicas": whole($0.replicas),
                    ]
                }),
            "decisions": .array(decisions.map { decision($0.decision, id: $0.id) }),
        ]
    }
}
