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
            An app of the bench's own is registered (never started); its policy is written and its status read in steady \
            streams through the nodes that don't lead; nothing is tried again. Each time the leader's process gets the \
            signal, and the time from there to the first answer with success to a write that was sent afterwards counts. \
            Then the restart command brings the node back, and once all are healthy the next leader's turn comes. With \
            STOP the leader is paused instead, and goes on two seconds after the next write. The baseline is how long \
            writes take just before. At the end the app is deleted; its events stay in the audit trail.

            Nodes on other machines, and any other fault: --fault-command does it to {node}, and --heal-command undoes it \
            two seconds after the next write. Time counts from when the fault command is done, and what it took is in the \
            result: keep it short. A node is cut off by not letting through its cluster port. Where the API asks for a \
            token, ORCHESTRY_TOKEN is sent.

            Examples, on the cluster of configs/dev/up and on one of three hosts:
              D=/tmp/orchestry-dev-0; orchestry-bench failover --yes --kills 10 \\
                --target http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103 \\
                --pids $D/controller-1/pid,$D/controller-2/pid,$D/controller-3/pid \\
                --restart-command 'configs/dev/up --no-load'
              orchestry-bench failover --yes --kills 10 --target http://a:8000,http://b:8000,http://c:8000 \\
                --fault-command 'ssh {node} "iptables -I INPUT -p tcp -m multiport --ports 7100 -j DROP"' \\
                --heal-command 'ssh {node} "iptables -D INPUT -p tcp -m multiport --ports 7100 -j DROP"'
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
    @Option(help: "Their process ids, or files that hold them, in the same order; not with --fault-command.")
    var pids: String?
    @Option(help: "KILL, TERM or STOP.") var signal = Signal.kill
    @Option(help: "How often to kill the leader.") var kills = 5
    @Option(
        help: "Starts {node} again; must return, and print the new process id last unless --pids are files.")
    var restartCommand: String?
    @Option(help: "Does the leader, {node}, harm instead of a signal; must return when it is done.")
    var faultCommand: String?
    @Option(help: "Undoes it.") var healCommand: String?
    @Option(help: "Milliseconds from one write's begin to the next one's, and from one read's.") var interval = 20
    @Option(help: "Seconds of writes before each kill: the baseline.") var before = 5
    @Option(
        help:
            "A file for one line a request: read or write, milliseconds since the first, until its answer, whether accepted."
    )
    var csv: String?
    @Option(help: "A file for a chart of the same.") var svg: String?
    @Option(help: "Seconds to wait for a write to be accepted, and for a node to return.") var limit = 60
    @Flag(help: "Yes, kill processes of this cluster.") var yes = false
    @OptionGroup var output: OutputOptions

    struct Kill {
        var victim: String
        var successor: String
        /// Before the fault command began; the same as `killedAt` for a signal.
        var begunAt: UInt64
        var killedAt: UInt64
        var acceptedAt: UInt64
        var milliseconds: Double { Double(acceptedAt - killedAt) / 1e6 }
        var commandMilliseconds: Double { Double(killedAt - begunAt) / 1e6 }
    }

    struct Streams {
        var writes: RequestStream
        var reads: RequestStream
        var all: [RequestStream] { [writes, reads] }
    }
    /// What is undone later, rather than started again.
    var isPassing: Bool { faultCommand != nil || signal == .stop }
    var faultName: String { faultCommand == nil ? "SIG\(signal.rawValue)" : "the fault command" }

    func validate() throws {
        try require(yes, "this kills the leader of the cluster: say --yes if that is what you want")
        try require(try pairs().count >= 3, "--target and --pids must name the same number of nodes, at least 3")
        try require((faultCommand == nil) == (healCommand == nil), "--fault-command and --heal-command go together")
        try require((faultCommand == nil) != (pids == nil), "either --pids or --fault-command")
        try require(
            kills == 1 || (kills > 1 && (restartCommand != nil || isPassing)),
            "--kills above 1 needs --restart-command, but for STOP and with --fault-command")
        try require((1...1_000).contains(interval), "--interval must be 1 to 1000")
        try require(before > 0 && limit > 0, "--before and --limit must be at least 1")
    }

    func pairs() throws -> [(Server, KilledCluster.ProcessReference)] {
        let servers = try target.split(separator: ",").map { text in
            guard let server = Server(String(text)) else {
                throw ValidationError("not a URL http://HOST:PORT: \(text)")
            }
            return server
        }
        guard let pids else { return servers.map { ($0, .elsewhere) } }
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
            let streams = streams(app, cluster)
            async let writing: Void = streams.writes.run(every: .milliseconds(interval))
            async let reading: Void = streams.reads.run(every: .milliseconds(interval))
            var done: [Kill] = []
            for number in 1...kills {
                done.append(try await killLeader(number, of: &cluster, under: streams))
            }
            // The survivors go on, so that a write lost late is not missed.
            try await Task.sleep(for: .seconds(1))
            for stream in streams.all { stream.stop() }
            await writing
            await reading
            try await delete(app, from: cluster)
            try report(done, streams)
        } catch {
            do {
                try await delete(app, from: cluster)
            } catch {
                progress("the app \(app) is left: \(error)")
            }
            throw error
        }
    }

    private func streams(_ app: String, _ cluster: KilledCluster) -> Streams {
        let servers = cluster.nodes.map(\.server)
        let writes = RequestStream(to: servers) { number in
            // Each write changes something: the one before set the other value.
            HTTPRequest(
                .post, "/apps/\(app)/policy", body: ["policy": ["maxReplicas": .int(Int64(2 + number % 2))]],
                idempotencyKey: "\(app)-\(number)")
        }
        return Streams(
            writes: writes, reads: RequestStream(to: servers) { _ in HTTPRequest(.get, "/apps/\(app)/status") })
    }

    private func killLeader(
        _ number: Int, of cluster: inout KilledCluster, under streams: Streams
    ) async throws -> Kill {
        let leader = try await cluster.settled(within: .seconds(limit))
        let survivors = cluster.nodes.indices.filter { $0 != leader }.map { cluster.nodes[$0].server }
        for stream in streams.all { stream.use(survivors) }
        // A second more: writes on their way through the leader don't count.
        try await Task.sleep(for: .seconds(before + 1))
        guard try await cluster.settled(within: .seconds(limit)) == leader else {
            throw BenchFailure("the leader changed by itself: the cluster or the machine is not fit for measuring")
        }
        let begunAt = uptimeNanoseconds()
        let killedAt: UInt64
        let accepted: UInt64
        if isPassing {
            (killedAt, accepted) = try await harmAndHeal(leader, of: cluster, streams.writes)
        } else {
            killedAt = try cluster.signal(signal.number, node: leader)
            accepted = try await firstAccepted(after: killedAt, streams.writes)
            try await cluster.gone(node: leader, within: .seconds(limit))
            if let restartCommand { try await cluster.restart(node: leader, restartCommand) }
        }
        var successor = "unknown"
        if isPassing || restartCommand != nil {
            successor = cluster.nodes[try await cluster.settled(within: .seconds(limit))].id
        }
        let kill = Kill(
            victim: cluster.nodes[leader].id, successor: successor, begunAt: faultCommand == nil ? killedAt : begunAt,
            killedAt: killedAt, acceptedAt: accepted)
        progress(
            "\(number) of \(kills): \(kill.victim) got \(faultName), \(Report.format(kill.milliseconds)) ms to the next write"
        )
        return kill
    }

    /// Undoes what it does, whatever happens.
    /// - Returns: when the fault was there, and the next accepted write.
    private func harmAndHeal(
        _ leader: Int, of cluster: KilledCluster, _ writes: RequestStream
    ) async throws -> (UInt64, UInt64) {
        do {
            let harmedAt: UInt64
            if let faultCommand {
                try await cluster.command(faultCommand, node: leader)
                harmedAt = uptimeNanoseconds()
            } else {
                harmedAt = try cluster.signal(signal.number, node: leader)
            }
            let accepted = try await firstAccepted(after: harmedAt, writes)
            try await Task.sleep(for: .seconds(2))
            try await heal(leader, of: cluster)
            return (harmedAt, accepted)
        } catch {
            try await heal(leader, of: cluster)
            throw error
        }
    }

    private func heal(_ leader: Int, of cluster: KilledCluster) async throws {
        if let healCommand {
            try await cluster.command(healCommand, node: leader)
        } else {
            _ = try cluster.signal(SIGCONT, node: leader)
        }
    }

    private func firstAccepted(after moment: UInt64, _ writes: RequestStream) async throws -> UInt64 {
        let deadline = ContinuousClock.now + .seconds(limit)
        while ContinuousClock.now < deadline {
            let accepted = writes.requests.lazy.filter { $0.sentAt >= moment && $0.failure == nil }
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
}
