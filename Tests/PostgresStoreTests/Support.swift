import Logging
import OrchestryModel
import PostgresStore
import TestSupport
import Testing

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let alice = NodeID(unchecked: "alice")
let bob = NodeID(unchecked: "bob")
let web = AppName(unchecked: "web")

/// One server for all suites that do not stop it. It ends with the process.
enum SharedServer {
    static let server = Result { try PrivatePostgres() }
}

/// A database of the test's own, and what a node has to reach it.
final class Fixture: Sendable {
    let server: PrivatePostgres
    let connectionString: String
    let store: StateStore

    init(
        server: PrivatePostgres? = nil, operationTimeout: Duration = .seconds(20), migrated: Bool = true,
        availabilityChanged: @escaping @Sendable (Bool) -> Void = { _ in }
    ) async throws {
        if let server {
            self.server = server
        } else {
            self.server = try await onOwnThread { try SharedServer.server.get() }
        }
        let used = self.server
        connectionString = try await onOwnThread { try used.makeDatabase() }
        store = StateStore(
            configuration: StoreConfiguration(
                connectionString: connectionString, statementTimeout: .seconds(15), operationTimeout: operationTimeout),
            logger: quiet, availabilityChanged: availabilityChanged)
        if migrated { try await store.migrate() }
    }

    deinit { store.shutdown() }

    func lease(_ node: NodeID, ttl: Duration = .seconds(30)) -> LeaseConnection {
        LeaseConnection(
            configuration: StoreConfiguration(connectionString: connectionString), me: node,
            hostname: "\(node).example", apiURL: "http://\(node)", leaseTTL: ttl, logger: quiet)
    }

    /// Makes `node` the leader, whatever the lease says.
    func lead(_ node: NodeID) async throws -> Epoch {
        try await sql("UPDATE leader_lease SET expires_at = NOW() - interval '1 second'")
        let connection = lease(node)
        defer { connection.shutdown() }
        guard case .acquired(let epoch) = await connection.acquire() else {
            throw PrivatePostgres.StartError(description: "\(node) could not acquire")
        }
        return epoch
    }

    @discardableResult
    func sql(_ text: String) async throws -> String {
        let (server, connectionString) = (server, connectionString)
        return try await onOwnThread { try server.query(text, on: connectionString) }
    }

    /// Whether a session of this database is in `pg_sleep`.
    var isSleeping: Bool {
        get async throws {
            try await sql(
                """
                SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()
                """) == "1"
        }
    }

    /// A `psql` that runs a script, in which `\! command` runs a shell's.
    func session(_ script: String) throws -> ChildProcess {
        try ChildProcess(
            "/bin/sh",
            ["-c", "printf '%s\\n' \"$1\" | exec psql --no-psqlrc --quiet \"$2\"", "session", script, connectionString])
    }
}

extension LeaseConnection {
    func acquire(votes: Bool = false, highest: Epoch = .none) async -> LeaseOutcome {
        await perform(
            LeaseRequest(id: 1, statement: .acquire(votesGranted: votes, highestEpoch: highest)), timeout: .seconds(20))
    }
    func renew(_ epoch: Epoch, seq: UInt64, mode: LeaseMode = .quorum) async -> LeaseOutcome {
        await perform(
            LeaseRequest(id: 2, statement: .renew(epoch: epoch, seq: seq, mode: mode)), timeout: .seconds(20))
    }
    func release(_ epoch: Epoch, seq: UInt64) async -> LeaseOutcome {
        await perform(LeaseRequest(id: 3, statement: .release(epoch: epoch, seq: seq)), timeout: .seconds(20))
    }
}

func time(_ seconds: Int64) -> WallTime { WallTime(milliseconds: seconds * 1000) }
let noon = time(1_700_000_000)

func application(_ name: AppName = web, revision: Int = 1, replicas: Int = 2) -> Application {
    let spec = AppSpec(
        name: name, labels: ["team": "shop"], image: "shop/\(name):\(revision)",
        environment: [.init(name: "MODE", source: .value("a'b\\c\u{1F600}"))], ports: [.init(containerPort: 8080)])
    return Application(
        spec: spec, document: ["image": .string(spec.image), "scaling": ["cpu": 2.0, "min": 1], "none": nil],
        revision: revision, status: .running, replicas: replicas, createdAt: noon,
        updatedAt: WallTime(milliseconds: noon.milliseconds + 123), lastScaledAt: nil)
}

func events(_ numbers: ClosedRange<Int64>, of node: NodeID = alice, app: AppName? = nil) -> [Event] {
    numbers.map { number in
        Event(
            node: node, sequence: number, time: WallTime(milliseconds: noon.milliseconds + number), app: app,
            kind: .instanceReady, message: "event \(number)", details: ["number": .int(number)])
    }
}

func decision(_ number: Int64, of node: NodeID = alice) -> ScalingDecision {
    ScalingDecision(
        node: node, sequence: number, epoch: Epoch(7), time: WallTime(milliseconds: noon.milliseconds + number),
        app: web, fromReplicas: 1, toReplicas: 3, reason: "Scale out: rps at 212% of target",
        triggeredBy: "autoscaler", metrics: ["rps": 42.5], explanation: ["factors": [1, 2.5, nil]])
}

/// The error `body` throws; nil: none.
func failure(_ body: () async throws(StoreError) -> Void) async -> StoreError? {
    do throws(StoreError) {
        try await body()
        return nil
    } catch {
        return error
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips where PostgreSQL is not installed.
    static var needsPostgres: Self { .enabled(if: PrivatePostgres.isInstalled, "PostgreSQL is not installed") }
}
