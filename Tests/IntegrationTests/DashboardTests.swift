import Foundation
import OrchestryModel
import TestSupport
import Testing

/// The dashboard in a real browser, on a real cluster.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && Tool.isExpected("chromium") && Tool.isExpected("python3"),
        "needs chromium, python3, PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(6)))
struct DashboardTests {
    private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Browser/dashboard.py").path

    /// Besides `shop` and `mail`, and after them in the list.
    private static let others = 498

    @Test func `an app of 500 is found, seen to scale, asked why, scaled and rolled back`() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("orchestry-dashboard").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try await withCluster("face") { cluster in
            let leader = try await cluster.settledLeader()
            let shown = try #require(cluster.members.first { $0.id != leader })
            let other = cluster.member(leader)
            // Long cooldowns: what was scaled out stays until the session is over.
            let scaling: JSONValue = [
                "mode": "auto", "minReplicas": 1, "maxReplicas": 4, "targetRPSPerReplica": 10, "windowSeconds": 10,
                "cooldownSeconds": 1, "stabilizationWindowSeconds": 300,
            ]
            for (name, image) in [
                ("shop", "orchestry-demo:v1"), ("shop", "orchestry-demo:v2"), ("mail", Cluster.image),
            ] {
                let answer = try await cluster.post(
                    "/apps/register", Cluster.document(name, scaling: scaling, image: image), to: shown)
                #expect(answer.status == 200, "\(answer.text)")
            }
            let began = ContinuousClock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for first in 0..<8 {
                    group.addTask {
                        for number in stride(from: first, to: Self.others, by: 8) {
                            let document = Cluster.document("zone-\(number)", scaling: scaling)
                            let answer = try await cluster.post("/apps/register", document, to: other)
                            #expect(answer.status == 200, "\(answer.text)")
                        }
                    }
                }
                try await group.waitForAll()
            }
            print("\(Self.others) apps registered in \(ContinuousClock.now - began)")
            #expect(try await cluster.post("/apps/shop/up", to: shown).status == 200)
            try await cluster.waitForReady("shop", 1, via: shown)
            let output = try await Tool.named("python3").run([
                Self.script, "http://127.0.0.1:\(shown.apiPort)", "shop", "http://127.0.0.1:\(other.apiPort)", folder,
                "\(Self.others + 2)",
            ])
            print(output)
            let status = try await cluster.get("/apps/shop/rollout", from: shown).json
            #expect(status["restores"] == 1)
            #expect(status["state"] == "succeeded")
            let pictures = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".png") }
            #expect(pictures.count >= 10, "\(pictures)")
        }
    }
}
