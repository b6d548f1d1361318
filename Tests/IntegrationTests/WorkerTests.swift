import Certificates
import Foundation
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// A node that does not vote, beside three controllers: real processes, PostgreSQL, engine and nginx.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct WorkerTests {
    private func instances(of app: String, on cluster: Cluster, via member: Cluster.Member) async throws -> [JSONValue]
    {
        try await cluster.get("/apps/\(app)/status", from: member).json["instances"]?.arrayValue ?? []
    }

    private func nodes(of cluster: Cluster, via member: Cluster.Member) async throws -> [String: JSONValue] {
        let list = try await cluster.get("/nodes", from: member).json["nodes"]?.arrayValue ?? []
        return Dictionary(
            list.map { ($0["node_id"]?.stringValue ?? "", $0) }, uniquingKeysWith: { first, _ in first })
    }

    private func events(_ cluster: Cluster, via member: Cluster.Member) async throws -> [JSONValue] {
        try await cluster.get("/events?limit=300", from: member).json["events"]?.arrayValue ?? []
    }

    /// Makes all new instances go to the worker.
    private func cordonControllers(_ cluster: Cluster, via member: Cluster.Member) async throws {
        for controller in cluster.controllers {
            #expect(try await cluster.post("/nodes/\(controller.id)/cordon", to: member).status == 200)
        }
    }

    /// The worker has told what it runs.
    private func waitForNode(_ node: NodeID, _ state: String, of cluster: Cluster, via member: Cluster.Member)
        async throws
    {
        try await eventuallyTrue("\(node) is \(state)", within: .seconds(30)) {
            try await nodes(of: cluster, via: member)[node.rawValue]?["state"]?.stringValue == state
        }
    }

    @Test func `a worker takes instances and requests, is shown everywhere, and never asks PostgreSQL`() async throws {
        try await withCluster("worker", .init(workers: 1)) { cluster in
            let worker = cluster.workers[0]
            let leader = try await cluster.settledLeader()
            try await waitForNode(worker.id, "ready", of: cluster, via: worker)

            // Writes and reads through it, a refusal and a bad document too.
            #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: worker).status == 200)
            #expect(try await cluster.post("/apps/register", ["kind": "App"], to: worker).status == 422)
            #expect(try await cluster.get("/apps/none/status", from: worker).status == 404)
            try await cordonControllers(cluster, via: worker)
            let first = try await cluster.post(
                "/apps/web/scale", ["replicas": 2], to: worker, headers: [("Idempotency-Key", "once")])
            #expect(first.status == 200, "\(first.text)")
            let again = try await cluster.post(
                "/apps/web/scale", ["replicas": 2], to: cluster.controllers[0], headers: [("Idempotency-Key", "once")])
            #expect(again.json == first.json)
            try await cluster.waitForReady("web", 2, via: worker)

            let view = try await cluster.get("/cluster/status", from: cluster.member(leader)).json
            let entry = view["nodes"]?.arrayValue?.first { $0["node_id"]?.stringValue == worker.id.rawValue }
            #expect(entry?["role"] == "worker" && entry?["is_healthy"] == true && entry?["state"] == "follower")
            let own = try await cluster.get("/cluster/status", from: worker).json
            #expect(own["leader_id"]?.stringValue == leader.rawValue && own["is_leader"] == false)
            #expect(own["term"] == view["term"] && own["cluster_size"] == 4, "\(own)")
            #expect(try await cluster.get("/cluster/health", from: worker).json["status"] == "healthy")
            let listed = try #require(try await nodes(of: cluster, via: worker)[worker.id.rawValue])
            #expect(listed["role"] == "worker" && listed["instances"] == 2, "\(listed)")
            #expect(listed["capacity"]?["cpu_millicores"]?.intValue ?? 0 > 0)

            // Every nginx serves what runs there, and the worker's serves too.
            for member in cluster.members {
                try await eventuallyTrue("\(member.id) serves the app") {
                    try await cluster.app("web", via: member).status == 200
                }
            }
            // Its samples reach the leader, its events PostgreSQL, its containers' words whoever asks.
            try await eventuallyTrue("the leader has measured the worker's instances") {
                let found = try await instances(of: "web", on: cluster, via: worker)
                return found.count == 2
                    && found.allSatisfy {
                        $0["node"]?.stringValue == worker.id.rawValue && ($0["memory_percent"]?.doubleValue ?? 0) > 0
                    }
            }
            let containers = try cluster.containers(of: "web")
            let victim = try #require(containers.first)
            try Cluster.docker(["kill", victim.value])
            try await eventuallyTrue("the worker's own events are stored") {
                try await events(cluster, via: worker).contains {
                    $0["event_type"] == "instance_restarted" && $0["node_id"]?.stringValue == worker.id.rawValue
                }
            }
            try await cluster.waitForReady("web", 2, via: worker)
            let logs = try await cluster.get("/apps/web/logs", from: worker).json["logs"]?.arrayValue ?? []
            #expect(logs.contains { $0["node"]?.stringValue == worker.id.rawValue }, "\(logs)")

            // Nothing of it ever reached PostgreSQL.
            let sessions = try cluster.postgres.query(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%\(worker.id)%'",
                on: cluster.database)
            #expect(sessions == "0")
            let others = try cluster.postgres.query(
                "SELECT count(*) > 2 FROM pg_stat_activity WHERE application_name LIKE 'orchestry controller-%'",
                on: cluster.database)
            #expect(others == "t", "the check above would not notice")

            // Drained, it hands everything to the controllers, request for request.
            for controller in cluster.controllers {
                #expect(try await cluster.post("/nodes/\(controller.id)/uncordon", to: worker).status == 200)
            }
            async let load = request("web", through: worker, on: cluster, for: .seconds(8))
            #expect(
                try await cluster.post("/nodes/\(worker.id)/drain", ["deadlineSeconds": 60], to: worker).status == 200)
            try await eventuallyTrue("the worker is empty", within: .seconds(40)) {
                let node = try await nodes(of: cluster, via: worker)[worker.id.rawValue]
                return node?["instances"] == 0 && node?["draining"] == false && node?["cordoned"] == true
            }
            try await cluster.waitForReady("web", 2, via: worker)
            let outcome = try await load
            print("drain of a worker: \(outcome.done) requests through its nginx, \(outcome.failed.count) failed")
            #expect(outcome.failed.isEmpty && outcome.done > 100, "\(outcome.failed.prefix(3))")
        }
    }

    @Test func `a worker follows a change of leader: writes through it are held, containers stay`() async throws {
        try await withCluster("wlead", .init(workers: 1)) { cluster in
            let worker = cluster.workers[0]
            let leader = try await cluster.settledLeader()
            try await waitForNode(worker.id, "ready", of: cluster, via: worker)
            #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: worker).status == 200)
            try await cordonControllers(cluster, via: worker)
            #expect(try await cluster.post("/apps/web/scale", ["replicas": 2], to: worker).status == 200)
            try await cluster.waitForReady("web", 2, via: worker)
            let before = try cluster.containers(of: "web")

            let progress = Progress()
            async let writes = write(through: worker, on: cluster, for: .seconds(8), progress)
            async let reads = request("web", through: worker, on: cluster, for: .seconds(8))
            try await progress.reaches(20)
            await cluster.kill(leader)
            let (written, served) = try await (writes, reads)
            print(
                "leader killed: \(written.done) writes through a worker, \(written.failed.count) failed, longest "
                    + "\(written.longest); \(served.done) requests, \(served.failed.count) failed")
            #expect(written.failed.isEmpty && written.done > 20, "\(written.failed.prefix(3))")
            #expect(served.failed.isEmpty && served.done > 50, "\(served.failed.prefix(3))")
            #expect(try cluster.containers(of: "web") == before)
            #expect(
                try await cluster.get("/cluster/leader", from: worker).json["leader_id"] != .string(leader.rawValue))

            // Down to one controller: until it leads (alone, by the lease), a worker's reads are what is stored.
            let second = try await cluster.leader(via: worker)
            let last = try #require(cluster.controllers.first { ![leader, second].contains($0.id) })
            await cluster.kill(second)
            let read = try await cluster.get("/apps/web/status", from: worker)
            #expect(read.status == 200, "\(read.text)")
            #expect(try await cluster.leader(via: worker) == last.id)
            #expect(try await cluster.post("/apps/web/scale", ["replicas": 3], to: worker).status == 200)
            try await cluster.waitForReady("web", 3, via: worker)
        }
    }

    @Test func `a worker's voice in elections is not heard`() async throws {
        try await withCluster("wvoice", .protocolOnly) { cluster in
            let leader = try await cluster.settledLeader()
            let before = try cluster.lease()
            try cluster.certificates.issue(node: "worker-9", addresses: ["127.0.0.1"], days: 1)
            let tls = try WirePeer.tls(cluster.certificates, as: "worker-9")
            let port = cluster.member(leader).clusterPort
            let control = try await WirePeer(port: port, tls: tls)
            #expect(try await control.introduce("worker-9", to: cluster.name, .control)?.isAccepted == true)
            let bulk = try await WirePeer(port: port, tls: tls)
            #expect(try await bulk.introduce("worker-9", to: cluster.name, .bulk)?.isAccepted == true)

            // What a leader says to it: its epoch, at once and then each second.
            for _ in 0..<2 {
                let beat = await control.next(within: .seconds(5)) {
                    if case .election(.heartbeat) = $0 { true } else { false }
                }
                guard case .election(.heartbeat(let epoch, _))? = beat else {
                    throw TestFailure("no heartbeat to a worker")
                }
                #expect(Int64(epoch.rawValue) == before.epoch)
            }
            // What it says itself: votes, promises, an epoch and a farewell that are not its own to give.
            let high = Epoch(UInt64(before.epoch) + 1_000)
            for message in [
                ElectionMessage.voteRequest(round: 1), .heartbeat(epoch: high, sentAt: 1),
                .heartbeatAck(epoch: high, sentAt: 1), .voteReply(round: 1, granted: true, highestEpoch: high),
                .released(epoch: Epoch(UInt64(before.epoch))),
            ] {
                try await control.send(.election(message))
            }
            try await bulk.send(.ping)
            try await control.send(.ping, correlation: 2)
            func isAnswer(_ message: Message) -> Bool {
                switch message {
                case .election(.voteReply), .election(.heartbeatAck), .refused: true
                default: false
                }
            }
            // Read, and not answered: what else it was asked comes back.
            #expect(await control.next { isAnswer($0) || $0 == .pong } == .pong)
            #expect(await control.next(within: .seconds(1), isAnswer) == nil)
            #expect(!control.isClosed)
            #expect(try cluster.lease() == before)
            // Its bulk connection, held until here.
            bulk.close()
        }
    }
}

extension Cluster {
    /// Every node has told the leader what it runs, so that new instances are spread over all.
    func waitForNodes() async throws {
        try await eventuallyTrue("all nodes are ready", within: .seconds(40)) {
            // Before somebody leads there is no answer.
            guard let answer = try? await get("/nodes", from: members[0]) else { return false }
            return answer.json["nodes"]?.arrayValue?.count { $0["state"] == "ready" } == members.count
        }
    }
}
