import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Whether the real parts are here. `configs/dev/test` installs them and sets the variable, which turns a missing
/// service from a reason to skip into a failure.
let servicesExpected =
    ProcessInfo.processInfo.environment["ORCHESTRY_DEV_REQUIRE_SERVICES"] != nil
    || (TestEngine.isInstalled
        && FileManager.default.fileExists(atPath: "/usr/sbin/nginx"))

/// The main job on real parts: three processes, PostgreSQL, the engine, nginx.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct MainJobTests {
    @Test func `apps are registered, run, routed by host name, scaled, stopped and deleted through any node`()
        async throws
    {
        try await withCluster("life") { cluster in
            _ = try await cluster.leader()
            let (first, second, third) = (cluster.members[0], cluster.members[1], cluster.members[2])
            for (app, member) in [("web", first), ("shop", second)] {
                let answer = try await cluster.post("/apps/register", Cluster.document(app), to: member)
                #expect(answer.status == 200, "\(answer.text)")
                #expect(answer.json["status"] == "registered")
            }
            #expect(try await cluster.get("/apps/web/status", from: third).json["status"] == "stopped")
            #expect(try await cluster.post("/apps/web/up", to: third).json["started"] == 1)
            #expect(try await cluster.post("/apps/shop/scale", ["replicas": 2], to: first).json["status"] == "scaled")
            try await cluster.waitForReady("web", 1, via: second)
            try await cluster.waitForReady("shop", 2, via: third)

            // Each app by its name, through every node's nginx; a stranger's name reaches neither.
            for member in cluster.members {
                for app in ["web", "shop"] {
                    let answer = try await cluster.app(app, via: member)
                    #expect(answer.status == 200, "\(app) via \(member.id): \(answer.text)")
                    #expect(answer.json["instance"]?.stringValue?.hasPrefix("\(app)-") == true, "\(answer.text)")
                }
                #expect(try await cluster.app("stranger", via: member).status == 404)
            }

            let list = try await cluster.get("/apps", from: second).json["apps"]?.arrayValue ?? []
            #expect(list.compactMap { $0["name"]?.stringValue } == ["shop", "web"])
            let logs = try await cluster.get("/apps/shop/logs", from: first)
            #expect(logs.json["total_containers"] == 2)
            #expect(
                logs.json["logs"]?.arrayValue?.count { $0["message"]?.stringValue?.contains("listening") == true } == 2)

            #expect(try await cluster.post("/apps/web/down", to: second).json["containers_stopped"] == 1)
            try await cluster.waitForReady("web", 0, via: first)
            #expect(try await cluster.app("web", via: first).status == 503)
            #expect(try await cluster.app("shop", via: first).status == 200)
            #expect(try await cluster.delete("/apps/shop", from: third).json["status"] == "deleted")
            #expect(try await cluster.get("/apps/shop/status", from: first).status == 404)
            try await eventuallyTrue("containers of a deleted app are removed") {
                try cluster.containers(of: "shop").isEmpty
            }
            try await eventuallyTrue("the way of both apps is in the events") {
                let events = try await cluster.get("/events?limit=200", from: second).json["events"]?.arrayValue ?? []
                let kinds = Set(events.compactMap { $0["event_type"]?.stringValue })
                return kinds.isSuperset(of: [
                    "leader_elected", "app_registered", "app_started", "instance_created", "instance_ready",
                    "scale_requested", "app_stopped", "instance_stopped", "app_deleted",
                ])
            }
        }
    }

    @Test func `a leader's death costs no write, restarts no container, and another leads`() async throws {
        try await withCluster("failover") { cluster in
            let leader = try await cluster.leader()
            let survivors = cluster.members.filter { $0.id != leader }
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: survivors[0])
            _ = try await cluster.post("/apps/web/scale", ["replicas": 3], to: survivors[0])
            try await cluster.waitForReady("web", 3, via: survivors[0])
            let before = try cluster.containers(of: "web")

            // Writes through a survivor, and requests through its nginx, while the leader dies.
            let (writing, requesting) = (Progress(), Progress())
            async let written = write(through: survivors[0], on: cluster, for: .seconds(6), writing)
            async let requested = request("web", through: survivors[1], on: cluster, for: .seconds(6), requesting)
            try await writing.reaches(20)
            try await requesting.reaches(20)
            await cluster.kill(leader)
            let (writes, requests) = try await (written, requested)
            #expect(writes.failed.isEmpty, "\(writes.failed)")
            #expect(writes.done > 50)
            #expect(requests.failed.isEmpty, "\(requests.failed)")
            #expect(requests.done > 50)
            print(
                "leader killed: \(writes.done) writes, longest \(writes.longest); \(requests.done) requests, longest \(requests.longest)"
            )

            let next = try await cluster.leader(via: survivors[0])
            #expect(next != leader)
            // Every acknowledged write is there: the policy holds the last one's number.
            let policy = try await cluster.get("/apps/web/raw", from: survivors[1]).json["raw"]?["scaling"]
            #expect(policy?["maxReplicas"]?.intValue == 6 + writes.done)

            // The dead node's containers run on, and it adopts them when it returns.
            try await cluster.start(cluster.member(leader))
            try await cluster.waitForReady("web", 3, via: cluster.member(leader), deadline: .seconds(40))
            #expect(try cluster.containers(of: "web") == before)
        }
    }

    @Test func `a killed container is replaced and said so, traffic goes on`() async throws {
        try await withCluster("heal") { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: member)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 2], to: member)
            try await cluster.waitForReady("web", 2, via: member)
            let before = try cluster.containers(of: "web")
            let requesting = Progress()
            async let requested = request("web", through: member, on: cluster, for: .seconds(5), requesting)
            try await requesting.reaches(20)
            let victim = try #require(before.values.sorted().first)
            try Cluster.docker(["kill", victim])
            let requests = try await requested
            #expect(requests.failed.isEmpty, "\(requests.failed)")
            try await cluster.waitForReady("web", 2, via: member)
            let after = try cluster.containers(of: "web")
            #expect(after.count == 2)
            #expect(!after.values.contains(victim))
            try await eventuallyTrue("the exit and the restart are events") {
                let events = try await cluster.get("/events?app=web&limit=100", from: member).json["events"]?.arrayValue
                let kinds = Set((events ?? []).compactMap { $0["event_type"]?.stringValue })
                return kinds.isSuperset(of: ["instance_exited", "instance_restarted"])
            }
        }
    }

    @Test func `all nodes killed and started again: containers adopted, windows rebuilt, state as before`() async throws
    {
        try await withCluster("restart") { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: member)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 3], to: member)
            try await cluster.waitForReady("web", 3, via: member)
            // Some traffic for the windows to remember, through the first node's nginx.
            for _ in 0..<100 { _ = try await cluster.app("web", via: member) }
            try await eventuallyTrue("the traffic is in the metrics") {
                (try await cluster.get("/apps/web/metrics", from: member).json["metrics"]?["metrics"]?["rps"]?
                    .doubleValue ?? 0) > 1
            }
            let before = try cluster.containers(of: "web")
            for member in cluster.members { await cluster.kill(member.id) }
            // nginx and the containers don't need the nodes.
            #expect(try await cluster.app("web", via: member).status == 200)
            for member in cluster.members { try await cluster.start(member) }
            _ = try await cluster.leader()
            let metrics = try await cluster.get("/apps/web/metrics", from: member)
            #expect(
                (metrics.json["metrics"]?["metrics"]?["rps"]?.doubleValue ?? 0) > 0.5,
                "the window of before the restart: \(metrics.text)")
            try await cluster.waitForReady("web", 3, via: member)
            #expect(try cluster.containers(of: "web") == before)
            #expect(try await cluster.app("web", via: cluster.members[2]).status == 200)
        }
    }

    @Test func `load scales the app out, its end scales it in, each step with its reason`() async throws {
        try await withCluster("scale") { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[1]
            let scaling: JSONValue = [
                "mode": "auto", "minReplicas": 1, "maxReplicas": 3, "targetRPSPerReplica": 20, "windowSeconds": 4,
                "cooldownSeconds": 2, "stabilizationWindowSeconds": 4,
            ]
            _ = try await cluster.post("/apps/register", Cluster.document("web", scaling: scaling), to: member)
            _ = try await cluster.post("/apps/web/up", to: member)
            try await cluster.waitForReady("web", 1, via: member)
            let load = try await request(
                "web", through: member, on: cluster, for: .seconds(14), pause: .milliseconds(8))
            #expect(load.failed.isEmpty, "\(load.failed)")
            let history = try await eventualHistory(of: "web", on: cluster)
            #expect(history.contains { $0.from < $0.to && $0.reason.contains("rps") }, "\(history)")
            #expect(history.contains { $0.from > $0.to }, "\(history)")
            try await cluster.waitForReady("web", 1, via: member)
        }
    }

    // MARK: Helpers

    private func eventualHistory(of app: String, on cluster: Cluster) async throws -> [(
        from: Int, to: Int, reason: String
    )] {
        var history: [(from: Int, to: Int, reason: String)] = []
        try await eventuallyTrue("the app scales out and in", within: .seconds(60)) {
            let answer = try await cluster.get("/apps/\(app)/metrics", from: cluster.members[0])
            history = (answer.json["scaling_history"]?.arrayValue ?? []).map {
                (
                    $0["from_replicas"]?.intValue ?? 0, $0["to_replicas"]?.intValue ?? 0,
                    $0["trigger_reason"]?.stringValue ?? ""
                )
            }
            return history.first?.to == 1 && history.contains { $0.from < $0.to }
        }
        return history
    }
}

func eventuallyTrue(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(15), _ condition: () async throws -> Bool
) async throws {
    guard try await eventually(within: limit, every: .milliseconds(100), condition) else {
        throw TestFailure("not within \(limit): \(what())")
    }
}
