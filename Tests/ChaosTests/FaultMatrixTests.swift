import Foundation
import Logging
import MetricsCache
import OrchestryModel
import TestSupport
import Testing

/// Whether tests that take longer than 20 s run.
let longTests = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_LONG_TESTS"] != nil
private let longNote: Comment = "takes long: ORCHESTRY_DEV_LONG_TESTS=1"

/// Faults of the store, the disks and the processes: no acknowledged write lost, no event lost or doubled, no second leader.
@Suite(.serialized, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(15)))
struct FaultMatrixTests {
    private func run(_ options: ChaosCluster.Options, _ scenario: Scenario) async throws {
        try await withChaosCluster(options) { cluster in
            try await play(scenario, on: cluster, round: 1)
            print("chaos \(scenario.label): \(try await cluster.eventsWhenFlushed())")
        }
    }

    @Test(.enabled(if: longTests, longNote))
    func `PostgreSQL is away for a minute, the leader is killed meanwhile`() async throws {
        try await run(
            .init(),
            Scenario(
                label: "minute",
                what: "PostgreSQL stopped for 60 s, the leader killed after 20 s and started after 30 s",
                mayRefuse: true, patience: .seconds(2)
            ) { cluster, leader in
                let fault = machineNanoseconds()
                try await onOwnThread { cluster.postgres.stop(immediately: true) }
                try await hold(.seconds(20))
                try await cluster.kill(leader)
                try await hold(.seconds(10))
                try cluster.start(leader)
                try await hold(.seconds(30))
                try await onOwnThread { try cluster.postgres.start() }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test(.enabled(if: longTests, longNote))
    func `PostgreSQL is restarted twenty times in a row`() async throws {
        try await run(
            .init(),
            Scenario(
                label: "restarts", what: "PostgreSQL crashed and started 20 times in a row", mayRefuse: true,
                patience: .seconds(2)
            ) { cluster, _ in
                let fault = machineNanoseconds()
                for _ in 0..<20 {
                    try await onOwnThread { try cluster.postgres.restart(immediately: true) }
                    try await hold(.milliseconds(500))
                }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test(.enabled(if: longTests, longNote))
    func `a leader stands still for half a minute`() async throws {
        try await run(
            .init(),
            Scenario(label: "freeze30", what: "leader stopped (SIGSTOP) for 30 s, then SIGCONT") { cluster, leader in
                let fault = cluster.signal(leader, SIGSTOP)
                try await hold(.seconds(30))
                return .init(fault: fault, mended: cluster.signal(leader, SIGCONT))
            })
    }

    @Test func `all connections of PostgreSQL are taken`() async throws {
        try await run(
            .init(postgresSettings: [
                "max_connections=30", "superuser_reserved_connections=0", "client_connection_check_interval=200",
            ]),
            Scenario(
                label: "limit", what: "all of PostgreSQL's connections taken for 6 s, the nodes' own ended",
                mayRefuse: true, patience: .seconds(2)
            ) { cluster, _ in
                let fault = machineNanoseconds()
                // Each ends the nodes' sessions as soon as it has one of its own, and keeps that.
                let script = """
                    while :; do psql -q -o /dev/null "$1" -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name LIKE 'orchestry %'" -c 'SELECT pg_sleep(60)'; done
                    """
                let crowd = try (0..<60).map { _ in
                    try ChildProcess("/bin/sh", ["-c", script, "crowd", cluster.database], ownSession: true)
                }
                try await hold(.seconds(7))
                for session in crowd {
                    kill(-session.id, SIGKILL)
                    try await session.ended()
                }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `the disk under PostgreSQL is full`() async throws {
        try await run(
            .init(postgresMegabytes: 400),
            Scenario(
                label: "fulldb", what: "no room on PostgreSQL's disk for 6 s", mayRefuse: true, patience: .seconds(2),
                answerLimit: .seconds(5)
            ) { cluster, _ in
                guard let disk = cluster.postgres.disk else { throw ChaosFailure("no disk") }
                let fault = machineNanoseconds()
                try await onOwnThread { try disk.fill() }
                try await hold(.seconds(6))
                try await onOwnThread {
                    try disk.free()
                    // Without room for its log it has stopped, as it should.
                    cluster.postgres.stop(immediately: true)
                    try cluster.postgres.start()
                }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `the disks under the nodes' SQLite files are full`() async throws {
        try await run(
            .init(dataMegabytes: 16),
            Scenario(
                label: "fullsqlite",
                what: "no room for metrics.db and outbox.db of all nodes for 5 s, the leader killed after it"
            ) {
                cluster, leader in
                let fault = machineNanoseconds()
                let disks = cluster.disks
                try await onOwnThread { for disk in disks { try disk.fill() } }
                try await hold(.seconds(5))
                try await onOwnThread { for disk in disks { try disk.free() } }
                try await hold(.seconds(6))  // Longer than the longest wait of the outbox for room.
                try await cluster.kill(leader)
                try cluster.start(leader)
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `the disk under the logs is full`() async throws {
        try await withChaosCluster(.init(logMegabytes: 2)) { cluster in
            let leader = try await cluster.settled()
            let workload = Workload(cluster, label: "fulllog")
            try await workload.prepare()
            let logs = cluster.logDisks
            try await onOwnThread { for disk in logs { try disk.fill() } }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await workload.run() }
                defer { workload.stop() }
                let begun = machineNanoseconds()
                try await cluster.wait(for: "writes without room for logs") { workload.accepted(since: begun) >= 60 }
            }
            let failed = workload.seen.writes.filter { !$0.isAccepted }
            #expect(failed.isEmpty, "\(failed.prefix(3))")
            #expect(ChaosCluster.names.allSatisfy(cluster.isRunning))
            #expect(try await cluster.settled() == leader)
            print("chaos fulllog: no room for the logs of all nodes; writes ok \(workload.seen.writes.count), failed 0")
        }
    }

    /// The whole way: outbox, follower, leader, PostgreSQL.
    @Test func `full outboxes reach PostgreSQL once, whoever is killed on the way`() async throws {
        let count = 6_000
        try await withChaosCluster(
            .init(prepare: { member in
                let outbox = try Outbox(
                    folder: member.folder + "/data", node: NodeID(unchecked: member.name),
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                for first in stride(from: 0, to: count, by: 500) {
                    _ = try await outbox.append(
                        events: (first..<(first + 500)).map { number in
                            Event(
                                node: NodeID(unchecked: member.name), time: WallTime(milliseconds: 1_790_000_000_000),
                                app: nil, kind: .instanceReady, message: "load \(number)")
                        })
                }
                outbox.shutdown()
            })
        ) { cluster in
            let begun = ContinuousClock.now
            var kills = 0
            var turn = 0
            func stored() async throws -> Int {
                let (server, database) = (cluster.postgres, cluster.database)
                return try await onOwnThread {
                    guard try server.query("SELECT to_regclass('events') IS NOT NULL", on: database) == "t" else {
                        return 0
                    }
                    return Int(
                        try server.query("SELECT count(*) FROM events WHERE message LIKE 'load %'", on: database)) ?? 0
                }
            }
            var last = 0
            while try await stored() < 3 * count {
                // Each time some more has arrived, the next node dies: leaders and followers in turn.
                let now = try await stored()
                if now > last + 1_200, kills < 12 {
                    last = now
                    let name = ChaosCluster.names[turn % 3]
                    try await cluster.kill(name)
                    try cluster.start(name)
                    (kills, turn) = (kills + 1, turn + 1)
                }
                guard ContinuousClock.now - begun < .seconds(240) else { throw ChaosFailure("only \(now) arrived") }
                try await hold(.milliseconds(50))
            }
            try await cluster.settled()
            let account = try await cluster.eventsWhenFlushed()
            let (server, database) = (cluster.postgres, cluster.database)
            let loads = try await onOwnThread {
                try server.query(
                    """
                    SELECT node_id, count(*), count(DISTINCT message) FROM events WHERE message LIKE 'load %'
                    GROUP BY 1 ORDER BY 1
                    """, on: database)
            }
            #expect(loads == ChaosCluster.names.map { "\($0)|\(count)|\(count)" }.joined(separator: "\n"))
            print(
                "outbox: \(3 * count) events of three nodes, nodes killed \(kills) times, \(ContinuousClock.now - begun); \(account)"
            )
        }
    }
}

extension ChaosCluster {
    /// Waits until every node's outbox is empty, and checks what PostgreSQL has of each: every sequence once, none left out.
    /// - Returns: a line that says so.
    /// - Throws: `ChaosFailure` when one is lost or doubled.
    func eventsWhenFlushed() async throws -> String {
        for member in members {
            try await wait(for: "an empty outbox of \(member.name)") {
                try await pendingEvents(of: member) == 0
            }
        }
        let (server, database) = (server, database)
        let rows = try await onOwnThread {
            try server.query(
                """
                SELECT node_id, count(*), count(*) - count(DISTINCT sequence),
                    max(sequence) - min(sequence) + 1 - count(DISTINCT sequence)
                FROM events WHERE sequence > 0 GROUP BY 1 ORDER BY 1
                """, on: database)
        }.split(separator: "\n").map { $0.split(separator: "|").map(String.init) }
        for row in rows where row[2] != "0" || row[3] != "0" {
            throw ChaosFailure("events of \(row[0]): \(row[2]) doubled, \(row[3]) lost of \(row[1])")
        }
        return "events \(rows.map { $0[1] }.joined(separator: " + ")), lost 0, doubled 0"
    }

    /// As the node itself says; nil: it does not answer.
    private func pendingEvents(of member: Member) async throws -> Int? {
        // Not yet, is all that no answer says.
        let text = try? await Shell.output("curl -sf --max-time 2 \(member.url)/metrics/prometheus")
        let line = text?.split(separator: "\n").first { $0.hasPrefix("orchestry_outbox_events{") }
        return line?.split(separator: " ").last.flatMap { Double($0) }.map { Int($0) }
    }
}

extension Shell {
    fileprivate static func output(_ script: String) async throws -> String {
        try await onOwnThread { try run(script) }
    }
}
