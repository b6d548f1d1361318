import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import Testing

/// Apps that have no instance while nobody asks for them, on real parts.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct ActivationTests {
    private static let scaling: JSONValue = [
        "minReplicas": 0, "maxReplicas": 4, "targetRPSPerReplica": 5_000, "idleSeconds": 10, "holdSeconds": 60,
    ]

    /// Registers an app and brings it up.
    private func begin(_ cluster: Cluster, via member: Cluster.Member) async throws {
        let document = Cluster.document("web", scaling: Self.scaling)
        #expect(try await cluster.post("/apps/register", document, to: member).status == 200)
        #expect(try await cluster.post("/apps/web/up", to: member).status == 200)
        try await cluster.waitForReady("web", 1, via: member)
    }

    private func untilIdle(_ cluster: Cluster, via member: Cluster.Member) async throws {
        try await eventuallyTrue("the app is idle, and nothing of it is left", within: .seconds(60)) {
            let status = try await cluster.get("/apps/web/status", from: member).json
            return status["idle"] == true && status["instances"]?.arrayValue?.isEmpty == true
        }
    }

    private func history(_ cluster: Cluster, _ member: Cluster.Member) async throws -> [JSONValue] {
        try await cluster.get("/apps/web/metrics", from: member).json["scaling_history"]?.arrayValue ?? []
    }

    /// So many requests at once, through all nodes.
    /// - Returns: how many had which status.
    private func crowd(of count: Int, _ cluster: Cluster) async throws -> [Int: Int] {
        var configuration = HTTPClient.Configuration()
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = count
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        let members = cluster.members
        let counts = await withTaskGroup(of: Int.self) { group in
            for number in 0..<count {
                var request = HTTPClientRequest(
                    url: "http://127.0.0.1:\(members[number % members.count].proxyPort)/")
                request.headers.add(name: "Host", value: "web")
                group.addTask { [request] in
                    // A request that broke off counts as status 0.
                    guard let answer = try? await client.execute(request, timeout: .seconds(60)) else { return 0 }
                    return Int(answer.status.code)
                }
            }
            var counts: [Int: Int] = [:]
            for await status in group { counts[status, default: 0] += 1 }
            return counts
        }
        try await client.shutdown()
        return counts
    }

    @Test func `without requests it sleeps; a thousand first ones start one instance, and all are served`()
        async throws
    {
        try await withCluster("sleep") { cluster in
            let leader = try await cluster.settledLeader()
            let member = try #require(cluster.members.first { $0.id != leader })
            try await begin(cluster, via: member)
            try await untilIdle(cluster, via: member)
            let status = try await cluster.get("/apps/web/status", from: member).json
            #expect(status["status"] == "running" && status["desired_replicas"] == 0, "\(status)")
            // Said by the first evaluation after the one that put it to sleep.
            try await eventuallyTrue("it says that it sleeps") {
                try await cluster.get("/apps/web/why", from: member).text
                    .contains("nobody asks for it; the first request starts an instance")
            }

            // One: the cold start.
            let begun = ContinuousClock.now
            #expect(try await cluster.app("web", via: member).status == 200)
            print("cold start: \(ContinuousClock.now - begun)")
            try await untilIdle(cluster, via: member)
            let decisions = try await history(cluster, member)

            let statuses = try await crowd(of: 1_000, cluster)
            #expect(statuses == [200: 1_000], "\(statuses)")
            try await eventuallyTrue("the one decision is stored") {
                try await history(cluster, member).count == decisions.count + 1
            }
            let newest = try #require(try await history(cluster, member).first)
            #expect(newest["from_replicas"] == 0 && newest["to_replicas"] == 1, "\(newest)")
            #expect(newest["trigger_reason"]?.stringValue?.contains("woken by") == true, "\(newest)")
            let containers = try cluster.containers(of: "web")
            #expect(containers.count == 1, "\(containers)")

            // Taken down, it is not woken: refused at once.
            #expect(try await cluster.post("/apps/web/down", to: member).status == 200)
            try await eventuallyTrue("it is down") { try await cluster.app("web", via: member).status == 503 }
            let refused = try await cluster.app("web", via: member)
            #expect(refused.text.contains("No instance of the app is ready"), "\(refused.text)")
            try await Task.sleep(for: .seconds(2))  // What must not happen has no moment to wait for.
            let down = try await cluster.get("/apps/web/status", from: member).json
            #expect(down["status"] == "stopped" && down["idle"] == false, "\(down)")
        }
    }

    @Test func `the leader dies while requests wait: the next one starts the app`() async throws {
        try await withCluster("wake") { cluster in
            let leader = try await cluster.settledLeader()
            let survivors = cluster.members.filter { $0.id != leader }
            try await begin(cluster, via: survivors[0])
            try await untilIdle(cluster, via: survivors[0])
            // Frozen, it can't start the app; its death is what the others see.
            try await cluster.freeze(leader)
            let waiting = Task { try await cluster.app("web", via: survivors[0], within: .seconds(60)).status }
            let more = Task { try await cluster.app("web", via: survivors[1], within: .seconds(60)).status }
            await cluster.kill(leader)
            #expect(try await waiting.value == 200)
            #expect(try await more.value == 200)
            try await eventuallyTrue("one decision of the next leader's") {
                let newest = try await history(cluster, survivors[0]).first
                return newest?["to_replicas"] == 1 && newest?["node_id"]?.stringValue != leader.rawValue
            }
            #expect(try cluster.containers(of: "web").count == 1)
        }
    }
}
