import Foundation
import OrchestryModel
import Testing

/// Rollouts and drained nodes on real parts: three processes, PostgreSQL, the engine, nginx.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(8)))
struct RolloutTests {
    private static let scaling: JSONValue = ["mode": "manual", "minReplicas": 1, "maxReplicas": 6]

    /// The demo app with these variables and this rollout policy.
    private func document(
        _ environment: [String: String] = [:], rollout: JSONValue = [:], image: String = Cluster.image
    ) -> JSONValue {
        var document = Cluster.document("web", scaling: Self.scaling, image: image).objectValue ?? [:]
        var spec = document["spec"]?.objectValue ?? [:]
        spec["rollout"] = rollout
        spec["environment"] = .array(
            environment.sorted { $0.key < $1.key }.map { ["name": .string($0.key), "value": .string($0.value)] })
        document["spec"] = .object(spec)
        return .object(document)
    }

    private func start(_ document: JSONValue, _ replicas: Int, on cluster: Cluster) async throws -> Cluster.Member {
        _ = try await cluster.leader()
        let member = cluster.members[0]
        let answer = try await cluster.post("/apps/register", document, to: member)
        #expect(answer.status == 200, "\(answer.text)")
        _ = try await cluster.post("/apps/web/scale", ["replicas": JSONValue(replicas)], to: member)
        try await cluster.waitForReady("web", replicas, via: member, deadline: .seconds(60))
        return member
    }

    private func canary(weightPercent: Int64, minRequests: Int64) -> JSONValue {
        [
            "strategy": "canary", "progressDeadlineSeconds": 180,
            "canary": [
                "weightPercent": .int(weightPercent), "intervalSeconds": 8, "minRequests": .int(minRequests),
                "maxErrorRatePct": 1,
            ],
        ]
    }

    /// Three good instances, and under load a revision some of whose answers are errors, until it is settled.
    private func deployCanary(errorPercent: Int, _ policy: JSONValue, on cluster: Cluster) async throws
        -> (member: Cluster.Member, before: Set<String>, load: LoadCounter)
    {
        let member = try await start(document(rollout: policy), 3, on: cluster)
        let before = Set(try cluster.containers(of: "web").values)
        let bad = document(["ERROR_PERCENT": String(errorPercent)], rollout: policy)
        return (member, before, try await deployUnderLoad(bad, cluster, member))
    }

    private func rollout(_ cluster: Cluster, _ member: Cluster.Member) async throws -> JSONValue {
        try await cluster.get("/apps/web/rollout", from: member).json
    }

    private func kinds(_ cluster: Cluster, _ member: Cluster.Member) async throws -> Set<String> {
        let events = try await cluster.get("/events?limit=500", from: member).json["events"]?.arrayValue ?? []
        return Set(events.compactMap { $0["event_type"]?.stringValue })
    }

    @Test func `a revision with a few percent of errors is stopped by its canary, the old one serves all the time`()
        async throws
    {
        try await withCluster("canary") { cluster in
            let policy = canary(weightPercent: 20, minRequests: 60)
            let (member, before, load) = try await deployCanary(errorPercent: 8, policy, on: cluster)
            let shown = try await rollout(cluster, member)
            #expect(shown["revision"] == 3 && shown["restores"] == 1)
            #expect(shown["reason"]?.stringValue?.contains("canary") == true, "\(shown)")
            let status = try await cluster.get("/apps/web/status", from: member)
            #expect(status.json["explanation"]?.stringValue?.contains("requests failed") == true, "\(status.text)")
            try await cluster.waitForReady("web", 3, via: member)
            // None of the old ones was so much as restarted.
            #expect(Set(try cluster.containers(of: "web").values) == before)
            let (good, bad) = await (load.good, load.bad)
            // 20% of the traffic met 8% errors, while it lasted.
            #expect(good > 200 && Double(bad) / Double(good + bad) < 0.03, "\(good) good, \(bad) bad")
            try await eventuallyTrue("it is in the events") {
                try await kinds(cluster, member).isSuperset(of: ["canary_started", "canary_failed", "rolled_back"])
            }
            let revisions =
                try await cluster.get("/apps/web/revisions", from: member).json["revisions"]?.arrayValue ?? []
            #expect(
                revisions.map { $0["state"]?.stringValue ?? "" } == ["succeeded", "failed", "none"], "\(revisions)")

            // The same without the errors passes, and the rest follows.
            _ = try await cluster.post("/apps/register", document(["MODE": "good"], rollout: policy), to: member)
            let outcome = try await request(
                "web", through: member, on: cluster, for: .seconds(14), pause: .milliseconds(8))
            #expect(outcome.failed.isEmpty, "\(outcome.failed)")
            try await eventuallyTrue("the good revision serves", within: .seconds(120)) {
                _ = try await request("web", through: member, on: cluster, for: .seconds(1))
                let now = try await rollout(cluster, member)
                return now["revision"] == 4 && now["state"] == "succeeded"
            }
            try await eventuallyTrue("the old ones have gone", within: .seconds(30)) {
                Set(try cluster.containers(of: "web").values).isDisjoint(with: before)
            }
        }
    }

    /// 3% is what the canary is for: too little for a look at a log, enough to hurt. Of 300 requests with 3% errors at
    /// random, at most 1% fail (so that it would pass) once in 50 times; the demo spreads its errors evenly, and what is
    /// to be shown is the way through the real parts: counted by nginx, compared by the leader, taken back.
    @Test func `a revision with 3% of errors, which is more than 1% allowed, is judged by its requests and taken back`()
        async throws
    {
        try await withCluster("canary3") { cluster in
            let policy = canary(weightPercent: 30, minRequests: 300)
            let (member, before, load) = try await deployCanary(errorPercent: 3, policy, on: cluster)
            try await eventuallyTrue("the verdict is in the events") {
                try await kinds(cluster, member).isSuperset(of: ["canary_started", "canary_failed", "rolled_back"])
            }
            let events = try await cluster.get("/events?limit=500", from: member).json["events"]?.arrayValue ?? []
            let verdict = try #require(events.first { $0["event_type"] == "canary_failed" })
            let figures = try #require(verdict["details"]?["figures"], "\(verdict)")
            let new = try #require(figures["new"], "\(verdict)")
            // Judged by enough of them, and by what they were.
            let rate = try #require(new["errorRatePct"]?.doubleValue)
            #expect((new["requests"]?.intValue ?? 0) >= 100 && (2...4.5).contains(rate), "\(verdict)")
            #expect(figures["old"]?["errors"] == 0, "\(verdict)")
            // Its container is drained first; none of the old ones was so much as restarted.
            try await eventuallyTrue("only the old ones are left", within: .seconds(60)) {
                Set(try cluster.containers(of: "web").values) == before
            }
            let (good, bad) = await (load.good, load.bad)
            // 30% of the traffic met 3% errors, while it lasted.
            #expect(bad > 0 && Double(bad) / Double(good + bad) < 0.015, "\(good) good, \(bad) bad")
        }
    }

    /// Deploys under requests from four clients, until the cluster has gone back by itself.
    private func deployUnderLoad(
        _ document: JSONValue, _ cluster: Cluster, _ member: Cluster.Member
    ) async throws -> LoadCounter {
        let load = LoadCounter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    while !Task.isCancelled {
                        let answer = try await cluster.app("web", via: member)
                        await load.count(answer.status)
                        try await Task.sleep(for: .milliseconds(5))
                    }
                }
            }
            let registered = try await cluster.post("/apps/register", document, to: member)
            #expect(registered.json["revision"] == 2, "\(registered.text)")
            try await eventuallyTrue("the canary stops it", within: .seconds(180)) {
                let now = try await rollout(cluster, member)
                return now["origin"] == "automatic" && now["state"] == "succeeded"
            }
            group.cancelAll()
            while (try? await group.next()) != nil {}  // Cancelled.
        }
        return load
    }

    @Test func `a revision that never becomes ready is rolled back by itself, with the reason in its status`()
        async throws
    {
        try await withCluster("deadline") { cluster in
            let policy: JSONValue = ["maxSurge": "50%", "progressDeadlineSeconds": 5, "minHealthySeconds": 1]
            let member = try await start(document(rollout: policy), 2, on: cluster)
            let before = Set(try cluster.containers(of: "web").values)
            _ = try await cluster.post(
                "/apps/register", document(rollout: policy, image: "orchestry-demo:missing"), to: member)
            async let requested = request("web", through: member, on: cluster, for: .seconds(8))
            try await eventuallyTrue("it goes back", within: .seconds(60)) {
                let now = try await rollout(cluster, member)
                return now["origin"] == "automatic" && now["state"] == "succeeded"
            }
            let requests = try await requested
            #expect(requests.failed.isEmpty && requests.done > 50, "\(requests)")
            let status = try await cluster.get("/apps/web/status", from: member)
            #expect(status.json["explanation"]?.stringValue?.contains("made no progress") == true, "\(status.text)")
            #expect(status.json["desired_replicas"] == 2)
            #expect(Set(try cluster.containers(of: "web").values) == before)
            try await release(cluster, member, beside: before)
        }
    }

    /// One release command that fails and one that does not.
    private func release(_ cluster: Cluster, _ member: Cluster.Member, beside before: Set<String>) async throws {
        func register(_ code: String) async throws {
            let step: JSONValue = ["command": ["/demo-server", "exit", .string(code), "the column", "is there"]]
            let answer = try await cluster.post(
                "/apps/register", document(["CODE": code], rollout: ["release": step]), to: member)
            #expect(answer.status == 200, "\(answer.text)")
        }
        try await register("3")
        try await eventuallyTrue("it goes back", within: .seconds(60)) {
            let now = try await rollout(cluster, member)
            return now["restores"] == 3
                && now["reason"]?.stringValue?.contains("exit code 3: the column is there") == true
                && now["state"] == "succeeded"
        }
        let events = try await cluster.get("/events?limit=500", from: member).json["events"]?.arrayValue ?? []
        let failed = events.filter { $0["event_type"] == "rollout_failed" }
        #expect(
            failed.contains { $0["details"]?["output"]?.stringValue?.contains("the column is there") == true },
            "\(failed)")
        #expect(failed.allSatisfy { $0["category"] == "application" && $0["recovery"]?.stringValue?.isEmpty == false })
        #expect(
            events.count { $0["event_type"] == "instance_exited" } == 1, "it was run once: \(events)")
        try await eventuallyTrue("only the old ones are left", within: .seconds(30)) {
            try cluster.containers(of: "web").values.sorted() == before.sorted()
        }
        try await register("0")
        try await eventuallyTrue("the rollout follows", within: .seconds(60)) {
            let now = try await rollout(cluster, member)
            return now["origin"] == "deploy" && now["state"] == "succeeded"
        }
        try await eventuallyTrue("its step is removed", within: .seconds(30)) {
            let left = try cluster.containers(of: "web").values
            return left.count == 2 && before.isDisjoint(with: left)
        }
    }

    @Test func `a rollout is paused across a leader's death, resumed, and rolled back, and loses no request`()
        async throws
    {
        try await withCluster("steer") { cluster in
            var member = try await start(document(), 3, on: cluster)
            let leader = try await cluster.leader()
            member = try #require(cluster.members.first { $0.id != leader })
            let through = member
            async let requested = request(
                "web", through: through, on: cluster, for: .seconds(25), pause: .milliseconds(5))
            _ = try await cluster.post("/apps/register", document(["MODE": "new"]), to: member)
            let paused = try await cluster.post("/apps/web/rollout/pause", to: member)
            #expect(paused.json["status"] == "paused", "\(paused.text)")
            #expect(try await cluster.post("/apps/web/rollout/pause", to: member).json["status"] == "no_change")
            await cluster.kill(leader)
            _ = try await cluster.leader(via: member)
            try await eventuallyTrue("the next leader knows that it is paused", within: .seconds(20)) {
                try await rollout(cluster, member)["state"] == "paused"
            }
            #expect(try await rollout(cluster, member)["from"] == 1)
            #expect(try await cluster.post("/apps/web/scale", ["replicas": 4], to: member).json["status"] == "scaled")
            #expect(try await cluster.post("/apps/web/rollout/resume", to: member).json["status"] == "resumed")
            try await cluster.start(cluster.member(leader))
            try await eventuallyTrue("it is done", within: .seconds(90)) {
                try await rollout(cluster, member)["state"] == "succeeded"
            }
            let none = try await cluster.post("/apps/web/rollout/abort", to: member)
            #expect(none.status == 409 && none.json["type"] == "urn:orchestry:problem:no-rollout", "\(none.text)")
            let unknown = try await cluster.post("/apps/web/rollback", ["to": 77], to: member)
            #expect(unknown.status == 404, "\(unknown.text)")
            let key = [("Idempotency-Key", "back-\(UUID().uuidString)")]
            let back = try await cluster.post("/apps/web/rollback", to: member, headers: key)
            #expect(back.json["revision"] == 3 && back.json["restores"] == 1, "\(back.text)")
            #expect(try await cluster.post("/apps/web/rollback", to: member, headers: key).json == back.json)
            try await eventuallyTrue("it is rolled back", within: .seconds(90)) {
                let now = try await rollout(cluster, member)
                return now["revision"] == 3 && now["state"] == "succeeded"
            }
            #expect(try await cluster.get("/apps/web/status", from: member).json["desired_replicas"] == 4)
            let requests = try await requested
            #expect(requests.failed.isEmpty && requests.done > 300, "\(requests)")
        }
    }

    @Test func `instances are spread evenly, a drained node is empty and stays cordoned, and no request is lost`()
        async throws
    {
        try await withCluster("drain") { cluster in
            let member = try await start(document(), 3, on: cluster)
            let leader = try await cluster.leader()
            let node = try #require(cluster.members.first { $0.id != leader }).id
            func shown() async throws -> JSONValue? {
                try await cluster.get("/nodes", from: member).json["nodes"]?.arrayValue?.first {
                    $0["node_id"]?.stringValue == node.rawValue
                }
            }
            // The first instances may have been placed before the last node had joined.
            let spread = try await cluster.post("/cluster/rebalance", ["maxMoves": 2], to: member)
            #expect(spread.json["status"] == "rebalancing", "\(spread.text)")
            try await eventuallyTrue("every node has one", within: .seconds(60)) {
                let nodes = try await cluster.get("/nodes", from: member).json["nodes"]?.arrayValue ?? []
                return nodes.count == 3 && nodes.allSatisfy { $0["instances"] == 1 }
            }
            try await eventuallyTrue("that it is done is an event") {
                try await kinds(cluster, member).isSuperset(of: ["rebalance_started", "rebalance_finished"])
            }
            async let requested = request(
                "web", through: member, on: cluster, for: .seconds(15), pause: .milliseconds(5))
            let answer = try await cluster.post("/nodes/\(node)/drain", ["deadlineSeconds": 120], to: member)
            #expect(answer.json["status"] == "draining", "\(answer.text)")
            try await eventuallyTrue("the node is empty", within: .seconds(90)) {
                let now = try await shown()
                return now?["instances"] == 0 && now?["draining"] == false && now?["cordoned"] == true
            }
            try await cluster.waitForReady("web", 3, via: member)
            let requests = try await requested
            #expect(requests.failed.isEmpty && requests.done > 200, "\(requests)")
            let stranger = try await cluster.post("/nodes/nobody/cordon", to: member)
            #expect(stranger.status == 404, "\(stranger.text)")
            // The next leader knows it too.
            await cluster.terminate(leader)
            let other = try #require(cluster.members.first { $0.id != leader })
            _ = try await cluster.leader(via: other)
            let nodes = try await cluster.get("/nodes", from: other).json["nodes"]?.arrayValue ?? []
            #expect(nodes.first { $0["node_id"]?.stringValue == node.rawValue }?["cordoned"] == true, "\(nodes)")
            #expect(try await cluster.post("/nodes/\(node)/uncordon", to: other).json["status"] == "uncordoned")
        }
    }
}

private actor LoadCounter {
    private(set) var good = 0
    private(set) var bad = 0
    func count(_ status: Int) { if status == 200 { good += 1 } else { bad += 1 } }
}
