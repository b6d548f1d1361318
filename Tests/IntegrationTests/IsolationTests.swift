import Foundation
import OrchestryModel
import TestSupport
import Testing

/// `spec.network.isolated` on real nodes, which share one engine here.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && ToolsImage.isPossible,
        "needs PostgreSQL, nginx, a container engine and busybox: see configs/dev/test"),
    .timeLimit(.minutes(3)))
struct IsolationTests {
    private static let spy: JSONValue = [
        "apiVersion": "v1", "kind": "App", "metadata": ["name": "spy"],
        "spec": [
            "type": "worker", "image": .string(ToolsImage.name), "pullPolicy": "Never",
            "resources": ["cpu": "100m", "memory": "64Mi"], "termination": ["gracePeriodSeconds": 1],
        ],
        "scaling": ["mode": "manual", "minReplicas": 1, "maxReplicas": 1],
    ]

    @Test func `an isolated app is reached through nginx and from no other app, and leaves no network behind`()
        async throws
    {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        try await withCluster("alone") { cluster in
            try await cluster.waitForNodes()
            let member = cluster.members[0]
            #expect(try networks(of: cluster) == 1)
            let web = try Cluster.document("web").setting("spec", "network", to: ["isolated": true])
            for document in [web, Cluster.document("shop"), Self.spy] {
                #expect(try await cluster.post("/apps/register", document, to: member).status == 200)
            }
            for (app, replicas) in [("web", 2), ("shop", 1), ("spy", 1)] {
                let answer = try await cluster.post("/apps/\(app)/scale", ["replicas": JSONValue(replicas)], to: member)
                #expect(answer.status == 200, "\(answer.text)")
            }
            for (app, replicas) in [("web", 2), ("shop", 1), ("spy", 1)] {
                try await cluster.waitForReady(app, replicas, via: member)
            }
            #expect(try networks(of: cluster) == 2, "one for both instances")
            for node in cluster.members {
                for app in ["web", "shop"] {
                    try await eventuallyTrue("\(app) via nginx of \(node.id)") {
                        try await cluster.app(app, via: node).status == 200
                    }
                }
            }
            let spy = try #require(try cluster.containers(of: "spy").values.first)
            #expect(try await hear(of: "shop", from: spy, on: cluster) == 1, "others are reached")
            #expect(try await hear(of: "web", from: spy, on: cluster) == 0)

            #expect(try await cluster.delete("/apps/web", from: member).status == 200)
            try await eventuallyTrue("its network is gone") { try networks(of: cluster) == 1 }
        }
    }

    /// - Returns: of how many instances the container gets an answer.
    private func hear(of app: String, from container: String, on cluster: Cluster) async throws -> Int {
        let instances = try await cluster.get("/apps/\(app)/status", from: cluster.members[0]).json["instances"]
        var heard = 0
        for instance in instances?.arrayValue ?? [] {
            let question = ToolsImage.request(
                host: instance["ip"]?.stringValue ?? "", port: instance["port"]?.intValue ?? 0)
            let answer = await TestEngine.run(["docker", "exec", container] + question)
            if answer.status == 0 { heard += 1 }
        }
        return heard
    }

    private func networks(of cluster: Cluster) throws -> Int {
        try Cluster.docker(["network", "ls", "-q", "--filter", "label=orchestry.cluster=\(cluster.name)"])
            .split(separator: "\n").count
    }
}

extension JSONValue {
    /// A document with one member of a section set.
    func setting(_ section: String, _ key: String, to value: JSONValue) throws -> JSONValue {
        guard case .object(var members) = self, case .object(var inner)? = members[section] else {
            throw TestFailure("no section \(section)")
        }
        inner[key] = value
        members[section] = .object(inner)
        return .object(members)
    }
}
