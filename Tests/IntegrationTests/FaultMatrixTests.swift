import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Half a minute more than others: ORCHESTRY_DEV_LONG_TESTS=1.
private let isLong = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_LONG_TESTS"] != nil

/// Faults under traffic through nginx, on real containers. Each prints what it cost.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(8)))
struct FaultMatrixTests {
    private func withApp(_ label: String, _ body: (Cluster) async throws -> Void) async throws {
        try await withCluster(label) { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: member)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 3], to: member)
            try await cluster.waitForReady("web", 3, via: member)
            try await body(cluster)
        }
    }

    /// Every event of every outbox once, when all have been flushed.
    private func account(of cluster: Cluster) async throws -> String {
        for member in cluster.members {
            try await eventuallyTrue("the outbox of \(member.id) is empty", within: .seconds(60)) {
                let text = try await cluster.get("/metrics/prometheus", from: member).text
                let line = text.split(separator: "\n").first { $0.hasPrefix("orchestry_outbox_events{") }
                return line?.hasSuffix(" 0.0") == true
            }
        }
        let rows = try cluster.postgres.query(
            """
            SELECT sum(n), sum(n - d), sum(span - d) FROM (
                SELECT count(*) n, count(DISTINCT sequence) d, max(sequence) - min(sequence) + 1 span
                FROM events WHERE sequence > 0 GROUP BY node_id) AS nodes
            """, on: cluster.database)
        #expect(rows.hasSuffix("|0|0"), "events, doubled, lost: \(rows)")
        return "events, doubled, lost: \(rows)"
    }

    private func kinds(_ cluster: Cluster) throws -> [String: Int] {
        let rows = try cluster.postgres.query(
            "SELECT event_type, count(*) FROM events GROUP BY 1", on: cluster.database)
        return Dictionary(
            rows.split(separator: "\n").compactMap { row in
                let parts = row.split(separator: "|")
                return parts.count == 2 ? (String(parts[0]), Int(parts[1]) ?? 0) : nil
            }, uniquingKeysWith: { first, _ in first })
    }

    @Test func `PostgreSQL is away, containers and the leader are killed meanwhile`() async throws {
        let seconds = isLong ? 60 : 12
        try await withApp("nodb") { cluster in
            let leader = try await cluster.leader()
            let survivors = cluster.members.filter { $0.id != leader }
            let before = try kinds(cluster)["instance_exited"] ?? 0
            let (first, second) = (Progress(), Progress())
            let length = Duration.seconds(seconds + 8)
            async let one = request("web", through: survivors[0], on: cluster, for: length, first)
            // The dead leader's nginx goes on, too.
            async let other = request("web", through: cluster.member(leader), on: cluster, for: length, second)
            try await first.reaches(20)
            try await second.reaches(20)
            let server = cluster.postgres
            try await onOwnThread { server.stop(immediately: true) }
            var killed = 0
            let begun = ContinuousClock.now
            let restartAfter = Duration.seconds(seconds / 2)
            var isDown = false
            while ContinuousClock.now - begun < .seconds(seconds) {
                if let container = try cluster.containers(of: "web").values.sorted().first {
                    try Cluster.docker(["kill", container])
                    killed += 1
                }
                if !isDown, ContinuousClock.now - begun > .seconds(seconds / 4) {
                    await cluster.kill(leader)
                    isDown = true
                }
                let write = try await cluster.post("/apps/web/scale", ["replicas": 2], to: survivors[1])
                #expect(write.status == 503 && write.headers.first(name: "Retry-After") != nil, "\(write.text)")
                if isDown, ContinuousClock.now - begun > restartAfter,
                    await cluster.processes.identifier(of: leader) == nil
                {
                    try await cluster.start(cluster.member(leader))
                }
                try await Task.sleep(for: .seconds(3))
            }
            try await onOwnThread { try server.start() }
            let back = ContinuousClock.now
            try await eventuallyTrue("a write is accepted again", within: .seconds(30)) {
                try await cluster.post("/apps/web/policy", ["policy": ["maxReplicas": 9]], to: survivors[0]).status
                    == 200
            }
            let waited = ContinuousClock.now - back
            let (served, servedThere) = try await (one, other)
            #expect(
                served.failed.isEmpty && servedThere.failed.isEmpty,
                "\(served.failed.prefix(3)) \(servedThere.failed.prefix(3))")
            if await cluster.processes.identifier(of: leader) == nil { try await cluster.start(cluster.member(leader)) }
            try await cluster.waitForReady("web", 3, via: survivors[0], deadline: .seconds(90))
            let events = try await account(of: cluster)
            let exits = (try kinds(cluster)["instance_exited"] ?? 0) - before
            print(
                """
                fault nodb: PostgreSQL away for \(seconds) s, \(killed) containers and the leader killed; next write \
                \(waited) after its return; requests ok \(served.done + servedThere.done), failed \
                \(served.failed.count + servedThere.failed.count); exits of containers on record \(exits); \(events)
                """)
            #expect(exits >= killed - 1, "a container killed while its node was dead is found gone, not seen to end")
        }
    }

    @Test func `nginx is killed on one node and comes back by itself`() async throws {
        try await withApp("nonginx") { cluster in
            let (victim, other) = (cluster.members[0], cluster.members[1])
            let progress = Progress()
            async let elsewhere = request("web", through: other, on: cluster, for: .seconds(6), progress)
            try await progress.reaches(20)
            let master = try nginx(of: victim)
            // All of its processes at once.
            try await onOwnThread {
                try Shell.run("pids=$(pgrep -P $1 | tr '\\n' ' '); kill -9 $1 $pids", [String(master)])
            }
            let begun = ContinuousClock.now
            try await eventuallyTrue("its nginx serves again", within: .seconds(30)) {
                // Refused, until it is back.
                (try? await cluster.app("web", via: victim).status) == 200
            }
            let back = ContinuousClock.now - begun
            let requests = try await elsewhere
            #expect(requests.failed.isEmpty, "\(requests.failed)")
            print(
                "fault nonginx: nginx killed (SIGKILL), serves again after \(back); through another node ok \(requests.done), failed \(requests.failed.count)"
            )
        }
    }

    private func nginx(of member: Cluster.Member) throws -> pid_t {
        let folder = member.folder + "/data/proxy"
        let files = FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? []
        for file in files where file.hasSuffix(".pid") {
            let text = try String(contentsOfFile: folder + "/" + file, encoding: .utf8)
            if let id = pid_t(text.filter(\.isNumber)), id > 1 { return id }
        }
        throw TestFailure("\(member.id) has no nginx")
    }

    @Test func `everything is killed at once and started again`() async throws {
        try await withApp("all") { cluster in
            let member = cluster.members[0]
            var accepted = 6
            for number in 7...16 {
                let answer = try await cluster.post(
                    "/apps/web/policy", ["policy": ["maxReplicas": JSONValue(number)]], to: member)
                if answer.status == 200 { accepted = number }
            }
            let before = try cluster.containers(of: "web")
            let masters = try cluster.members.map { try nginx(of: $0) }
            let server = cluster.postgres
            try await onOwnThread {
                server.stop(immediately: true)
                try Shell.run(
                    "for id in \"$@\"; do pids=$(pgrep -P $id | tr '\\n' ' '); kill -9 $id $pids; done",
                    masters.map { String($0) })
            }
            for member in cluster.members { await cluster.kill(member.id) }
            try Cluster.docker(["kill"] + before.values.sorted())
            let begun = ContinuousClock.now
            try await onOwnThread { try server.start() }
            for member in cluster.members { try await cluster.start(member) }
            for member in cluster.members {
                try await eventuallyTrue("the app is served through \(member.id)", within: .seconds(90)) {
                    (try? await cluster.app("web", via: member).status) == 200  // Refused, until it is back.
                }
            }
            let served = ContinuousClock.now - begun
            try await cluster.waitForReady("web", 3, via: member, deadline: .seconds(90))
            let policy = try await cluster.get("/apps/web/raw", from: cluster.members[1]).json["raw"]?["scaling"]
            #expect(policy?["maxReplicas"]?.intValue == accepted, "the last acknowledged write")
            let events = try await account(of: cluster)
            print(
                "fault all: nodes, nginx, PostgreSQL and containers killed at once; served through all nodes again after \(served); \(events)"
            )
        }
    }
}
