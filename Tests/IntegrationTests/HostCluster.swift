import AsyncHTTPClient
import Certificates
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import Synchronization
import TestSupport

/// Real nodes on "hosts": each in a network namespace with a Docker daemon and an nginx of its own, reached by other hosts
/// through published ports, as in production. PostgreSQL has a namespace too.
final class HostCluster: Sendable {
    struct Host: Sendable {
        var node: NodeID
        /// In the lab.
        var name: String
        var address: String
        var isWorker: Bool
        var folder: String
        /// nil: it runs no containers.
        var engine: PrivateEngine?
        var url: String { "http://\(address):8000" }
    }

    let lab: NetworkLab
    let hosts: [Host]
    let postgres: PrivatePostgres
    let http: HTTPClient
    let name = "hosts-" + String(UInt32.random(in: 0...UInt32.max), radix: 36)
    private let folder: TemporaryFolder
    private let running = Mutex<[ChildProcess]>([])

    /// - Parameters:
    ///   - workers: beside three controllers.
    ///   - controllersRunContainers: else only workers have an engine.
    ///   - deadAfter: `node.dead_after`.
    init(workers: Int, controllersRunContainers: Bool, deadAfter: String) async throws {
        let folder = try TemporaryFolder("hosts")
        self.folder = folder
        http = HTTPClient(eventLoopGroupProvider: .singleton)
        let nodes = (1...3).map { "controller-\($0)" } + (0..<workers).map { "worker-\($0 + 1)" }
        let names = nodes.map { $0.prefix(1) + $0.suffix(1) }
        let made = try await onOwnThread { () -> (NetworkLab, PrivatePostgres, String, [String: PrivateEngine]) in
            let lab = try NetworkLab(members: names.map(String.init) + ["db"])
            var engines: [String: PrivateEngine] = [:]
            for (index, node) in nodes.enumerated() where controllersRunContainers || node.hasPrefix("worker") {
                engines[node] = try PrivateEngine(in: lab, String(names[index]), number: index + 1)
            }
            // Meanwhile they come up.
            let postgres = try PrivatePostgres(in: .init(lab, "db"))
            let database = try postgres.makeDatabase()
            for engine in engines.values { try engine.waitUntilReady(loading: [Cluster.image]) }
            return (lab, postgres, database, engines)
        }
        (lab, postgres) = (made.0, made.1)
        hosts = zip(nodes, names).map { node, name in
            Host(
                node: NodeID(unchecked: node), name: String(name), address: made.0.address(of: String(name)),
                isWorker: node.hasPrefix("worker"), folder: folder.appending(node), engine: made.3[node])
        }
        let certificates = CertificateFolder(path: folder.appending("certs"))
        try certificates.initialize()
        for host in hosts {
            try certificates.issue(node: host.node.rawValue, addresses: [host.address])
            try FileManager.default.createDirectory(atPath: host.folder, withIntermediateDirectories: true)
            try configuration(of: host, database: made.2, deadAfter: deadAfter).write(
                toFile: host.folder + "/config.yaml", atomically: true, encoding: .utf8)
            try start(host)
        }
    }

    private func configuration(of host: Host, database: String, deadAfter: String) -> String {
        let peers = hosts.filter { !$0.isWorker }.map { "\"\($0.node)=\($0.address):7100\"" }.joined(separator: ", ")
        let certificates = folder.appending("certs")
        return """
            node:
              id: \(host.node)
              role: \(host.isWorker ? "worker" : "controller")
              data_dir: \(host.folder)/data
              dead_after: \(deadAfter)
            cluster:
              id: \(name)
              host: \(host.address)
              port: 7100
              peers: [\(peers)]
              tls_ca: \(certificates)/ca.pem
              tls_certificate: \(certificates)/\(host.node).pem
              tls_key: \(certificates)/\(host.node).key
            api: {host: \(host.address), port: 8000, allow_unauthenticated: true}
            \(host.isWorker ? "" : "postgres: {url: \"\(database)\"}")
            proxy: {host: \(host.address), port: 8080}
            engine: {socket: \(host.engine?.socket ?? folder.appending("none")), endpoints: published}
            log: {level: debug}
            """
    }

    private func start(_ host: Host) throws {
        let inherited = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"]
        let command = lab.command(
            in: host.name, Cluster.daemon, ["--config", host.folder + "/config.yaml"],
            environment: ProcessInfo.processInfo.environment.filter { inherited.contains($0.key) })
        let process = try ChildProcess(command.executable, command.arguments, output: host.folder + "/log")
        running.withLock { $0.append(process) }
    }

    func host(_ node: String) -> Host { hosts.first { $0.node.rawValue == node } ?? hosts[0] }

    // MARK: HTTP

    func send(
        _ method: HTTPMethod, _ url: String, body: JSONValue? = nil, headers: [(String, String)] = [],
        within limit: TimeAmount = .seconds(15)
    ) async throws -> Cluster.Answer {
        var request = HTTPClientRequest(url: url)
        request.method = method
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(try JSONEncoder().encode(body))
        }
        let response = try await http.execute(request, timeout: limit)
        let text = String(buffer: try await response.body.collect(upTo: 16 << 20))
        return Cluster.Answer(
            status: Int(response.status.code),
            // Not every body is JSON: apps answer what they like.
            json: (try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))) ?? .null, text: text,
            headers: response.headers)
    }

    func get(_ path: String, from host: Host) async throws -> JSONValue {
        try await send(.GET, host.url + path).json
    }

    func post(_ path: String, _ body: JSONValue, to host: Host) async throws {
        let answer = try await send(.POST, host.url + path, body: body)
        guard answer.status == 200 else { throw TestFailure("\(path): \(answer.status) \(answer.text)") }
    }

    func events(from host: Host) async throws -> [JSONValue] {
        try await get("/events?limit=500", from: host)["events"]?.arrayValue ?? []
    }

    /// By node: how many of the app's instances are ready; nil: one is not.
    func placement(of app: String, via host: Host) async throws -> [String: Int]? {
        let instances = try await get("/apps/\(app)/status", from: host)["instances"]?.arrayValue ?? []
        guard !instances.isEmpty, instances.allSatisfy({ $0["state"] == "ready" }) else { return nil }
        return Dictionary(instances.map { ($0["node"]?.stringValue ?? "", 1) }, uniquingKeysWith: +)
    }

    /// Containers of the cluster that run on a host, wherever it is cut off from: by their instance's name, their id.
    func containers(on host: Host) throws -> [String: String] {
        let words = try host.engine?.docker([
            "ps", "--filter", "label=orchestry.cluster=\(name)", "--format",
            "{{.Label \"orchestry.instance\"}} {{.ID}}",
        ])
        let pairs = (words ?? "").split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        return Dictionary(pairs.map { ($0[0], $0[1]) }, uniquingKeysWith: { first, _ in first })
    }

    /// GETs through a host's nginx, by several clients at once, each one after the other.
    func load(_ app: String, through host: Host, clients: Int, for duration: Duration, _ progress: Progress)
        async throws -> Outcome
    {
        try await withThrowingTaskGroup(of: Outcome.self) { group in
            for _ in 0..<clients {
                group.addTask {
                    try await keepSending(for: duration, progress) { _ in
                        try await self.send(
                            .GET, "http://\(host.address):8080/", headers: [("Host", app)], within: .seconds(30))
                    }
                }
            }
            return try await group.reduce(into: Outcome()) { sum, one in
                sum.done += one.done
                sum.failed += one.failed
                sum.longest = max(sum.longest, one.longest)
            }
        }
    }

    // MARK: The end

    /// Before the object goes, which ends all the rest.
    func tearDown(showingLogs: Bool) async throws {
        let processes = running.withLock { $0 }
        for process in processes { process.signal(SIGTERM) }
        for process in processes { try await process.ended() }
        if showingLogs {
            for host in hosts {
                // Best effort.
                let log = (try? String(contentsOfFile: host.folder + "/log", encoding: .utf8)) ?? ""
                print("--- \(host.node)\n" + log.split(separator: "\n").suffix(60).joined(separator: "\n"))
            }
        }
        try await http.shutdown()
        try await onOwnThread { [postgres] in postgres.stop(immediately: true) }
    }
}

func withHosts(
    workers: Int, controllersRunContainers: Bool, deadAfter: String, _ body: (HostCluster) async throws -> Void
) async throws {
    let cluster = try await HostCluster(
        workers: workers, controllersRunContainers: controllersRunContainers, deadAfter: deadAfter)
    do {
        try await body(cluster)
    } catch {
        try await cluster.tearDown(showingLogs: true)
        throw error
    }
    try await cluster.tearDown(showingLogs: false)
}
