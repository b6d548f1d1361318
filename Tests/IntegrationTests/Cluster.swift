import AsyncHTTPClient
import Certificates
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import SecretSealing
import TestSupport

/// Three real nodes on loopback with a private PostgreSQL, the machine's container engine and an nginx each.
/// Everything it starts, and nothing else, is gone after `tearDown`.
final class Cluster: Sendable {
    struct Member: Sendable {
        var id: NodeID
        var apiPort: Int
        var clusterPort: Int
        var proxyPort: Int
        /// Of its nginx, where the options ask for it: TLS, and the REST facade of the cluster.
        var httpsPort: Int
        var facadePort: Int
        var folder: String
        var isWorker: Bool { id.rawValue.hasPrefix("worker-") }
    }

    enum Security: Sendable {
        case mutualTLS
        /// As above; each node writes its TLS secrets to `keylog` in its folder.
        case loggedTLS
        case plain
    }

    /// What differs from the usual cluster.
    struct Options: Sendable {
        /// nginx on every node.
        var proxy = true
        /// Beside the three controllers; in `members` after them.
        var workers = 0
        /// TLS and the REST facade through nginx.
        var hasEdge = false
        var logLevel = "debug"
        var security = Security.mutualTLS
        /// More settings, one `name: value` each, of the sections `cluster`, `api` and `engine`.
        var clusterSettings: [String] = []
        var apiSettings: [String] = []
        var engineSettings: [String] = []
        /// Requests need credentials; this token is an admin's on every node, and goes with the cluster's own requests.
        var bootstrapToken: String?
        /// Each node's certificate files in a folder of its own, as on other machines; else all read the operator's.
        var hasOwnCertificateFiles = false
        /// The cluster's id, and a file with its keys for secrets, where another cluster had them before.
        var name: String?
        var secretKeys: String?
        /// More sections, each one line.
        var more: [String] = []
        /// By node, where it is not the usual year.
        var certificateDays: [String: Int] = [:]
        /// Of PostgreSQL: `name=value`.
        var postgresSettings: [String] = []
        /// A synchronous standby beside it, in the nodes' connection string.
        var hasStandby = false
        /// Sizes of file systems of their own: of PostgreSQL, and of each node's data and log. Takes root.
        var postgresMegabytes: Int?
        var dataMegabytes: Int?
        var logMegabytes: Int?

        /// Only what the cluster protocol needs: no nginx, no container engine, the log an operator would have.
        static let protocolOnly = Options(
            proxy: false, logLevel: "info", clusterSettings: ["tls_check_interval: 300ms"])
    }

    static let image = "orchestry-demo:v1"
    static let secret = "a secret that only this test knows"

    let options: Options

    let name: String
    let folder: TemporaryFolder
    let postgres: PrivatePostgres
    let standby: PrivatePostgres?
    /// Under the nodes' data, and under their logs.
    let dataDisks: [SmallDisk]
    let logDisks: [SmallDisk]
    let members: [Member]
    let database: String
    let processes: Processes
    let http: HTTPClient

    /// The running daemons by node.
    actor Processes {
        private var running: [NodeID: ChildProcess] = [:]

        func start(_ member: Member, daemon: String) throws {
            running[member.id] = try ChildProcess(
                daemon, ["--config", member.folder + "/config.yaml"], output: member.folder + "/log")
        }

        /// Signals the daemon and waits until it is gone.
        func stop(_ node: NodeID, signal: Int32) {
            guard let process = running.removeValue(forKey: node) else { return }
            process.signal(signal)
            process.wait()
        }

        func identifier(of node: NodeID) -> pid_t? { running[node]?.id }
    }

    /// - Parameter starts: whether the daemons are started, too; else see `startAll`.
    init(_ label: String, _ options: Options = Options(), starts: Bool = true) async throws {
        self.options = options
        let suffix = String(UInt32.random(in: 0...UInt32.max), radix: 36)
        name = options.name ?? "it-\(label)-\(suffix)"
        folder = try TemporaryFolder(label)
        let postgres = try PrivatePostgres(
            settings: options.postgresSettings, diskMegabytes: options.postgresMegabytes)
        self.postgres = postgres
        http = HTTPClient(eventLoopGroupProvider: .singleton)
        processes = Processes()
        let folderPath = folder.path
        let names = (1...3).map { "controller-\($0)" } + (0..<options.workers).map { "worker-\($0 + 1)" }
        members = names.map { name in
            Member(
                id: NodeID(unchecked: name), apiPort: freePort(), clusterPort: freePort(), proxyPort: freePort(),
                httpsPort: freePort(), facadePort: freePort(), folder: folderPath + "/" + name)
        }
        let certificates = CertificateFolder(path: folderPath + "/certs")
        try certificates.initialize()
        if let keys = options.secretKeys {
            try FileManager.default.copyItem(atPath: keys, toPath: folderPath + "/secrets.key")
        } else {
            _ = try SecretKeyFile.addKey(to: folderPath + "/secrets.key")
        }
        if let token = options.bootstrapToken { try PrivateFile.create(folderPath + "/bootstrap", token + "\n") }
        let database = try postgres.makeDatabase()
        let standby = options.hasStandby ? try Self.makeStandby(of: postgres) : nil
        self.standby = standby
        self.database =
            standby.map {
                database.replacing(":\(postgres.port)/", with: ":\(postgres.port),127.0.0.1:\($0.port)/")
                    + "?target_session_attrs=read-write"
            } ?? database
        dataDisks = try Self.makeDisks(members.map { $0.folder + "/data" }, options.dataMegabytes)
        logDisks = try Self.makeDisks(members.map { $0.folder + "/logs" }, options.logMegabytes)
        for disk in logDisks {
            try FileManager.default.createSymbolicLink(
                atPath: URL(filePath: disk.path).deletingLastPathComponent().appending(path: "log").path,
                withDestinationPath: disk.path + "/log")
        }
        for member in members {
            let name = member.id.rawValue
            try certificates.issue(
                node: name, addresses: ["127.0.0.1"],
                days: options.certificateDays[name] ?? CertificateAuthority.nodeDays)
            try FileManager.default.createDirectory(atPath: member.folder, withIntermediateDirectories: true)
            guard options.hasOwnCertificateFiles else { continue }
            let held = heldCertificates(of: member)
            try FileManager.default.createDirectory(atPath: held, withIntermediateDirectories: true)
            for file in ["ca.pem", "\(name).pem", "\(name).key"] {
                try FileManager.default.copyItem(atPath: certificates.path + "/" + file, toPath: held + "/" + file)
            }
        }
        for member in members {
            try configuration(of: member).write(
                toFile: member.folder + "/config.yaml", atomically: true, encoding: .utf8)
        }
        if starts { try await startAll() }
    }

    private static func makeStandby(of postgres: PrivatePostgres) throws -> PrivatePostgres {
        let standby = try PrivatePostgres(standbyOf: postgres)
        try postgres.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        try postgres.query("SELECT pg_reload_conf()")
        return standby
    }

    private static func makeDisks(_ paths: [String], _ megabytes: Int?) throws -> [SmallDisk] {
        guard let megabytes else { return [] }
        return try paths.map { try SmallDisk(at: $0, megabytes: megabytes) }
    }

    /// - Parameter outside: controllers that somebody else runs.
    func startAll(but outside: Set<NodeID> = []) async throws {
        for member in members where !outside.contains(member.id) { try await start(member) }
    }

    private func configuration(of member: Member) -> String {
        let peers = controllers.map { "\"\($0.id)=127.0.0.1:\($0.clusterPort)\"" }.joined(separator: ", ")
        let certificates = heldCertificates(of: member)
        let ways =
            switch options.security {
            case .mutualTLS: [String]()
            case .loggedTLS: ["tls_key_log: \(member.folder)/keylog"]
            case .plain: ["security: plain", "secret: \(Self.secret)"]
            }
        let edge =
            options.hasEdge
            ? ", https_port: \(member.httpsPort), api_port: \(member.facadePort), api_host: orchestry.local" : ""
        let auth =
            options.bootstrapToken == nil
            ? "" : "auth: {mode: required, bootstrap_token_file: \(folder.path)/bootstrap}"
        return """
            node: {id: \(member.id), role: \(member.isWorker ? "worker" : "controller"), data_dir: \(member.folder)/data}
            cluster:
              id: \(name)
              host: 127.0.0.1
              port: \(member.clusterPort)
              peers: [\(peers)]
              tls_ca: \(certificates)/ca.pem
              tls_certificate: \(certificates)/\(member.id).pem
              tls_key: \(certificates)/\(member.id).key
            \((ways + options.clusterSettings).map { "  " + $0 }.joined(separator: "\n"))
            api: {\((["host: 127.0.0.1", "port: \(member.apiPort)"] + options.apiSettings).joined(separator: ", "))}
            \(member.isWorker ? "" : "postgres: {url: \"\(database)\"}")
            proxy: {enabled: \(options.proxy), host: 127.0.0.1, port: \(member.proxyPort)\(edge)}
            engine: {\((["socket: \(TestEngine.socket)"] + options.engineSettings).joined(separator: ", "))}
            secrets: {key_file: \(folder.path)/secrets.key}
            log: {level: \(options.logLevel)}
            \(options.more.joined(separator: "\n"))
            \(auth)
            """
    }

    var controllers: [Member] { members.filter { !$0.isWorker } }
    var workers: [Member] { members.filter(\.isWorker) }

    /// Built beside the test bundle.
    static var daemon: String {
        URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("orchestryd")
            .path
    }

    // MARK: Nodes

    /// The operator's folder.
    var certificates: CertificateFolder { CertificateFolder(path: folder.path + "/certs") }

    /// Where a node reads its files from.
    func heldCertificates(of member: Member) -> String {
        options.hasOwnCertificateFiles ? member.folder + "/certs" : certificates.path
    }

    func hangUp(_ node: NodeID) async throws {
        guard let process = await processes.identifier(of: node) else { throw TestFailure("\(node) does not run") }
        Glibc.kill(process, SIGHUP)
    }

    /// Stops its process where it is; `kill` ends it all the same.
    func freeze(_ node: NodeID) async throws {
        guard let process = await processes.identifier(of: node) else { throw TestFailure("\(node) does not run") }
        Glibc.kill(process, SIGSTOP)
    }

    func start(_ member: Member) async throws { try await processes.start(member, daemon: Self.daemon) }

    func kill(_ node: NodeID) async { await processes.stop(node, signal: SIGKILL) }
    func terminate(_ node: NodeID) async { await processes.stop(node, signal: SIGTERM) }

    func member(_ node: NodeID) -> Member {
        members.first { $0.id == node } ?? members[0]
    }

    /// The leader as `via` sees it, waiting for one.
    func leader(via: Member? = nil, deadline: Duration = .seconds(20)) async throws -> NodeID {
        let asked = via.map { [$0] } ?? members
        let found = await firstValue(within: deadline) {
            for member in asked {
                // A node that is down answers nothing; the next one may.
                if let answer = try? await get("/cluster/leader", from: member), answer.status == 200,
                    let id = answer.json["leader_id"]?.stringValue
                {
                    return NodeID(unchecked: id)
                }
            }
            return nil as NodeID?
        }
        guard let found else { throw TestFailure("no leader within \(deadline); logs in \(folder.path)") }
        return found
    }

    // MARK: Apps

    static func document(
        _ name: String, scaling: JSONValue = ["mode": "manual", "minReplicas": 1, "maxReplicas": 6],
        image: String = image
    ) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "App",
            "metadata": ["name": .string(name), "labels": ["app": .string(name)]],
            "spec": [
                "type": "http", "image": .string(image), "pullPolicy": "Never",
                "ports": [["containerPort": 9010, "protocol": "HTTP"]],
                "resources": ["cpu": "100m", "memory": "64Mi"],
                "termination": ["drainSeconds": 5, "gracePeriodSeconds": 2],
            ],
            "scaling": scaling,
            "healthCheck": ["path": "/health", "port": 9010, "periodSeconds": 1, "timeoutSeconds": 1],
        ]
    }

    /// Waits until `member` says that the app has exactly `count` ready replicas and nothing else.
    func waitForReady(_ app: String, _ count: Int, via member: Member, deadline: Duration = .seconds(30)) async throws {
        var last = ""
        let isReady = await eventually(within: deadline, every: .milliseconds(100)) {
            do {
                let answer = try await get("/apps/\(app)/status", from: member)
                last = answer.text
                return answer.json["ready_replicas"]?.intValue == count
                    && answer.json["instances"]?.arrayValue?.count == count
            } catch {
                last = "\(error)"
                return false
            }
        }
        guard isReady else {
            throw TestFailure("\(app) has not \(count) ready replicas within \(deadline): \(last)")
        }
    }

    /// Container ids of the app's instances, by instance.
    func containers(of app: String) throws -> [String: String] {
        let output = try Self.docker([
            "ps", "--no-trunc", "--filter", "label=orchestry.cluster=\(name)", "--filter", "label=orchestry.app=\(app)",
            "--format", "{{.Label \"orchestry.instance\"}} {{.ID}}",
        ])
        return Dictionary(
            output.split(separator: "\n").compactMap { line in
                let parts = line.split(separator: " ")
                return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
            }, uniquingKeysWith: { first, _ in first })
    }

    @discardableResult
    static func docker(_ arguments: [String]) throws -> String {
        try process("/usr/bin/env", TestEngine.environment + ["docker"] + arguments, withErrors: false).output
    }

    // MARK: The end

    func tearDown() async throws {
        for member in members { await terminate(member.id) }
        for member in members { stopProxy(of: member) }
        // Also without an app to run: nodes make their network as soon as there is an engine.
        let containers = try Self.docker(["ps", "-aq", "--filter", "label=orchestry.cluster=\(name)"])
            .split(separator: "\n").map(String.init)
        if !containers.isEmpty { try Self.docker(["rm", "-f"] + containers) }
        await TestEngine.removeNetworks(ofEnded: name)
        standby?.stop(immediately: true)
        postgres.stop(immediately: true)
        try await http.shutdown()
    }

    /// Nodes leave their nginx running on purpose; the test that started it ends it.
    private func stopProxy(of member: Member) {
        let folder = member.folder + "/data/proxy"
        let files = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
        for file in files where file.hasSuffix(".pid") {
            // Gone: nothing to stop.
            guard let text = try? String(contentsOfFile: folder + "/" + file, encoding: .utf8),
                let id = pid_t(text.filter(\.isNumber)), id > 1
            else { continue }
            Glibc.kill(id, SIGQUIT)
        }
    }
}

struct TestFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// Runs a test on a cluster of its own and takes it down, whatever happens; keeps the logs of a failure.
/// - Parameters:
///   - outside: controllers that the test runs itself.
///   - beforeStart: called when all is ready but no daemon runs yet.
func withCluster(
    _ label: String, _ options: Cluster.Options = Cluster.Options(), outside: Set<NodeID> = [],
    beforeStart: (Cluster) async throws -> Void = { _ in }, _ body: (Cluster) async throws -> Void
) async throws {
    let cluster = try await Cluster(label, options, starts: false)
    do {
        try await beforeStart(cluster)
        try await cluster.startAll(but: outside)
        try await body(cluster)
    } catch {
        for member in cluster.members {
            // Best effort.
            let log = (try? String(contentsOfFile: member.folder + "/log", encoding: .utf8)) ?? ""
            print(
                "--- log of \(member.id), last lines\n" + log.split(separator: "\n").suffix(40).joined(separator: "\n"))
        }
        try await cluster.tearDown()
        throw error
    }
    try await cluster.tearDown()
}
