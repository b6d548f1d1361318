import OrchestryModel

extension Presentation {
    /// What an app did over its window.
    package struct ObservedMetrics: Hashable, Sendable {
        /// Requests per second, all instances together.
        package var rps: Double
        /// nil: no request in the window.
        package var p95LatencyMilliseconds: Double?
        /// Requests in flight, all instances together.
        package var activeConnections: Double
        /// Mean over instances, percent of the limit; nil: not measured.
        package var cpuPercent: Double?
        package var memoryPercent: Double?
        package var healthyReplicas: Int
        package var totalReplicas: Int
        package init(
            rps: Double, p95LatencyMilliseconds: Double?, activeConnections: Double, cpuPercent: Double?,
            memoryPercent: Double?, healthyReplicas: Int, totalReplicas: Int
        ) {
            self.rps = rps
            self.p95LatencyMilliseconds = p95LatencyMilliseconds
            self.activeConnections = activeConnections
            self.cpuPercent = cpuPercent
            self.memoryPercent = memoryPercent
            self.healthyReplicas = healthyReplicas
            self.totalReplicas = totalReplicas
        }

        /// As the original names them; what was not measured shows as 0, like there.
        package var json: JSONValue {
            [
                "rps": Presentation.rounded(rps, digits: 2),
                "p95_latency_ms": Presentation.rounded(p95LatencyMilliseconds ?? 0, digits: 2),
                "active_connections": .int(Int64(clamping: Int(exactly: activeConnections.rounded()) ?? 0)),
                "cpu_percent": Presentation.rounded(cpuPercent ?? 0, digits: 2),
                "memory_percent": Presentation.rounded(memoryPercent ?? 0, digits: 2),
                "healthy_replicas": JSONValue(healthyReplicas), "total_replicas": JSONValue(totalReplicas),
            ]
        }
    }

    /// `GET /apps/{name}/metrics`.
    /// - Parameters:
    ///   - observed: nil when there are no recent metrics; the answer then says so, as the original's does.
    ///   - factors: observed ÷ target by metric: `rps`, `latency`, `connections`, `cpu`, `memory`; only those
    ///     configured.
    ///   - scaleInStablePeriods: evaluations in a row that would have allowed shrinking.
    ///   - history: newest first.
    package static func appMetrics(
        app: AppName, observed: ObservedMetrics?, factors: [String: Double], scaleInStablePeriods: Int,
        policy: ScalingPolicy, history: [(id: Int64, decision: ScalingDecision)]
    ) -> JSONValue {
        let metrics: JSONValue
        if let observed {
            metrics = [
                "metrics": observed.json, "scale_factors": .object(factors.mapValues { rounded($0, digits: 3) }),
                "scale_in_stable_periods": JSONValue(scaleInStablePeriods), "policy": self.policy(policy),
            ]
        } else {
            metrics = ["error": "No recent metrics available", "policy": self.policy(policy)]
        }
        return [
            "app": .string(app.rawValue), "metrics": metrics,
            "scaling_history": .array(history.map { decision($0.decision, id: $0.id) }),
        ]
    }

    private static func policy(_ policy: ScalingPolicy) -> JSONValue {
        func optional(_ number: Double?) -> JSONValue { number.map { whole($0) } ?? .null }
        return [
            "min_replicas": JSONValue(policy.minReplicas), "max_replicas": JSONValue(policy.maxReplicas),
            "target_rps_per_replica": optional(policy.targetRPS),
            "max_p95_latency_ms": optional(policy.maxP95LatencyMilliseconds),
            "max_conn_per_replica": optional(policy.maxConnections),
            "max_cpu_percent": optional(policy.maxCPUPercent),
            "max_memory_percent": optional(policy.maxMemoryPercent),
            "scale_out_threshold_pct": whole(policy.scaleOutThresholdPercent),
            "scale_in_threshold_pct": whole(policy.scaleInThresholdPercent),
            "window_seconds": JSONValue(policy.windowSeconds), "cooldown_seconds": JSONValue(policy.cooldownSeconds),
            "stabilization_window_seconds": JSONValue(policy.stabilizationWindowSeconds),
            "mode": .string(policy.mode.rawValue),
        ]
    }

    /// `100` for 100.0: the original passes on what the document said, mostly whole numbers.
    private static func whole(_ number: Double) -> JSONValue {
        Int64(exactly: number).map { .int($0) } ?? JSONValue(number)
    }

    static func decision(_ decision: ScalingDecision, id: Int64) -> JSONValue {
        [
            "id": .int(id), "app_name": .string(decision.app.rawValue),
            "from_replicas": JSONValue(decision.fromReplicas), "to_replicas": JSONValue(decision.toReplicas),
            "trigger_reason": .string("\(decision.reason) (triggered by: \(decision.triggeredBy))"),
            "metrics_snapshot": decision.metrics, "timestamp": seconds(decision.time),
            "triggered_by": .string(decision.triggeredBy), "explanation": decision.explanation,
            "node_id": .string(decision.node.rawValue), "term": .int(Int64(clamping: decision.epoch.rawValue)),
        ]
    }

    /// What an evaluation came to, for `POST /apps/{name}/simulateMetrics`.
    package struct EvaluationOutcome: Hashable, Sendable {
        package var shouldScale: Bool
        package var targetReplicas: Int
        package var reason: String
        /// As in `appMetrics`.
        package var factors: [String: Double]
        package init(shouldScale: Bool, targetReplicas: Int, reason: String, factors: [String: Double]) {
            self.shouldScale = shouldScale
            self.targetReplicas = targetReplicas
            self.reason = reason
            self.factors = factors
        }
    }

    /// `POST /apps/{name}/simulateMetrics`.
    /// - Parameters:
    ///   - evaluation: nil when none was asked for.
    ///   - scaledFrom: the replicas before, where the evaluation was carried out; nil: nothing changed.
    package static func simulated(
        app: AppName, added: ObservedMetrics, evaluation: EvaluationOutcome?, scaledFrom: Int?
    ) -> JSONValue {
        var action = JSONValue.null
        if let evaluation, let scaledFrom {
            action = [
                "scaled": true, "from": JSONValue(scaledFrom), "to": JSONValue(evaluation.targetReplicas),
                "reason": .string(evaluation.reason),
            ]
        }
        return [
            "app": .string(app.rawValue), "metrics_added": added.json,
            "evaluation": evaluation.map {
                [
                    "should_scale": .bool($0.shouldScale), "target_replicas": JSONValue($0.targetReplicas),
                    "reason": .string($0.reason), "scale_factors": .object($0.factors.mapValues { JSONValue($0) }),
                ]
            } ?? .null,
            "action": action,
        ]
    }

    /// nginx' `stub_status`.
    package struct ProxyCounters: Hashable, Sendable {
        package var activeConnections, accepts, handled, requests, reading, writing, waiting: Int64
        package init(
            activeConnections: Int64, accepts: Int64, handled: Int64, requests: Int64, reading: Int64, writing: Int64,
            waiting: Int64
        ) {
            self.activeConnections = activeConnections
            self.accepts = accepts
            self.handled = handled
            self.requests = requests
            self.reading = reading
            self.writing = writing
            self.waiting = waiting
        }
    }

    /// `GET /metrics` as JSON.
    /// - Parameters:
    ///   - instances: all known; stopped ones are not counted.
    ///   - proxy: of the answering node; nil: its proxy does not answer.
    package static func systemMetrics(
        now: WallTime, cluster: ClusterView, totalApps: Int, runningApps: Int, instances: [InstanceStatus],
        proxy: ProxyCounters?
    ) -> JSONValue {
        let counted = instances.filter { $0.state != .stopped }
        let healthy = counted.filter { $0.state == .ready }.count
        let probed = counted.filter { $0.lastProbeAt != nil }
        let probedHealthy = probed.filter { $0.state == .ready }.count
        return [
            "timestamp": seconds(now), "cluster": clusterStatus(cluster),
            "apps": ["total": JSONValue(totalApps), "running": JSONValue(runningApps)],
            "instances": [
                "total": JSONValue(counted.count), "healthy": JSONValue(healthy),
                "unhealthy": JSONValue(counted.count - healthy),
            ],
            "nginx": nginx(proxy),
            "health_checks": [
                "total_targets": JSONValue(probed.count), "healthy_targets": JSONValue(probedHealthy),
                "unhealthy_targets": JSONValue(probed.count - probedHealthy),
                "targets": .object(
                    Dictionary(
                        probed.map { ($0.instance.rawValue, target($0)) }, uniquingKeysWith: { _, last in last })),
            ],
        ]
    }

    private static func nginx(_ counters: ProxyCounters?) -> JSONValue {
        guard let counters else { return ["error": "Failed to get nginx status", "details": ""] }
        return [
            "active_connections": .int(counters.activeConnections), "accepts": .int(counters.accepts),
            "handled": .int(counters.handled), "requests": .int(counters.requests), "reading": .int(counters.reading),
            "writing": .int(counters.writing), "waiting": .int(counters.waiting),
        ]
    }

    private static func target(_ status: InstanceStatus) -> JSONValue {
        [
            "app": .string(status.app.rawValue), "address": JSONValue(status.endpoint?.description),
            "healthy": .bool(status.state == .ready), "state": .string(status.state.label),
            "failures": JSONValue(status.failures), "last_check": seconds(status.lastProbeAt),
        ]
    }
}
