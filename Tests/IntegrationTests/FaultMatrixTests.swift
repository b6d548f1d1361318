import Foundation
import Glibc
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

/// Whether faults are played at full length, all of them: some minutes. `ORCHESTRY_DEV_LONG_TESTS=1`.
private let isLong = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_LONG_TESTS"] != nil
private let longNote: Comment = "takes long: ORCHESTRY_DEV_LONG_TESTS=1"
private let isRoot = getuid() == 0

/// One fault after the other on real parts, while apps are used and changed. Each must lose no acknowledged write, no event
/// and no request, and prints what it cost.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(8)))
struct FaultMatrixTests {
    private func play(
        _ label: String, _ options: Cluster.Options = .init(), failuresThrough: Set<String> = [],
        inject: @escaping @Sendable (FaultRig) async throws -> String?
    ) async throws -> FaultAccount {
        let account = try await FaultRig.run(label, options, failuresThrough: failuresThrough, inject: inject)
        #expect(account.failed.isEmpty, "\(account.failed.prefix(3))")
        #expect(account.lostWrites == 0 && account.doubledWrites == 0)
        #expect(account.lostEvents == 0 && account.doubledEvents == 0)
        #expect(account.served > 0 && account.writes > 0 && account.events > 0)
        return account
    }

    // MARK: PostgreSQL

    @Test func `PostgreSQL is away, the leader is killed meanwhile`() async throws {
        let seconds = isLong ? 60 : 9
        let account = try await play("nodb") { rig in
            let (cluster, server) = (rig.cluster, rig.cluster.postgres)
            try await onOwnThread { server.stop(immediately: true) }
            try await hold(.seconds(seconds / 3))
            let refusal = try await cluster.post(
                "/apps/web/policy", ["policy": ["maxReplicas": 9]], to: rig.survivors[0])
            #expect(refusal.status == 503 && refusal.headers.first(name: "Retry-After") != nil, "\(refusal.text)")
            await cluster.kill(rig.leader)
            try await hold(.seconds(seconds / 3))
            try await cluster.start(cluster.member(rig.leader))
            try await hold(.seconds(seconds / 3))
            try await onOwnThread { try server.start() }
            return "PostgreSQL away for \(seconds) s"
        }
        #expect(account.refused > 0)
    }

    @Test(.enabled(if: isLong, longNote)) func `PostgreSQL is restarted twenty times in a row`() async throws {
        _ = try await play("restarts") { rig in
            let server = rig.cluster.postgres
            for _ in 0..<20 {
                try await onOwnThread { try server.restart(immediately: true) }
                try await hold(.milliseconds(500))
            }
            return nil
        }
    }

    @Test(.enabled(if: isLong, longNote)) func `PostgreSQL dies and its standby is promoted`() async throws {
        var options = Cluster.Options()
        options.hasStandby = true
        _ = try await play("standby", options) { rig in
            let (server, standby) = (rig.cluster.postgres, rig.cluster.standby)
            try await onOwnThread {
                server.stop(immediately: true)
                try standby?.query("SELECT pg_promote()")
            }
            return nil
        }
    }

    @Test(.enabled(if: isLong, longNote)) func `all connections of PostgreSQL are taken`() async throws {
        var options = Cluster.Options()
        options.postgresSettings = [
            "max_connections=40", "superuser_reserved_connections=0", "client_connection_check_interval=200",
        ]
        _ = try await play("limit", options) { rig in
            // Each ends the nodes' sessions as soon as it has one of its own, and keeps that.
            let script = """
                while :; do psql -q -o /dev/null "$1" -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name LIKE 'orchestry %'" -c 'SELECT pg_sleep(60)'; done
                """
            let crowd = try (0..<80).map { _ in
                try ChildProcess("/bin/sh", ["-c", script, "crowd", rig.cluster.database], ownSession: true)
            }
            try await hold(.seconds(10))
            for session in crowd {
                kill(-session.id, SIGKILL)
                try await session.ended()
            }
            return "for 10 s"
        }
    }

    // MARK: Disks

    @Test(.enabled(if: isLong && isRoot, longNote)) func `the disk under PostgreSQL is full`() async throws {
        var options = Cluster.Options()
        options.postgresMegabytes = 500
        _ = try await play("fulldb", options) { rig in
            let server = rig.cluster.postgres
            let disk = try #require(server.disk)
            try await onOwnThread { try disk.fill() }
            try await hold(.seconds(10))
            try await onOwnThread {
                try disk.free()
                // Without room for its log it has stopped, as it should.
                try server.restart(immediately: true)
            }
            return "for 10 s, then restarted"
        }
    }

    @Test(.enabled(if: isLong && isRoot, longNote)) func `the disks under the nodes' data are full`() async throws {
        var options = Cluster.Options()
        options.dataMegabytes = 64
        _ = try await play("fulldata", options) { rig in
            let disks = rig.cluster.dataDisks
            try await onOwnThread { for disk in disks { try disk.fill() } }
            try await hold(.seconds(10))
            try await onOwnThread { for disk in disks { try disk.free() } }
            return "metrics.db, outbox.db and nginx's files on every node, for 10 s"
        }
    }

    @Test(.enabled(if: isLong && isRoot, longNote)) func `the disks under the logs are full`() async throws {
        var options = Cluster.Options()
        options.logMegabytes = 4
        let account = try await play("fulllogs", options) { rig in
            let disks = rig.cluster.logDisks
            try await onOwnThread { for disk in disks { try disk.fill() } }
            try await hold(.seconds(10))
            try await onOwnThread { for disk in disks { try disk.free() } }
            return "on every node, for 10 s"
        }
        #expect(account.refused == 0)
    }

    // MARK: Processes

    @Test(.enabled(if: isLong, longNote)) func `the leader stands still for half a minute`() async throws {
        _ = try await play("frozen") { rig in
            try await rig.cluster.freeze(rig.leader)
            try await hold(.seconds(30))
            try await rig.cluster.thaw(rig.leader)
            return nil
        }
    }

    @Test func `nginx is killed on one node and comes back by itself`() async throws {
        _ = try await play("nonginx", failuresThrough: ["controller-1"]) { rig in
            let victim = rig.cluster.members[0]
            let master = try rig.cluster.nginx(of: victim)
            // All of its processes at once.
            try await onOwnThread {
                _ = try Shell.run("pids=$(pgrep -P $1 | tr '\\n' ' '); kill -9 $1 $pids", [String(master)])
            }
            let begun = ContinuousClock.now
            try await eventuallyTrue("its nginx serves again", within: .seconds(30)) {
                // Refused, until it is back.
                (try? await rig.cluster.app("web", via: victim).status) == 200
            }
            return "serves again after \(ContinuousClock.now - begun)"
        }
    }

    @Test func `everything is killed at once and started again`() async throws {
        let all = Set((1...3).map { "controller-\($0)" })
        _ = try await play("all", failuresThrough: all) { rig in
            let (cluster, server) = (rig.cluster, rig.cluster.postgres)
            let containers = try ["web", "churn"].flatMap { try cluster.containers(of: $0).values }
            let masters = try cluster.members.map { String(try cluster.nginx(of: $0)) }
            try await onOwnThread {
                server.stop(immediately: true)
                try Shell.run(
                    "for id in \"$@\"; do pids=$(pgrep -P $id | tr '\\n' ' '); kill -9 $id $pids; done", masters)
            }
            for member in cluster.members { await cluster.kill(member.id) }
            // One may have been killed by the rig.
            try Cluster.docker(["kill"] + containers)
            let begun = ContinuousClock.now
            try await onOwnThread { try server.start() }
            for member in cluster.members { try await cluster.start(member) }
            for member in cluster.members {
                try await eventuallyTrue("the app is served through \(member.id)", within: .seconds(90)) {
                    (try? await cluster.app("web", via: member).status) == 200  // Refused, until it is back.
                }
            }
            return "served through every node again after \(ContinuousClock.now - begun)"
        }
    }
}

extension Cluster {
    /// Lets a frozen node's process go on.
    func thaw(_ node: NodeID) async throws {
        guard let process = await processes.identifier(of: node) else { throw TestFailure("\(node) does not run") }
        Glibc.kill(process, SIGCONT)
    }

    /// The process that its nginx's others are children of.
    func nginx(of member: Member) throws -> pid_t {
        let folder = member.folder + "/data/proxy"
        let files = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
        for file in files where file.hasSuffix(".pid") {
            let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
            if let id = pid_t(text.filter(\.isNumber)), id > 1 { return id }
        }
        throw TestFailure("\(member.id) has no nginx")
    }
}
