import Foundation
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

/// Several hosts, of which one is cut off and comes back. See `HostCluster`.
@Suite(
    .serialized,
    .enabled(if: servicesExpected && PrivateEngine.obstacle == nil, "\(PrivateEngine.obstacle ?? "needs PostgreSQL")"),
    .timeLimit(.minutes(6)))
struct HostTests {
    /// Takes minutes: `ORCHESTRY_DEV_THREE_HOSTS=1 swift test --filter HostTests`.
    private static let isLongWanted = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_THREE_HOSTS"] != nil

    /// What is cut off: `leader`, or a node's name.
    private struct Story {
        var workers: Int
        var controllersRunContainers: Bool
        var deadAfter: String
        var victim: String
        var replicas: Int
    }

    @Test(.enabled(if: isLongWanted, "takes two minutes: set ORCHESTRY_DEV_THREE_HOSTS"))
    func `three hosts, the leader's is cut off for longer than 30 s`() async throws {
        try await play(
            Story(workers: 0, controllersRunContainers: true, deadAfter: "30s", victim: "leader", replicas: 6))
    }

    @Test func `two worker hosts, one is cut off`() async throws {
        try await play(
            Story(workers: 2, controllersRunContainers: false, deadAfter: "6s", victim: "worker-2", replicas: 4))
    }

    private func play(_ story: Story) async throws {
        try await withHosts(
            workers: story.workers, controllersRunContainers: story.controllersRunContainers,
            deadAfter: story.deadAfter
        ) { cluster in
            let engines = cluster.hosts.filter { $0.engine != nil }
            try await waitForNodes(engines, of: cluster)
            let leader = try #require(
                try await cluster.get("/cluster/leader", from: cluster.hosts[0])["leader_id"]?.stringValue)
            let victim = cluster.host(story.victim == "leader" ? leader : story.victim)
            let survivors = cluster.hosts.filter { $0.node != victim.node }
            let asked = survivors[0]

            try await cluster.post("/apps/register", Cluster.document("web"), to: asked)
            try await cluster.post("/apps/web/scale", ["replicas": JSONValue(story.replicas)], to: asked)
            let each = story.replicas / engines.count
            try await eventuallyTrue("the app runs on all hosts alike", within: .seconds(60)) {
                try await cluster.placement(of: "web", via: asked)
                    == Dictionary(uniqueKeysWithValues: engines.map { ($0.node.rawValue, each) })
            }
            let stale = try await onOwnThread { try cluster.containers(on: victim) }
            #expect(stale.count == each)
            for host in survivors {
                try await eventuallyTrue("nginx of \(host.node) serves the app") {
                    try await cluster.send(.GET, "http://\(host.address):8080/", headers: [("Host", "web")]).status
                        == 200
                }
            }

            // From here on requests go to every surviving host, until all is over.
            let progress = Progress()
            let loads = survivors.map { host in
                Task { try await cluster.load("web", through: host, clients: 4, for: .seconds(300), progress) }
            }
            defer { progress.end() }
            try await progress.reaches(400)
            let term = try await cluster.get("/cluster/leader", from: asked)["term"]
            let moved = try await cutOff(victim, from: cluster, asking: asked, story)
            // It goes on by itself meanwhile.
            #expect(try await onOwnThread { try cluster.containers(on: victim) } == stale)
            let back = try await bringBack(victim, stale, to: cluster, asking: asked, story, since: term)
            progress.end()
            var total = Outcome()
            for load in loads {
                let outcome = try await load.value
                total.done += outcome.done
                total.failed += outcome.failed
                total.longest = max(total.longest, outcome.longest)
            }
            print(
                """
                \(cluster.hosts.count) hosts, \(engines.count) engines, \(victim.node)\(victim.node.rawValue == leader ? " (leader)" : "") cut off, \
                dead_after \(story.deadAfter): \(each) of \(story.replicas) instances re-placed and ready after \(moved); \
                back: stale ones removed after \(back). \(total.done) GETs through \(survivors.count) surviving nginx, \
                \(total.failed.count) failed, longest \(total.longest)
                """)
            #expect(total.failed.isEmpty, "\(total.failed.prefix(5))")
            #expect(total.done > 1_000)
            let kinds = try await Set(cluster.events(from: asked).compactMap { $0["event_type"]?.stringValue })
            #expect(kinds.isSuperset(of: ["node_lost", "host_unreachable"]), "\(kinds)")
        }
    }

    @Test(.enabled(if: isLongWanted, "takes a minute: set ORCHESTRY_DEV_THREE_HOSTS"))
    func `the container engine of one of two hosts is restarted`() async throws {
        try await withHosts(workers: 2, controllersRunContainers: false, deadAfter: "30s") { cluster in
            let engines = cluster.hosts.filter { $0.engine != nil }
            try await waitForNodes(engines, of: cluster)
            let (victim, asked) = (cluster.host("worker-2"), cluster.hosts[0])
            try await cluster.post("/apps/register", Cluster.document("web"), to: asked)
            try await cluster.post("/apps/web/scale", ["replicas": 4], to: asked)
            let even: [String: Int] = ["worker-1": 2, "worker-2": 2]
            try await eventuallyTrue("the app runs on both hosts", within: .seconds(60)) {
                try await cluster.placement(of: "web", via: asked) == even
            }
            let progress = Progress()
            let loads = cluster.hosts.map { host in
                Task { try await cluster.load("web", through: host, clients: 1, for: .seconds(300), progress) }
            }
            defer { progress.end() }
            try await progress.reaches(200)
            let writer = Task {
                var acknowledged: [String] = []
                var number = 0
                while !progress.isOver {
                    number += 1
                    let key = "fault-write-\(number)"
                    let answer = try await cluster.send(
                        .POST, asked.url + "/apps/web/policy",
                        body: ["policy": ["maxReplicas": JSONValue(7 + number % 90)]],
                        headers: [("Idempotency-Key", key)])
                    guard answer.status == 200 else { throw TestFailure("\(answer.status) \(answer.text)") }
                    acknowledged.append(key)
                    try await Task.sleep(for: .milliseconds(50))  // The rate of the load.
                }
                return acknowledged
            }
            let before = try await onOwnThread { Set(try cluster.containers(on: victim).values) }
            let begun = ContinuousClock.now
            try await onOwnThread { try victim.engine?.restart() }
            let ended = ContinuousClock.now - begun
            try await eventuallyTrue(
                "all four instances are ready again, in new containers there", within: .seconds(90)
            ) {
                guard try await cluster.placement(of: "web", via: asked)?.values.reduce(0, +) == 4 else { return false }
                // The daemon may not answer yet.
                let now = try? await onOwnThread { Set(try cluster.containers(on: victim).values) }
                return now.map { $0.isDisjoint(with: before) } ?? false
            }
            let back = ContinuousClock.now - begun
            progress.end()
            var total = Outcome()
            for load in loads {
                let outcome = try await load.value
                total.done += outcome.done
                total.failed += outcome.failed
                total.longest = max(total.longest, outcome.longest)
            }
            let acknowledged = try await writer.value
            for host in cluster.hosts {
                try await eventuallyTrue("the outbox of \(host.node) is empty", within: .seconds(30)) {
                    let text = try await cluster.send(.GET, host.url + "/metrics/prometheus").text
                    let line = text.split(separator: "\n").first { $0.hasPrefix("orchestry_outbox_events{") }
                    return line?.hasSuffix(" 0.0") ?? true
                }
            }
            let postgres = cluster.postgres
            let stored = try await onOwnThread {
                try StoredRecords { try postgres.query($0, on: postgres.connectionString(database: "test_1")) }
            }
            print(
                """
                fault engine: restarted on one of two hosts, down for \(ended); 4 of 4 ready again after \(back); requests \
                \(total.done) ok, \(total.failed.count) failed, slowest \(total.longest); writes \(acknowledged.count) \
                acknowledged, \(acknowledged.count { stored.writes[$0] == nil }) lost; events \(stored.events), \
                \(stored.lostEvents) lost, \(stored.doubledEvents) doubled
                """)
            #expect(!acknowledged.isEmpty && acknowledged.allSatisfy { stored.writes[$0] == 1 })
            #expect(stored.events > 0 && stored.lostEvents == 0 && stored.doubledEvents == 0)
            #expect(total.failed.isEmpty, "\(total.failed.prefix(5))")
        }
    }

    private func waitForNodes(_ wanted: [HostCluster.Host], of cluster: HostCluster) async throws {
        try await eventuallyTrue("all nodes are ready", within: .seconds(60)) {
            // A node that does not listen yet is not ready.
            guard let answer = try? await cluster.get("/nodes", from: cluster.hosts[0]) else { return false }
            let ready = (answer["nodes"]?.arrayValue ?? []).filter { $0["state"] == "ready" }
                .compactMap { $0["node_id"]?.stringValue }
            return Set(ready) == Set(wanted.map(\.node.rawValue))
        }
    }

    /// - Returns: from the cut until as many instances as before are ready on the others.
    private func cutOff(
        _ victim: HostCluster.Host, from cluster: HostCluster, asking asked: HostCluster.Host, _ story: Story
    ) async throws -> Duration {
        let cut = ContinuousClock.now
        try await onOwnThread { try cluster.lab.unplug(victim.name) }
        try await eventuallyTrue("its instances are placed anew", within: .seconds(90)) {
            // While another leader is elected there may be no answer.
            guard let placement = try? await cluster.placement(of: "web", via: asked) else { return false }
            return placement[victim.node.rawValue] == nil && placement.values.reduce(0, +) == story.replicas
        }
        return ContinuousClock.now - cut
    }

    /// - Returns: from the cable's return until the containers that ran there are gone.
    private func bringBack(
        _ victim: HostCluster.Host, _ stale: [String: String], to cluster: HostCluster,
        asking asked: HostCluster.Host, _ story: Story, since term: JSONValue?
    ) async throws -> Duration {
        let back = ContinuousClock.now
        try await onOwnThread { try cluster.lab.plugIn(victim.name) }
        let engines = cluster.hosts.filter { $0.engine != nil }
        try await eventuallyTrue("what is too many is removed", within: .seconds(60)) {
            try await onOwnThread { try engines.map { try cluster.containers(on: $0).count }.reduce(0, +) }
                == story.replicas
        }
        let duration = ContinuousClock.now - back
        // A leader that has come since can't know which are stale: it keeps those that are ready.
        if story.victim != "leader", try await cluster.get("/cluster/leader", from: asked)["term"] == term {
            let left = try await onOwnThread { Set(try cluster.containers(on: victim).values) }
            #expect(left.isDisjoint(with: stale.values))
        }
        try await eventuallyTrue("the app is as it should be", within: .seconds(30)) {
            try await cluster.placement(of: "web", via: asked)?.values.reduce(0, +) == story.replicas
        }
        return duration
    }
}
