import AsyncHTTPClient
import Certificates
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import Synchronization
import TestSupport

/// Three real nodes with mutual TLS and a real PostgreSQL, each in a network namespace of its own; the engine is a fake
/// one and there is no nginx. Everything ends with the test's process at the latest.
final class ChaosCluster: Sendable {
    /// What is different from the ordinary.
    struct Options: Sendable {
        /// Connections between nodes, and from nodes to PostgreSQL, go through relays of the test.
        var hasRelays = false
        /// A second PostgreSQL, streaming from the first; commits wait for it.
        var hasStandby = false
        /// Environment by node, on top of what all get.
        var environment: [String: [String: String]] = [:]
        /// Every node's `leadership` section.
        var leadership = "{}"
        /// Connections of every node to PostgreSQL, beside the lease's.
        var postgresPool = 4
    }

    struct Member: Sendable, Hashable {
        var name: String
        var address: String
        var folder: String
        var url: String { "http://\(address):8000" }
        var log: String { folder + "/log" }
    }

    struct Links: Sendable {
        /// By node: its way to PostgreSQL.
        var postgres: [String: TCPRelay] = [:]
        /// By the node that dials and the one it dials.
        var peers: [String: [String: TCPRelay]] = [:]
        var all: [TCPRelay] { Array(postgres.values) + peers.values.flatMap(\.values) }
    }

    private struct State {
        var running: [String: ChildProcess] = [:]
        /// By node: when it was killed, by the machine's clock.
        var ends: [String: [Int64]] = [:]
    }

    static let names = ["controller-1", "controller-2", "controller-3"]

    let options: Options
    let lab: NetworkLab
    let postgres: PrivatePostgres
    let standby: PrivatePostgres?
    let members: [Member]
    let links: Links
    let http: HTTPClient
    let cluster: String
    private let currentDatabase: Mutex<String>
    private let folder: TemporaryFolder
    private let folderWatchdog: Watchdog
    private let engines: [FakeEngine]
    private let state = Mutex(State())

    init(_ options: Options = Options()) async throws {
        self.options = options
        cluster = "chaos-" + String(UInt32.random(in: 0...UInt32.max), radix: 36)
        let folder = try TemporaryFolder("chaos")
        self.folder = folder
        folderWatchdog = try Watchdog("rm -rf \"$1\"", [folder.path])
        let settings = ["track_commit_timestamp=on"]
        let made = try await onOwnThread { () -> (NetworkLab, PrivatePostgres, PrivatePostgres?, String) in
            let lab = try NetworkLab(members: Self.names.map(Self.place) + ["db", "standby"])
            let postgres = try PrivatePostgres(in: .init(lab, "db"), settings: settings)
            let database = try postgres.makeDatabase()
            guard options.hasStandby else { return (lab, postgres, nil, database) }
            let standby = try PrivatePostgres(in: .init(lab, "standby"), settings: settings, standbyOf: postgres)
            try postgres.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
            try postgres.query("SELECT pg_reload_conf()")
            return (lab, postgres, standby, database)
        }
        (lab, postgres, standby) = (made.0, made.1, made.2)
        currentDatabase = Mutex(made.3)
        let lab = made.0
        members = Self.names.map {
            Member(name: $0, address: lab.address(of: Self.place($0)), folder: folder.appending($0))
        }
        var configuration = HTTPClient.Configuration()
        configuration.timeout = .init(connect: .milliseconds(500))
        configuration.connectionPool.retryConnectionEstablishment = false
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        links = options.hasRelays ? try await Self.makeLinks(lab: lab, members: members) : Links()
        var engines: [FakeEngine] = []
        for name in Self.names {
            engines.append(
                try await FakeEngine(
                    socketPath: folder.appending("\(name).sock"), network: "orchestry-\(cluster)"))
        }
        self.engines = engines
        let certificates = CertificateFolder(path: folder.appending("certs"))
        try certificates.initialize()
        for member in members {
            try certificates.issue(node: member.name, addresses: [member.address])
            try FileManager.default.createDirectory(atPath: member.folder, withIntermediateDirectories: true)
            try configurationText(of: member, database: made.3).write(
                toFile: member.folder + "/config.yaml", atomically: true, encoding: .utf8)
        }
        for member in members { try start(member.name) }
    }

    private static func makeLinks(lab: NetworkLab, members: [Member]) async throws -> Links {
        var links = Links()
        for member in members {
            links.postgres[member.name] = try await TCPRelay(
                host: lab.testAddress, target: (lab.address(of: "db"), 5432))
            for other in members where member.name < other.name {
                links.peers[member.name, default: [:]][other.name] = try await TCPRelay(
                    host: lab.testAddress, target: (other.address, 7100))
            }
        }
        return links
    }

    /// The namespace of a node.
    static func place(_ node: String) -> String { "n" + node.suffix(1) }

    private func configurationText(of member: Member, database: String) -> String {
        let peers = members.map { other in
            let relay = links.peers[member.name]?[other.name]
            return "\"\(other.name)=\(relay == nil ? other.address : lab.testAddress):\(relay?.port ?? 7100)\""
        }
        var url = database
        if let standby {
            url = url.replacing("\(postgres.host):5432", with: "\(postgres.host):5432,\(standby.host):5432")
            url += "?target_session_attrs=read-write"
        } else if let relay = links.postgres[member.name] {
            url = url.replacing("\(postgres.host):5432", with: "\(lab.testAddress):\(relay.port)")
        }
        let certificates = folder.appending("certs")
        return """
            node: {id: \(member.name), data_dir: \(member.folder)/data}
            cluster:
              id: \(cluster)
              host: \(member.address)
              port: 7100
              peers: [\(peers.joined(separator: ", "))]
              tls_ca: \(certificates)/ca.pem
              tls_certificate: \(certificates)/\(member.name).pem
              tls_key: \(certificates)/\(member.name).key
            leadership: \(options.leadership)
            api: {host: \(member.address), port: 8000, allow_unauthenticated: true}
            postgres: {url: "\(url)", pool_size: \(options.postgresPool)}
            engine: {socket: "\(folder.appending(member.name)).sock"}
            proxy: {enabled: false}
            log: {level: debug}
            """
    }

    /// Connection string of the server that takes writes.
    var database: String { currentDatabase.withLock { $0 } }

    /// The standby takes writes from now on.
    func standbyTakesOver() {
        guard let standby else { return }
        currentDatabase.withLock { $0 = $0.replacing(postgres.host, with: standby.host) }
    }

    // MARK: Processes

    func member(_ name: String) -> Member { members.first { $0.name == name } ?? members[0] }
    func others(than name: String) -> [Member] { members.filter { $0.name != name } }

    func start(_ name: String) throws {
        let member = member(name)
        let inherited = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"]
        let environment = ProcessInfo.processInfo.environment.filter { inherited.contains($0.key) }
        // By way of another `env`: libfaketime changes the environment of the first program it is loaded into, and then
        // Swift's runtime does not find its arguments.
        let command = lab.command(
            in: Self.place(name), "/usr/bin/env", [Self.daemon, "--config", member.folder + "/config.yaml"],
            environment: environment.merging(options.environment[name] ?? [:]) { _, own in own })
        let process = try ChildProcess(command.executable, command.arguments, output: member.log)
        state.withLock { $0.running[name] = process }
    }

    /// Built beside the test bundle.
    static var daemon: String {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("orchestryd")
            .path
    }

    /// - Returns: the machine's clock just before.
    @discardableResult
    func signal(_ name: String, _ number: Int32) -> Int64 {
        let now = machineNanoseconds()
        state.withLock { $0.running[name] }?.signal(number)
        return now
    }

    /// SIGKILL, and waits for the end.
    /// - Returns: the machine's clock just before.
    @discardableResult
    func kill(_ name: String) async throws -> Int64 {
        let now = signal(name, SIGKILL)
        // Once the signal is delivered no thread of it runs a further instruction of its program: from here on it can't
        // act. When its end is *noticed* says more about how busy the machine is.
        state.withLock { $0.ends[name, default: []].append(machineNanoseconds()) }
        if let process = state.withLock({ $0.running.removeValue(forKey: name) }) {
            try await process.ended()
            // libfaketime's, where it was loaded.
            for kind in ["faketime_shm", "sem.faketime_sem"] { unlink("/dev/shm/\(kind)_\(process.id)") }
        }
        return now
    }

    func isRunning(_ name: String) -> Bool {
        guard let process = state.withLock({ $0.running[name] }) else { return false }
        return !process.hasEnded
    }

    /// When a node's process was killed, by the machine's clock.
    func ends(of name: String) -> [Int64] { state.withLock { $0.ends[name] ?? [] } }

    func tearDown() async throws {
        for member in members where state.withLock({ $0.running[member.name] }) != nil {
            signal(member.name, SIGCONT)
            try await kill(member.name)
        }
        for relay in links.all { try await relay.shutdown() }
        for engine in engines { try await engine.stop() }
        try await http.shutdown()
        try await onOwnThread { [standby, postgres] in
            standby?.stop(immediately: true)
            postgres.stop(immediately: true)
        }
    }

    // MARK: HTTP

    struct Answer: Sendable {
        var status: Int
        var json: JSONValue
        var retryAfter: String?
    }

    func send(
        _ method: HTTPMethod, _ path: String, to member: Member, body: JSONValue? = nil, key: String? = nil,
        within limit: Duration = .seconds(5)
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: member.url + path)
        request.method = method
        if let key { request.headers.add(name: "Idempotency-Key", value: key) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(try JSONEncoder().encode(body))
        }
        let response = try await http.execute(request, timeout: .nanoseconds(Int64(limit / .nanoseconds(1))))
        let bytes = try await response.body.collect(upTo: 16 << 20)
        return Answer(
            status: Int(response.status.code),
            json: try JSONDecoder().decode(JSONValue.self, from: Data(bytes.readableBytesView)),
            retryAfter: response.headers.first(name: "Retry-After"))
    }

    /// Waits until every node names the same leader and finds all nodes healthy.
    /// - Returns: the leader's name.
    @discardableResult
    func settled(within limit: Duration = .seconds(40)) async throws -> String {
        let deadline = ContinuousClock.now + limit
        var last = ""
        while true {
            do {
                var leaders: Set<String> = []
                var unhealthy: [String] = []
                for member in members {
                    let status = try await send(.GET, "/cluster/status", to: member, within: .seconds(2)).json
                    leaders.insert(status["leader_id"]?.stringValue ?? "none")
                    for node in status["nodes"]?.arrayValue ?? [] where node["is_healthy"]?.boolValue != true {
                        unhealthy.append("\(node["node_id"]?.stringValue ?? "?") by \(member.name)")
                    }
                }
                if leaders.count == 1, let leader = leaders.first, leader != "none", unhealthy.isEmpty { return leader }
                last = "leaders \(leaders.sorted()), unhealthy \(unhealthy)"
            } catch {
                last = "\(error)"
            }
            guard ContinuousClock.now < deadline else {
                throw ChaosFailure("the nodes don't agree within \(limit): \(last)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}

struct ChaosFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
