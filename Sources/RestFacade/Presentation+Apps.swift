import OrchestryModel

extension Presentation {
    /// `GET /apps`.
    package static func appList(_ entries: [JSONValue]) -> JSONValue { ["apps": .array(entries)] }

    /// One app of `GET /apps`.
    package static func appListEntry(_ app: Application, readyReplicas: Int) -> JSONValue {
        var members = record(app)
        members["ready_replicas"] = JSONValue(readyReplicas)
        members["idle"] = .bool(app.isIdle)
        return .object(members)
    }

    /// `GET /apps/{name}/raw`.
    package static func appDocument(_ app: Application) -> JSONValue {
        ["name": .string(app.name.rawValue), "raw": app.document, "parsed": .object(record(app))]
    }

    /// `GET /apps/{name}/status`.
    /// - Parameters:
    ///   - instances: all of the app that are known; those that have stopped are left out of the answer.
    ///   - usage: percent of the instance's limits, 0…100; an instance that is missing shows 0 and `measured: false`.
    ///   - explanation: one sentence on why the app is not as wanted; nil: it is.
    ///   - rollout: of the present revision; nil: it never needed one.
    ///   - waiting: requests that wait in the proxies for its first instance; nil: not known.
    ///   - isStale: this is what was stored last, as nobody leads: how things are now is not known.
    package static func appStatus(
        _ app: Application, instances: [InstanceStatus], usage: [InstanceID: (cpu: Double?, memory: Double?)] = [:],
        explanation: String? = nil, rollout: RolloutFigures? = nil, waiting: UInt64? = nil, isStale: Bool = false
    ) -> JSONValue {
        let shown = instances.filter { $0.state != .stopped }.sorted { $0.instance < $1.instance }
        return [
            "app": .string(app.name.rawValue), "status": .string(app.status.rawValue),
            "replicas": JSONValue(shown.filter { $0.state != .draining }.count),
            "ready_replicas": JSONValue(shown.filter { $0.state == .ready }.count),
            "instances": .array(shown.map { instance($0, usage: usage[$0.instance]) }),
            "mode": .string(app.spec.scaling.mode.rawValue),
            "desired_replicas": JSONValue(app.replicas), "revision": JSONValue(app.revision),
            "idle": .bool(app.isIdle), "waiting_requests": waiting.map { .int(Int64(clamping: $0)) } ?? .null,
            "stale": .bool(isStale), "explanation": JSONValue(explanation),
            "rollout": rollout.map { .object(figures($0)) } ?? .null,
        ]
    }

    private static func instance(_ status: InstanceStatus, usage: (cpu: Double?, memory: Double?)?) -> JSONValue {
        [
            "container_id": status.containerID.map { .string(shortID($0)) } ?? .null,
            "ip": JSONValue(status.endpoint?.host), "port": status.endpoint.map { JSONValue($0.port) } ?? .null,
            "state": .string(status.state.label), "cpu_percent": JSONValue(usage?.cpu ?? 0),
            "memory_percent": JSONValue(usage?.memory ?? 0), "failures": JSONValue(status.failures),
            "measured": .bool(usage?.cpu != nil || usage?.memory != nil),
            "instance": .string(status.instance.rawValue), "node": .string(status.node.rawValue),
            "revision": JSONValue(status.revision), "restarts": JSONValue(status.restarts),
            "message": .string(status.message), "since": seconds(status.since),
            "exit_code": status.exitCode.map { JSONValue($0) } ?? .null,
            "out_of_memory": .bool(status.outOfMemory),
        ]
    }

    /// What the original keeps of an app.
    private static func record(_ app: Application) -> [String: JSONValue] {
        [
            "name": .string(app.name.rawValue), "spec": app.document, "status": .string(app.status.rawValue),
            "created_at": seconds(app.createdAt), "updated_at": seconds(app.updatedAt),
            "replicas": JSONValue(app.replicas), "last_scaled_at": seconds(app.lastScaledAt),
            "mode": .string(app.spec.scaling.mode.rawValue), "revision": JSONValue(app.revision),
        ]
    }

    // MARK: Answers to writes

    package static func registered(_ app: AppName, revision: Int) -> JSONValue {
        [
            "status": "registered", "app": .string(app.rawValue), "message": "Application registered successfully",
            "revision": JSONValue(revision),
        ]
    }

    /// - Parameters:
    ///   - replicas: wanted from now on.
    ///   - adopted: of these, instances that ran already.
    ///   - started: of these, instances to be started.
    package static func started(_ app: AppName, replicas: Int, adopted: Int, started: Int) -> JSONValue {
        [
            "status": "started", "app": .string(app.rawValue), "replicas": JSONValue(replicas),
            "adopted": JSONValue(adopted), "started": JSONValue(started),
        ]
    }

    package static func stopped(_ app: AppName, containersStopped: Int) -> JSONValue {
        ["status": "stopped", "app": .string(app.rawValue), "containers_stopped": JSONValue(containersStopped)]
    }

    package static func deleted(_ app: AppName) -> JSONValue {
        [
            "status": "deleted", "app": .string(app.rawValue),
            "message": .string("Application \(app) deleted successfully"),
        ]
    }

    package static func scaled(_ app: AppName, replicas: Int) -> JSONValue {
        ["status": "scaled", "app": .string(app.rawValue), "replicas": JSONValue(replicas)]
    }

    /// A count fixed for a time.
    package static func scaled(_ app: AppName, replicas: Int, until second: Int64) -> JSONValue {
        [
            "status": "scaled", "app": .string(app.rawValue), "replicas": JSONValue(replicas),
            "fixed_until": .int(second),
        ]
    }

    /// - Parameter control: as it is after the change.
    package static func autoscaleChanged(_ app: AppName, control: ScalingControl) -> JSONValue {
        func pause(_ pause: ScalingControl.Pause?) -> JSONValue {
            guard let pause else { return .null }
            return ["until": pause.untilSecond.map { .int($0) } ?? .null, "by": .string(pause.by)]
        }
        return [
            "status": "updated", "app": .string(app.rawValue), "paused_out": pause(control.pauseOut),
            "paused_in": pause(control.pauseIn),
        ]
    }

    /// The app had that many already.
    package static func scaleNoChange(_ app: AppName, replicas: Int) -> JSONValue {
        ["status": "no_change", "app": .string(app.rawValue), "replicas": JSONValue(replicas)]
    }

    /// - Parameter instances: those whose back-off ends now.
    package static func retried(_ app: AppName, instances: [InstanceID]) -> JSONValue {
        [
            "status": instances.isEmpty ? "no_change" : "retrying", "app": .string(app.rawValue),
            "instances": .array(instances.map { .string($0.rawValue) }),
        ]
    }

    /// - Parameter posted: the policy as the client sent it.
    package static func policyUpdated(_ app: AppName, posted: JSONValue) -> JSONValue {
        ["status": "updated", "app": .string(app.rawValue), "policy": posted]
    }

    /// - Parameter leader: who led and has let go.
    package static func steppedDown(_ leader: NodeID, epoch: Epoch) -> JSONValue {
        [
            "status": "stepped_down", "node_id": .string(leader.rawValue),
            "term": .int(Int64(clamping: epoch.rawValue)),
            "message": .string("Node \(leader) no longer leads; another is elected within a second."),
        ]
    }
}
