import ArgumentParser
import OrchestryModel

struct Metrics: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Show the metrics of an app, or of the cluster.")
    @Argument(help: "The app; the whole cluster, when left out.") var name: String?
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            if let name {
                let answer = try await client.get(APIClient.appPath(name, "/metrics"), app: name)
                Output.show(answer, as: options.output, table: appTable)
            } else {
                Output.show(try await client.get("/metrics"), as: options.output, table: systemTable)
            }
        }
    }

    private func appTable(_ answer: JSONValue) -> String {
        let metrics = answer["metrics"]
        var text: String
        if let observed = metrics?["metrics"] {
            let factors = metrics?["scale_factors"]?.objectValue ?? [:]
            let policy = metrics?["policy"]
            func row(_ name: String, _ key: String, _ target: String, _ factor: String) -> [String] {
                let share = factors[factor]?.doubleValue.map { Output.decimal($0 * 100) + "%" } ?? "-"
                return [name, Output.cell(observed[key]), Output.cell(policy?[target]), share]
            }
            text = Output.table(
                ["METRIC", "NOW", "TARGET", "OF TARGET"],
                [
                    row("requests/s", "rps", "target_rps_per_replica", "rps"),
                    row("p95 latency, ms", "p95_latency_ms", "max_p95_latency_ms", "latency"),
                    row("in flight", "active_connections", "max_conn_per_replica", "connections"),
                    row("CPU, %", "cpu_percent", "max_cpu_percent", "cpu"),
                    row("memory, %", "memory_percent", "max_memory_percent", "memory"),
                ])
            text += "\nInstances: \(Output.cell(observed["healthy_replicas"])) ready of "
            text += "\(Output.cell(observed["total_replicas"])) (targets are per instance)"
        } else {
            text = Output.cell(metrics?["error"])
        }
        let history = answer["scaling_history"]?.arrayValue ?? []
        guard !history.isEmpty else { return text }
        return text + "\n\n"
            + Output.table(
                ["TIME", "FROM", "TO", "REASON"],
                history.map {
                    [
                        Output.time($0["timestamp"]), Output.cell($0["from_replicas"]), Output.cell($0["to_replicas"]),
                        Output.cell($0["trigger_reason"]),
                    ]
                })
    }

    private func systemTable(_ answer: JSONValue) -> String {
        let cluster = answer["cluster"]
        let instances = answer["instances"]
        return Output.facts([
            ("Leader", Output.cell(cluster?["leader_id"])), ("Nodes", Output.cell(cluster?["cluster_size"])),
            ("Apps", "\(Output.cell(answer["apps"]?["running"])) running of \(Output.cell(answer["apps"]?["total"]))"),
            ("Instances", "\(Output.cell(instances?["healthy"])) ready of \(Output.cell(instances?["total"]))"),
            (
                "Proxy",
                answer["nginx"]?["error"]?.stringValue
                    ?? "\(Output.cell(answer["nginx"]?["active_connections"])) connections, "
                    + "\(Output.cell(answer["nginx"]?["requests"])) requests so far"
            ),
        ])
    }
}

struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Show what an app's containers wrote; -f: and go on.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @Option(name: [.customShort("n"), .long], help: "Lines of each container.") var lines = 100
    @Flag(name: .shortAndLong, help: "Go on showing new lines, of new instances too, until interrupted.") var follow =
        false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            if follow { return try await follow(client) }
            let answer = try await client.get(
                APIClient.appPath(name, "/logs"), query: [("lines", String(lines))], app: name)
            Output.show(answer, as: options.output) { answer in
                let logs = answer["logs"]?.arrayValue ?? []
                guard !logs.isEmpty else {
                    return "No output from \(Output.count(answer["total_containers"], "container")) of \(name)."
                }
                return logs.map {
                    let source = "\(Output.time($0["timestamp"])) [\(Output.cell($0["container"]))]"
                    return "\(source) \($0["message"]?.stringValue ?? "")"
                }.joined(separator: "\n")
            }
        }
    }
}

extension Logs {
    private func follow(_ client: APIClient) async throws {
        var shown = ShownLines()
        try await client.follow(APIClient.appPath(name, "/logs"), app: name) {
            let isFirst = shown.isEmpty
            shown.beginAgain()
            return [("follow", "true"), ("lines", String(isFirst ? lines : 10_000))]
        } take: { event in
            guard event.type == "log" else { return }
            let line = try JSONValue(json: event.data.utf8)
            let instance = line["instance"]?.stringValue ?? ""
            guard shown.isNew(instance, line["timestamp"]?.doubleValue ?? 0) else { return }
            Output.showNext(line, as: options.output) {
                "\(Output.time($0["timestamp"])) [\(instance)] \($0["message"]?.stringValue ?? "")"
            }
        }
    }
}

/// Which lines were shown: after a lost connection the last ones come once more. By their times, and how many there were of
/// the last one; an instance's lines come in the same order each time.
struct ShownLines {
    private struct Mark {
        var time: Double
        var count: Int
    }
    private var marks: [String: Mark] = [:]
    /// When the connection began.
    private var old: [String: Mark] = [:]

    var isEmpty: Bool { marks.isEmpty }

    /// There is a new connection.
    mutating func beginAgain() { old = marks }

    /// The next line of an instance; `time` in seconds.
    mutating func isNew(_ instance: String, _ time: Double) -> Bool {
        if let last = old[instance] {
            if time < last.time { return false }
            if time == last.time, last.count > 0 {
                old[instance]?.count -= 1
                return false
            }
        }
        let count = marks[instance].map { $0.time == time ? $0.count : 0 } ?? 0
        marks[instance] = Mark(time: time, count: count + 1)
        return true
    }
}

struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Show what happened, newest first.")
    @Option(help: "Only this app's.") var app: String?
    @Option(help: "How many, 1 to 1000.") var limit = 50
    @Flag(help: "Go on showing new events, oldest first, until interrupted.") var watch = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            let query = [("limit", String(limit))] + (app.map { [("app", $0)] } ?? [])
            let answer = try await client.get("/events", query: query)
            guard watch else {
                Output.show(answer, as: options.output) { answer in
                    let events = answer["events"]?.arrayValue ?? []
                    return events.isEmpty ? "No events." : Output.table(Self.headings, events.map(Self.row))
                }
                return
            }
            try await follow(client, first: answer)
        }
    }

    private static let headings = ["TIME", "APP", "NODE", "EVENT", "MESSAGE"]

    private static func row(_ event: JSONValue) -> [String] {
        [
            Output.time(event["timestamp"]), Output.cell(event["app_name"]), Output.cell(event["node_id"]),
            Output.cell(event["event_type"]), Output.cell(event["message"]),
        ]
    }

    /// First what there is, then what comes: each event once, whatever happens to the connection and the servers.
    private func follow(_ client: APIClient, first: JSONValue) async throws {
        let known = first["events"]?.arrayValue ?? []
        // 0: all; so of an app that has had none yet no event is missed.
        var last = known.compactMap { $0["id"]?.stringValue.flatMap { Int64($0) } }.max() ?? 0
        let row = { (event: JSONValue) in Self.row(event).joined(separator: "  ") }
        for event in known.reversed() { Output.showNext(event, as: options.output, row: row) }
        let filter = app.map { [("app", $0)] } ?? []
        try await client.follow("/events/stream") {
            [("last_event_id", String(last))] + filter
        } take: { event in
            if event.type == "reset" {
                Output.complain("The server's database has another history than before; what comes now is new.")
            }
            if event.type == "event" {
                Output.showNext(try JSONValue(json: event.data.utf8), as: options.output, row: row)
            }
            // After it was shown.
            if let id = event.id.flatMap({ Int64($0) }) { last = id }
        }
    }
}

struct Why: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "why", abstract: "Say why the autoscaler does what it does with an app.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get(APIClient.appPath(name, "/why"), app: name)
        } table: { answer in
            let sentences = (answer["summary"]?.arrayValue ?? []).compactMap(\.stringValue)
            return sentences.isEmpty ? "\(name) has not been evaluated yet." : sentences.joined(separator: "\n")
        }
    }
}

struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show which server answers and how the cluster is.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            let health = try await client.get("/cluster/health")
            // A cluster without a leader cannot list its apps; the rest is worth showing all the same.
            let apps = try? await client.get("/apps")["apps"]?.arrayValue?.count
            let answer: JSONValue = [
                "servers": .array(client.servers.map { .string($0) }), "node": health["node_id"] ?? .null,
                "status": health["status"] ?? .null, "leader": health["leader_id"] ?? .null,
                "nodes": health["cluster_size"] ?? .null, "apps": apps.map { JSONValue($0) } ?? .null,
                "server_version": health["version"] ?? .null, "client_version": .string(Orchestry.version),
            ]
            Output.show(answer, as: options.output) { answer in
                Output.facts([
                    ("Servers", client.servers.joined(separator: ", ")), ("Answered by", Output.cell(answer["node"])),
                    ("Cluster", Output.cell(answer["status"])), ("Leader", Output.cell(answer["leader"])),
                    ("Nodes", Output.cell(answer["nodes"])), ("Apps", Output.cell(answer["apps"])),
                    ("Version", "\(Output.cell(answer["server_version"])) (this program \(Orchestry.version))"),
                ])
            }
        }
    }
}
