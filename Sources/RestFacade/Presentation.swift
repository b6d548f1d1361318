import OrchestryModel

/// The JSON bodies clients see, in the original's shapes: its keys with its types, ours beside them. Plain functions of
/// plain values, so that whoever answers (the leader, or a node for itself) shows the same.
package enum Presentation {
    /// `GET /health`.
    package static func health(now: WallTime, version: String) -> JSONValue {
        ["status": "healthy", "timestamp": seconds(now), "version": .string(version)]
    }

    /// `GET /events`, newest first as given.
    /// - Parameter events: with the ids PostgreSQL gave them, which clients tell them apart by.
    package static func events(_ events: [(id: Int64, event: Event)]) -> JSONValue {
        ["events": .array(events.map { event(id: $0.id, $0.event) })]
    }

    /// One event of `GET /events` and of `GET /events/stream`. Those that tell of trouble say of which category, and what is
    /// done about it.
    package static func event(id: Int64, _ event: Event) -> JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(String(id)), "app_name": JSONValue(event.app?.rawValue),
            "event_type": .string(event.kind), "message": .string(event.message),
            "timestamp": seconds(event.time), "details": event.details.withoutAudit,
            "node_id": .string(event.node.rawValue), "sequence": .int(event.sequence),
        ]
        if let category = EventKind(rawValue: event.kind)?.category {
            members["category"] = .string(category.rawValue)
            members["recovery"] = .string(category.recovery)
        }
        return .object(members)
    }

    /// One line of a container's output.
    package struct LogLine: Hashable, Sendable {
        /// Seconds since 1970.
        package var timestampSeconds: Double
        /// 64 hexadecimal digits.
        package var containerID: String
        package var instance: InstanceID
        package var node: NodeID
        package var message: String
        package init(
            timestampSeconds: Double, containerID: String, instance: InstanceID, node: NodeID, message: String
        ) {
            self.timestampSeconds = timestampSeconds
            self.containerID = containerID
            self.instance = instance
            self.node = node
            self.message = message
        }
    }

    /// `GET /apps/{name}/logs`.
    /// - Parameters:
    ///   - totalContainers: containers asked, with or without output.
    ///   - lines: in the order to be shown, oldest first.
    package static func logs(app: AppName, totalContainers: Int, lines: [LogLine]) -> JSONValue {
        [
            "app": .string(app.rawValue), "total_containers": JSONValue(totalContainers),
            "logs": .array(lines.map(logLine)),
        ]
    }

    /// One line of `GET /apps/{name}/logs`.
    package static func logLine(_ line: LogLine) -> JSONValue {
        [
            "timestamp": JSONValue(line.timestampSeconds), "container": .string(shortID(line.containerID)),
            "container_full": .string(line.containerID), "message": .string(line.message),
            "instance": .string(line.instance.rawValue), "node": .string(line.node.rawValue),
        ]
    }

    /// `GET /apps/{name}/why`.
    /// - Parameters:
    ///   - summary: sentences, the newest evaluation first.
    ///   - evaluations: the figures behind them, newest first.
    package static func why(app: AppName, summary: [String], evaluations: [JSONValue]) -> JSONValue {
        [
            "app": .string(app.rawValue), "summary": .array(summary.map { .string($0) }),
            "evaluations": .array(evaluations),
        ]
    }

    // MARK: Pieces

    static func seconds(_ time: WallTime) -> JSONValue { .double(time.seconds) }
    static func seconds(_ time: WallTime?) -> JSONValue { time.map { .double($0.seconds) } ?? .null }

    /// The first 12 digits, as `docker ps` shows them.
    static func shortID(_ containerID: String) -> String { String(containerID.prefix(12)) }

    static func rounded(_ number: Double, digits: Int) -> JSONValue {
        let scale = digits == 2 ? 100.0 : 1_000.0
        let scaled = number * scale
        // Beyond 2⁵³ there is no fraction to round.
        return JSONValue(scaled.magnitude < 0x1p53 ? scaled.rounded() / scale : number)
    }
}

extension JSONValue {
    /// An event's details without what they hold for the audit trail, which is for those who may read that.
    fileprivate var withoutAudit: JSONValue {
        guard case .object(var members) = self, members["audit"] != nil else { return self }
        members["audit"] = nil
        return .object(members)
    }
}
