import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel
import TestSupport
import Testing

/// Following the output of an app whose instances run on three nodes.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(6)))
struct LogFollowTests {
    private static let lines = 1_000

    /// Writes so many numbered lines, as fast as it can in small portions.
    private static func document(_ name: String, replicas: Int) -> JSONValue {
        [
            "apiVersion": "v1", "kind": "App", "metadata": ["name": .string(name)],
            "spec": [
                "type": "worker", "image": .string(ToolsImage.name), "pullPolicy": "Never",
                "command": [
                    "/bin/sh", "-c",
                    .string(
                        "i=0; while [ $i -lt \(lines) ]; do i=$((i+1)); echo \"line $i\"; "
                            + "[ $((i % 50)) = 0 ] && sleep 0.1; done; while :; do sleep 1; done"),
                ],
                "resources": ["cpu": "50m", "memory": "16Mi"],
                "termination": ["drainSeconds": 1, "gracePeriodSeconds": 1],
            ],
            "scaling": ["mode": "manual", "minReplicas": .int(Int64(replicas)), "maxReplicas": 20],
            "healthCheck": ["command": ["/bin/true"], "periodSeconds": 5, "timeoutSeconds": 20],
        ]
    }

    private struct Shown: Sendable {
        var instance: String
        var time: Double
        var message: String
    }

    /// Follows until `isEnough`, which gets what came so far.
    private func follow(
        _ app: String, via member: Cluster.Member, _ cluster: Cluster, isEnough: @escaping @Sendable ([Shown]) -> Bool
    ) async throws -> [Shown] {
        let url = "http://127.0.0.1:\(member.apiPort)/apps/\(app)/logs?follow=true&lines=10000"
        let response = try await cluster.http.execute(HTTPClientRequest(url: url), timeout: .minutes(4))
        #expect(response.status == .ok)
        var (rest, shown) = (ByteBuffer(), [Shown]())
        for try await var chunk in response.body {
            rest.writeBuffer(&chunk)
            while let end = rest.readableBytesView.firstIndex(of: 10) {
                let line = rest.readString(length: end - rest.readerIndex) ?? ""
                rest.moveReaderIndex(forwardBy: 1)
                guard line.hasPrefix("data: ") else { continue }
                let value = try JSONValue(json: line.dropFirst(6).utf8)
                shown.append(
                    Shown(
                        instance: value["instance"]?.stringValue ?? "", time: value["timestamp"]?.doubleValue ?? 0,
                        message: value["message"]?.stringValue ?? ""))
            }
            if isEnough(shown) { break }
        }
        return shown
    }

    @Test func `10 instances on 3 nodes, 1,000 lines each: in order, none missing, those that join included`()
        async throws
    {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil, "\(failure ?? "")")
        try await withCluster("logs", .init(proxy: false)) { cluster in
            let leader = try await cluster.settledLeader()
            let asked = try #require(cluster.members.first { $0.id != leader })
            let answer = try await cluster.post("/apps/register", Self.document("talk", replicas: 4), to: asked)
            #expect(answer.status == 200, "\(answer.text)")
            #expect(try await cluster.post("/apps/talk/up", to: asked).status == 200)
            let all = 10 * Self.lines
            async let followed = follow("talk", via: asked, cluster) { $0.count >= all }
            // More instances while somebody follows.
            try await cluster.waitForReady("talk", 4, via: asked, deadline: .seconds(60))
            #expect(try await cluster.post("/apps/talk/scale", ["replicas": 10], to: asked).status == 200)
            let shown = try await followed
            #expect(shown.count == all)
            let byInstance = Dictionary(grouping: shown, by: \.instance)
            #expect(byInstance.count == 10)
            let expected = (1...Self.lines).map { "line \($0)" }
            for (instance, lines) in byInstance {
                #expect(lines.map(\.message) == expected, "\(instance): \(lines.count) lines")
            }
            // A machine too busy to hand on a line within half a second may put it later; never in another order of its own.
            let late = zip(shown, shown.dropFirst()).count { $0.time > $1.time }
            #expect(late < all / 100, "\(late) of \(all) lines came after a later one")
            let nodes = try await cluster.get("/apps/talk/status", from: asked).json["instances"]?.arrayValue ?? []
            #expect(Set(nodes.compactMap { $0["node"]?.stringValue }).count > 1)
            print("\(shown.count) lines of \(byInstance.count) instances, \(late) late")
        }
    }
}
