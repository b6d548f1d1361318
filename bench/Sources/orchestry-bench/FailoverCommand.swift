import ArgumentParser
import Foundation
import Measuring
import OrchestryModel

/// How long writes wait when the leader dies.
struct FailoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "failover",
        abstract: "KILLS the leader of a running cluster, and times the next accepted write.",
        discussion: """
            The cluster's nodes run on this machine. An app of the bench's own is registered (never started) and its \
            policy is written in a steady stream through the nodes that don't lead; no write is tried again. Each time \
            the leader's process gets the signal, and the time from there to the first answer with success to a write \
            that was sent afterwards counts. Then the restart command brings the node back, and once all are healthy \
            the next leader's turn comes. With STOP the leader is paused instead, and goes on two seconds after the next write. \
            The baseline is how long writes take just before. At the end the app is \
            deleted; its events stay in the audit trail.

            Example, on the cluster of configs/dev/up:
              D=/tmp/orchestry-dev-0; orchestry-bench failover --yes --kills 10 \\
                --target http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103 \\
                --pids $D/controller-1/pid,$D/controller-2/pid,$D/controller-3/pid \\
                --restart-command 'configs/dev/up --no-load'
            """)

    enum Signal: String, ExpressibleByArgument, CaseIterable {
        case kill = "KILL"
        case term = "TERM"
        /// Paused, and continued once another leads: it wakes up as a leader of the past.
        case stop = "STOP"
        var number: Int32 {
            switch self {
            case .kill: SIGKILL
            case .term: SIGTERM
            case .stop: SIGSTOP
            }
        }
    }

    @Option(help: "The REST URLs of all controllers, separated by commas.") var target: String
    @Option(help: "Their process ids, or files that hold them, in the same order.") var pids: String
    @Option(help: "KILL, TERM or STOP.") var signal = Signal.kill
    @Option(help: "How often to kill the leader.") var kills = 5
    @Option(
        help: "Starts {node} again; must return, and print the new process id last unless --pids are files.")
    var restartCommand: String?
    @Option(help: "Milliseconds from one write's begin to the next one's.") var interval = 20
    @Option(help: "Seconds of writes before each kill: the baseline.") var before = 5
    @Option(
        help:
            "A file for one line a write: milliseconds since the first one, until its answer, and whether it was accepted."
    )
    var csv: String?
    @Option(help: "Seconds to wait for a write to be accepted, and for a node to return.") var limit = 60
    @Flag(help: "Yes, kill processes of this cluster.") var yes = false
    @OptionGroup var output: OutputOptions

    private struct Kill {
        var victim: String
        var successor: String
        var killedAt: UInt64
        var acceptedAt: UInt64
        var milliseconds: Double { Double(acceptedAt - killedAt) / 1e6 }
    }

    func validate() throws {
        try require(yes, "this kills the leader of the cluster: say --yes if that is what you want")
        try require(try pairs().count >= 3, "--target and --pids must name the same number of nodes, at least 3")
        try require(
            kills == 1 || (kills > 1 && (restartCommand != nil || signal == .stop)),
            "--kills above 1 needs --restart-command, but for STOP")
        try require((1...1_000).contains(interval), "--interval must be 1 to 1000")
        try require(before > 0 && limit > 0, "--before and --limit must be at least 1")
    }

    private func pairs() throws -> [(Server, KilledCluster.ProcessReference)] {
        let servers = try target.split(separator: ",").map { text in
            guard let server = Server(String(text)) else {
                throw ValidationError("not a URL http://HOST:PORT: \(text)")
            }
            return server
        }
        let references = pids.split(separator: ",").map { text in
            pid_t(text).map { KilledCluster.ProcessReference.id($0) } ?? .file(String(text))
        }
        return servers.count == references.count ? Array(zip(servers, references)) : []
    }

    func run() async throws {
        var cluster = try await KilledCluster(try pairs())
        _ = try await cluster.settled(within: .seconds(limit))
        let app = "bench-failover-\(getpid())"
        progress("the bench's app is \(app)")
        try await register(app, at: cluster.nodes[0].server)
        do {
            let stream = WriteStream(app: app, servers: cluster.nodes.map(\.server))
            async let streaming: Void = stream.run(every: .milliseconds(interval))
            var done: [Kill] = []
            for number in 1...kills {
                done.append(try await killLeader(number, of: &cluster, under: stream))
            }
            // The survivors go on, so that a write lost late is not missed.
            try await Task.sleep(for: .seconds(1))
            stream.stop()
            await streaming
            try await delete(app, from: cluster)
            try report(done, stream)
        } catch {
            do {
                try await delete(app, from: cluster)
            } catch {
                progress("the app \(app) is left: \(error)")
            }
            throw error
        }
    }

    private func killLeader(
        _ number: Int, of cluster: inout KilledCluster, under stream: WriteStream
    ) async throws -> Kill {
        let leader = try await cluster.settled(within: .seconds(limit))
        stream.use(cluster.nodes.indices.filter { $0 != leader }.map { cluster.nodes[$0].server })
        // A second more: writes on their way through the leader don't count.
        try await Task.sleep(for: .seconds(before + 1))
        guard try await cluster.settled(within: .seconds(limit)) == leader else {
            throw BenchFailure("the leader changed by itself: the cluster or the machine is not fit for measuring")
        }
        let victim = cluster.nodes[leader].id
        let killedAt = try cluster.signal(signal.number, node: leader)
        let accepted: UInt64
        var successor = "unknown"
        if signal == .stop {
            accepted = try await pause(leader, of: cluster, since: killedAt, stream)
            successor = cluster.nodes[try await cluster.settled(within: .seconds(limit))].id
        } else {
            accepted = try await firstAccepted(after: killedAt, stream)
            try await cluster.gone(node: leader, within: .seconds(limit))
        }
        if signal != .stop, let restartCommand {
            try await cluster.restart(node: leader, restartCommand)
            successor = cluster.nodes[try await cluster.settled(within: .seconds(limit))].id
        }
        let kill = Kill(victim: victim, successor: successor, killedAt: killedAt, acceptedAt: accepted)
        progress(
            "\(number) of \(kills): \(victim) got SIG\(signal.rawValue), \(Report.format(kill.milliseconds)) ms to the next write"
        )
        return kill
    }

    /// Lets the stopped leader go on, whatever happens.
    private func pause(
        _ leader: Int, of cluster: KilledCluster, since stoppedAt: UInt64, _ stream: WriteStream
    ) async throws -> UInt64 {
        do {
            let accepted = try await firstAccepted(after: stoppedAt, stream)
            try await Task.sleep(for: .seconds(2))
            _ = try cluster.signal(SIGCONT, node: leader)
            return accepted
        } catch {
            _ = try cluster.signal(SIGCONT, node: leader)
            throw error
        }
    }

    private func firstAccepted(after moment: UInt64, _ stream: WriteStream) async throws -> UInt64 {
        let deadline = ContinuousClock.now + .seconds(limit)
        while ContinuousClock.now < deadline {
            let accepted = stream.writes.lazy.filter { $0.sentAt >= moment && $0.failure == nil }
            if let first = accepted.map(\.answeredAt).min() { return first }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw BenchFailure("no write was accepted within \(limit) s after the leader was killed")
    }

    // MARK: The bench's app

    private func register(_ app: String, at server: Server) async throws {
        let document: JSONValue = [
            "apiVersion": "v1", "kind": "App", "metadata": ["name": .string(app)],
            "spec": [
                "type": "http", "image": "orchestry-bench-never-started:1",
                "ports": [["containerPort": 8080, "protocol": "HTTP"]],
            ],
            "scaling": ["mode": "manual", "minReplicas": 1, "maxReplicas": 2],
            "healthCheck": ["path": "/", "port": 8080],
        ]
        let answer = try await HTTPRequest(.post, "/apps/register", body: document).send(to: server)
        guard (200..<300).contains(answer.status) else {
            throw BenchFailure("\(server) refused the bench's app: \(answer.body?.jsonText() ?? "\(answer.status)")")
        }
    }

    private func delete(_ app: String, from cluster: KilledCluster) async throws {
        var reason = "no node answers"
        for _ in 0..<20 {
            for node in cluster.nodes {
                do {
                    let answer = try await HTTPRequest(.delete, "/apps/\(app)").send(to: node.server)
                    if (200..<300).contains(answer.status) || answer.status == 404 { return }
                    reason = "\(node.server) says \(answer.status)"
                } catch {
                    reason = "\(node.server): \(error)"
                }
            }
            try await Task.sleep(for: .milliseconds(500))
        }
        throw BenchFailure("can't delete \(app): \(reason)")
    }

    // MARK: Result

    private func report(_ done: [Kill], _ stream: WriteStream) throws {
        let writes = stream.writes
        let span = UInt64(before) * 1_000_000_000
        let quiet = done.flatMap { kill in
            writes.filter { $0.sentAt >= kill.killedAt - span && $0.answeredAt <= kill.killedAt }
        }
        let affected = done.map { kill in
            writes.filter { $0.answeredAt > kill.killedAt && $0.sentAt < kill.acceptedAt }
        }

        var report = Report(
            "failover",
            setting:
                "SIG\(signal.rawValue) to the leader of \(try pairs().count) nodes, \(done.count) times, one write "
                + "each \(interval) ms through the others")
        var times = Report.Table("milliseconds")
        let outage = Summary(done.map(\.milliseconds))
        let usual = Summary(quiet.filter { $0.failure == nil }.map(\.milliseconds))
        times.add("write before the kill (baseline)", usual)
        times.add("kill to next accepted write", outage)
        times.add("writes under way meanwhile, until their answer", Summary(affected.joined().map(\.milliseconds)))
        var counts = Report.Table("writes", columns: ["sent", "failed"])
        for (name, group) in [
            ("before the kills", quiet),
            ("under way between a kill and the next accepted one", Array(affected.joined())),
            ("in all", writes),
        ] {
            counts.add(name, [Double(group.count), Double(group.count { $0.failure != nil })])
        }
        var each = Report.Table("each kill", columns: ["ms", "writes under way"])
        for (kill, group) in zip(done, affected) {
            each.add("\(kill.victim), then \(kill.successor)", [kill.milliseconds, Double(group.count)])
        }
        report.tables = [times, counts, each]
        report.compare("kill to next write, p50", outage?.p50, with: usual?.p50, called: "a write before the kill, p50")
        report.compare(
            "kill to next write, worst", outage?.max, with: usual?.p50, called: "a write before the kill, p50")
        report.notes = Set(writes.compactMap(\.failure)).sorted().prefix(5).map { "a write failed: \($0)" }
        if stream.leftOut > 0 { report.notes.append("\(stream.leftOut) writes were left out: too many unanswered") }
        if let csv { try stream.csv.write(toFile: csv, atomically: true, encoding: .utf8) }
        if restartCommand == nil, signal != .stop { report.notes.append("the killed node was not started again") }
        try output.finish(report)
    }
}
