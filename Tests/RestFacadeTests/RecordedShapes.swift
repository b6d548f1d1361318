import OrchestryModel

/// Shapes of the original's answers, taken from recordings of it: each value stands for its JSON type.
enum RecordedShapes {
    static let registered: JSONValue = ["status": "registered", "app": "a", "message": "m"]
    static let started: JSONValue = ["status": "started", "app": "a", "replicas": 1, "adopted": 0, "started": 1]
    static let stopped: JSONValue = ["status": "stopped", "app": "a", "containers_stopped": 2]
    static let deleted: JSONValue = ["status": "deleted", "app": "a", "message": "m"]
    static let scaled: JSONValue = ["status": "scaled", "app": "a", "replicas": 3]
    static let policyUpdated: JSONValue = ["status": "updated", "app": "a", "policy": ["maxReplicas": 4]]

    private static let document: JSONValue = [
        "type": "http", "image": "i", "ports": [["protocol": "HTTP", "containerPort": 9010]],
        "health": ["path": "/h", "port": 9010, "periodSeconds": 10, "initialDelaySeconds": 5],
        "labels": ["app": "a", "version": "v1"],
        "scaling": [
            "mode": "auto", "maxReplicas": 5, "minReplicas": 1, "maxP95LatencyMs": 500, "scaleInThresholdPct": 60,
            "targetRPSPerReplica": 100, "scaleOutThresholdPct": 80,
        ],
        "resources": ["cpu": "100m", "memory": "128Mi"],
    ]
    private static let record: [String: JSONValue] = [
        "name": "a", "spec": document, "status": "running", "created_at": 1.5, "updated_at": 1.5, "replicas": 1,
        "last_scaled_at": .null, "mode": "auto",
    ]
    static let appList: JSONValue = [
        "apps": [.object(record.merging(["ready_replicas": 1]) { $1 })]
    ]
    static let appDocument: JSONValue = ["name": "a", "raw": document, "parsed": .object(record)]
    static let appStatus: JSONValue = [
        "app": "a", "status": "running", "replicas": 1, "ready_replicas": 1,
        "instances": [
            [
                "container_id": "3d704b7c929c", "ip": "172.18.0.3", "port": 9010, "state": "ready", "cpu_percent": 0.5,
                "memory_percent": 0.5, "failures": 0,
            ]
        ], "mode": "auto",
    ]
    static let logs: JSONValue = [
        "app": "a", "total_containers": 1,
        "logs": [["timestamp": 1.5, "container": "4e8553070854", "container_full": "4e85", "message": "m"]],
    ]

    private static let observed: JSONValue = [
        "rps": 0.5, "p95_latency_ms": 0, "active_connections": 1, "cpu_percent": 0.5, "memory_percent": 0.5,
        "healthy_replicas": 1, "total_replicas": 1,
    ]
    static let appMetrics: JSONValue = [
        "app": "a",
        "metrics": [
            "metrics": observed, "scale_factors": ["rps": 0.5, "connections": 0.5, "memory": 0.5],
            "scale_in_stable_periods": 0,
            "policy": [
                "min_replicas": 1, "max_replicas": 5, "target_rps_per_replica": 100, "max_p95_latency_ms": 500,
                "max_conn_per_replica": 80, "scale_out_threshold_pct": 80, "scale_in_threshold_pct": 60,
                "window_seconds": 20, "cooldown_seconds": 30,
            ],
        ],
        "scaling_history": [
            [
                "id": 6, "app_name": "a", "from_replicas": 1, "to_replicas": 4, "trigger_reason": "r",
                "metrics_snapshot": observed, "timestamp": 1.5,
            ]
        ],
    ]
    static let noMetrics: JSONValue = ["app": "a", "metrics": ["error": "e"], "scaling_history": []]
    static let simulated: JSONValue = [
        "app": "a", "metrics_added": observed,
        "evaluation": ["should_scale": true, "target_replicas": 4, "reason": "r", "scale_factors": ["rps": 0.5]],
        "action": ["scaled": true, "from": 1, "to": 4, "reason": "r"],
    ]
    static let simulatedOnly: JSONValue = ["app": "a", "metrics_added": observed, "evaluation": .null, "action": .null]

    static let clusterStatus: JSONValue = [
        "node_id": "n", "hostname": "h", "state": "leader", "term": 1, "is_leader": true, "leader_id": "n",
        "cluster_size": 3,
        "nodes": [
            [
                "node_id": "n", "hostname": "h", "port": 8102, "api_url": "u", "state": "leader",
                "last_heartbeat": 1.5, "lease_expires_at": .null, "term": 1, "votes_received": 0, "is_healthy": true,
            ]
        ],
        "lease": [
            "leader_id": "n", "term": 1, "acquired_at": 1.5, "expires_at": 1.5, "renewed_at": 1.5, "hostname": "h",
            "api_url": "u",
        ],
    ]
    static let clusterLeader: JSONValue = [
        "leader_id": "n", "hostname": "h", "api_url": "u", "external_api_url": "u", "term": 1,
        "lease_expires_at": 1.5,
    ]
    static let clusterHealth: JSONValue = [
        "status": "healthy", "clustering": "enabled", "node_id": "n", "state": "leader", "is_leader": true,
        "leader_id": "n", "cluster_size": 3, "cluster_ready": true, "timestamp": 1.5, "version": "1.0.0",
    ]
    static let health: JSONValue = ["status": "healthy", "timestamp": 1.5, "version": "1.0.0"]
    static let systemMetrics: JSONValue = [
        "timestamp": 1.5, "cluster": clusterStatus, "apps": ["total": 1, "running": 1],
        "instances": ["total": 1, "healthy": 1, "unhealthy": 0],
        "nginx": [
            "active_connections": 1, "accepts": 3, "handled": 3, "requests": 3, "reading": 0, "writing": 1,
            "waiting": 0,
        ],
        "health_checks": ["total_targets": 0, "healthy_targets": 0, "unhealthy_targets": 0, "targets": [:]],
    ]
    static let systemMetricsWithoutProxy = ["nginx": ["error": "e", "details": ""]] as JSONValue

    /// Where `answer` lacks a key of `shape` or has another type there. More keys are fine. A whole number may stand
    /// for a fraction, as in the recordings themselves (`"p95_latency_ms": 0` and `17.0`).
    static func differences(_ shape: JSONValue, _ answer: JSONValue, at path: String = "") -> [String] {
        switch (shape, answer) {
        case (.object(let wanted), .object(let given)):
            return wanted.sorted { $0.key < $1.key }.flatMap { key, value in
                given[key].map { differences(value, $0, at: "\(path).\(key)") } ?? ["\(path).\(key) is missing"]
            }
        case (.array(let wanted), .array(let given)):
            guard let pattern = wanted.first else { return [] }
            guard !given.isEmpty else { return ["\(path) is empty"] }
            return given.enumerated().flatMap { differences(pattern, $1, at: "\(path)[\($0)]") }
        case (.null, .null), (.bool, .bool), (.string, .string), (.int, .int), (.int, .double), (.double, .double),
            (.double, .int):
            return []
        default:
            return ["\(path): \(shape.jsonText()) is not like \(answer.jsonText())"]
        }
    }
}
