import OrchestryModel

/// Judges what a cluster's nodes said. Pure: asking them is `Doctor`'s.
struct ClusterCheckup {
    /// What one node said of itself, asked at its own address.
    struct Answer: Hashable {
        /// `GET /cluster/health`; nil: it did not answer, and why.
        var health: JSONValue?
        var problem = ""
        /// By how much its clock is ahead of this machine's, seconds; at most half the time its answer took is in it.
        var clockOffset = 0.0
    }

    /// `GET /cluster/status`, of whichever node answered.
    var status: JSONValue
    /// By node.
    var answers: [String: Answer]
    /// `GET /nodes` and `GET /apps`; null: see `problems`.
    var nodes: JSONValue = .null
    var apps: JSONValue = .null
    /// Why `GET /events` failed, which needs PostgreSQL; nil: it did not.
    var storeProblem: String?
    /// What could not be asked, by its name, and why.
    var problems: [String: String] = [:]
    /// Seconds since 1970 by this machine's clock.
    var now: Double

    /// Seconds by which clocks may differ before certificates and events suffer.
    static let clockTolerance = 2.0
    /// Seconds without a heartbeat after which a node is behind.
    static let silence = 2.0

    func findings() -> [Finding] {
        let parts = [reachable(), leader(), lag(), engines(), store(), versions(), clocks(), wanting(), unasked()]
        return parts.flatMap { $0 }
    }

    private var members: [JSONValue] { status["nodes"]?.arrayValue ?? [] }

    /// Now, by the clock of the node that gave `status`.
    private var nodeTime: Double { now + (answers[status["node_id"]?.stringValue ?? ""]?.clockOffset ?? 0) }

    private func name(_ node: JSONValue) -> String { node["node_id"]?.stringValue ?? "?" }

    private func reachable() -> [Finding] {
        members.map { node in
            let name = name(node)
            let address = node["api_url"]?.stringValue ?? "?"
            if answers[name]?.health != nil { return Finding("cluster", "node \(name)", .ok, "answers at \(address)") }
            let reason = answers[name]?.problem ?? "not asked"
            guard node["is_healthy"] == false else {
                return Finding(
                    "cluster", "node \(name)", .warning,
                    "the cluster hears it, but \(address) does not answer from here (\(reason))",
                    "If clients are to reach it from here, set api.host to an address of that host.")
            }
            return Finding(
                "cluster", "node \(name)", .error, "silent, and \(address) does not answer (\(reason))",
                "On that host: systemctl status orchestryd, and its log. Is the cluster port open between the nodes?")
        }
    }

    private func leader() -> [Finding] {
        let seen = answers.compactMapValues { $0.health?["leader_id"]?.stringValue }
        let leaders = Set(seen.values)
        if leaders.count > 1 {
            let views = seen.sorted { $0.key < $1.key }.map { "\($0.key) follows \($0.value)" }
            return [
                Finding(
                    "cluster", "leader", .error, "nodes disagree: \(views.joined(separator: ", "))",
                    "Look again in a second: a change takes less. If it stays: are nodes cut off from each other?")
            ]
        }
        guard let leader = leaders.first ?? status["leader_id"]?.stringValue else {
            return [
                Finding(
                    "cluster", "leader", .error, "nobody leads",
                    "A majority of the controllers and PostgreSQL must be reachable: see the nodes above and their logs."
                )
            ]
        }
        return [Finding("cluster", "leader", .ok, "\(leader) leads, epoch \(Output.cell(status["term"]))")]
    }

    private func lag() -> [Finding] {
        let behind = members.compactMap { node -> String? in
            guard name(node) != status["node_id"]?.stringValue, node["is_healthy"] != false,
                let heard = node["last_heartbeat"]?.doubleValue
            else { return nil }
            let age = nodeTime - heard
            return age > Self.silence ? "\(name(node)) for \(Output.decimal(age)) s" : nil
        }
        guard !behind.isEmpty else { return [Finding("cluster", "heartbeats", .ok, "all are fresh")] }
        return [
            Finding(
                "cluster", "heartbeats", .warning, "not heard: \(behind.joined(separator: ", "))",
                "Is that host overloaded, or the network between the nodes lossy?")
        ]
    }

    private func engines() -> [Finding] {
        (nodes["nodes"]?.arrayValue ?? []).compactMap { node in
            switch node["state"]?.stringValue {
            case "no-engine":
                return Finding(
                    "cluster", "engine of \(name(node))", .error, "its container engine does not answer",
                    "On that host: systemctl status docker; orchestry doctor --host shows more there.")
            case "lost":
                return Finding(
                    "cluster", "instances of \(name(node))", .error,
                    "it is given up; its instances were placed elsewhere",
                    "Start it again, or take it out of cluster.peers.")
            default: break
            }
            let (used, all) = (
                node["reserved"]?["memory_bytes"]?.doubleValue ?? 0, node["capacity"]?["memory_bytes"]?.doubleValue ?? 0
            )
            guard all > 0, used / all > 0.9 else { return nil }
            return Finding(
                "cluster", "capacity of \(name(node))", .warning,
                "\(Int(used / all * 100))% of its memory is reserved",
                "Add a node, or lower resources.memory where `orchestry top` shows that less is used.")
        }
    }

    private func store() -> [Finding] {
        if let storeProblem {
            return [
                Finding(
                    "cluster", "PostgreSQL", .error, storeProblem,
                    "Apps go on running; writes wait for it. Check postgres.host and its log.")
            ]
        }
        if let expires = status["lease"]?["expires_at"]?.doubleValue, expires < nodeTime - 1 {
            return [
                Finding(
                    "cluster", "PostgreSQL", .warning,
                    "answers, but the lease ran out at \(Output.time(.double(expires)))",
                    "Can the leader reach it? orchestry cluster status; the leader's log says why it does not renew.")
            ]
        }
        return [Finding("cluster", "PostgreSQL", .ok, "answers")]
    }

    private func versions() -> [Finding] {
        var nodes: [String: [String]] = [:]
        for (node, answer) in answers {
            if let version = answer.health?["version"]?.stringValue { nodes[version, default: []].append(node) }
        }
        guard nodes.count > 1 else {
            return nodes.keys.first.map { [Finding("cluster", "versions", .ok, "all have \($0)")] } ?? []
        }
        let words = nodes.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.sorted().joined(separator: ", "))" }
        return [
            Finding(
                "cluster", "versions", .warning, "they differ: \(words.joined(separator: "; "))",
                "Fine during an upgrade; then bring the others to the same release, one node at a time.")
        ]
    }

    private func clocks() -> [Finding] {
        let off = answers.filter { abs($0.value.clockOffset) > Self.clockTolerance && $0.value.health != nil }
        guard !off.isEmpty else { return [Finding("cluster", "clocks", .ok, "agree with this machine's")] }
        let words = off.sorted { $0.key < $1.key }.map { "\($0.key) by \(Output.decimal($0.value.clockOffset)) s" }
        return [
            Finding(
                "cluster", "clocks", .warning, "differ from this machine's: \(words.joined(separator: ", "))",
                "Run a time service (chrony, systemd-timesyncd) on every host: events and certificates go by the clock."
            )
        ]
    }

    private func wanting() -> [Finding] {
        guard let all = apps["apps"]?.arrayValue else { return [] }
        let short = all.filter { app in
            app["status"] == "running"
                && (app["ready_replicas"]?.intValue ?? 0) < (app["replicas"]?.intValue ?? 0)
        }
        guard !short.isEmpty else { return [Finding("cluster", "apps", .ok, "all that run are as wanted")] }
        return short.map { app in
            let name = Output.cell(app["name"])
            return Finding(
                "cluster", "app \(name)", .warning,
                "\(Output.cell(app["ready_replicas"])) of \(Output.cell(app["replicas"])) ready",
                "orchestry status \(name) says why.")
        }
    }

    /// Nothing is well only because nobody could be asked.
    private func unasked() -> [Finding] {
        problems.sorted { $0.key < $1.key }.map { name, reason in
            Finding(
                "cluster", name, .warning, "could not be asked: \(reason)",
                "A token of a wider role may see it; without a leader it waits for one.")
        }
    }
}
