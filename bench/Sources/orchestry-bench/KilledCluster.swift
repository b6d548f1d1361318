import Foundation
import Measuring
import OrchestryModel

/// The nodes under test, as `failover` sees them: from outside, and with power over their processes.
struct KilledCluster {
    struct Node {
        var id: String
        var server: Server
        var process: ProcessReference
    }
    /// Where a node's process id is to be had.
    enum ProcessReference {
        case id(pid_t)
        /// A file that whoever starts the node writes.
        case file(String)
        /// Not on this machine: only commands have power over it.
        case elsewhere
    }

    private(set) var nodes: [Node] = []

    /// Asks every node who it is, and checks that every process of this machine is an `orchestryd`.
    init(_ pairs: [(Server, ProcessReference)]) async throws {
        for (server, process) in pairs {
            guard let status = try await HTTPRequest(.get, "/cluster/status").send(to: server).body,
                let id = status["node_id"]?.stringValue
            else { throw BenchFailure("\(server) is not a node of a cluster") }
            guard !nodes.contains(where: { $0.id == id }) else { throw BenchFailure("\(server) is \(id) again") }
            nodes.append(Node(id: id, server: server, process: process))
            if case .elsewhere = process { continue }
            _ = try pid(of: nodes.count - 1)
        }
    }

    /// Waits until all nodes answer, agree on a leader among them, and the leader finds all of them healthy.
    /// - Returns: the leader's position in `nodes`.
    func settled(within limit: Duration) async throws -> Int {
        let deadline = ContinuousClock.now + limit
        while true {
            do {
                return try await leaderOfAll()
            } catch {
                guard ContinuousClock.now < deadline else { throw error }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func leaderOfAll() async throws -> Int {
        var leader: Int?
        var believed: Set<String?> = []
        for (position, node) in nodes.enumerated() {
            guard let status = try await HTTPRequest(.get, "/cluster/status").send(to: node.server).body else {
                throw BenchFailure("\(node.server) does not answer with JSON")
            }
            believed.insert(status["leader_id"]?.stringValue)
            guard status["is_leader"]?.boolValue == true else { continue }
            leader = position
            let healthy = (status["nodes"]?.arrayValue ?? [])
                .filter { $0["is_healthy"]?.boolValue == true }.compactMap { $0["node_id"]?.stringValue }
            let missing = Set(nodes.map(\.id)).subtracting(healthy)
            guard missing.isEmpty else {
                throw BenchFailure("not healthy: \(missing.sorted().joined(separator: ", "))")
            }
        }
        guard let leader, believed == [nodes[leader].id] else {
            throw BenchFailure("the nodes don't agree on a leader among them")
        }
        return leader
    }

    /// - Throws: when there is no such process, or it is something else: it will not be killed then.
    private func pid(of position: Int) throws -> pid_t {
        let node = nodes[position]
        let pid: pid_t
        switch node.process {
        case .id(let id): pid = id
        case .file(let path):
            let text = try String(contentsOfFile: path, encoding: .utf8)
            guard let id = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
                throw BenchFailure("\(path) holds no process id")
            }
            pid = id
        case .elsewhere: throw BenchFailure("\(node.id) has no process here")
        }
        // No such file: no such process.
        let name = try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)
        guard pid > 1, name == "orchestryd\n" else {
            throw BenchFailure("process \(pid), said to be \(node.id), is not an orchestryd: \(name ?? "not running")")
        }
        return pid
    }

    /// - Returns: the moment just before the signal left, by `uptimeNanoseconds`.
    func signal(_ number: Int32, node position: Int) throws -> UInt64 {
        let pid = try pid(of: position)
        let sentAt = uptimeNanoseconds()
        guard kill(pid, number) == 0 else {
            throw BenchFailure("can't signal \(pid): \(String(cString: strerror(errno)))")
        }
        return sentAt
    }

    /// Waits until the node's port is closed: it was its process that was killed, and it is gone.
    func gone(node position: Int, within limit: Duration) async throws {
        let deadline = ContinuousClock.now + limit
        // An error is what is waited for.
        while (try? await HTTPRequest(.get, "/health").send(to: nodes[position].server)) != nil {
            guard ContinuousClock.now < deadline else {
                throw BenchFailure(
                    "\(nodes[position].server) still answers: are --target and --pids in the same order?")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Runs the operator's command, with the node's name in it.
    /// - Returns: what it wrote to standard output.
    @discardableResult
    func command(_ command: String, node position: Int) async throws -> String {
        try await run(["sh", "-c", command.replacing("{node}", with: nodes[position].id)])
    }

    /// Runs the operator's command. Unless process ids come from files, its last line is the new one.
    mutating func restart(node position: Int, _ command: String) async throws {
        let node = nodes[position]
        let output = try await self.command(command, node: position)
        guard case .id = node.process else { return }
        guard let pid = output.split(separator: "\n").last.flatMap({ pid_t($0.trimmingCharacters(in: .whitespaces)) })
        else {
            throw BenchFailure("--restart-command must print the new process id last, or --pids name files")
        }
        nodes[position].process = .id(pid)
    }
}
