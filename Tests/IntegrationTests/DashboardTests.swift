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

    @Test func `an app is found, seen to scale, asked why, scaled and rolled back`() async throws {
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
            #expect(try await cluster.post("/apps/shop/up", to: shown).status == 200)
            try await cluster.waitForReady("shop", 1, via: shown)
            let output = try await Tool.named("python3").run([
                Self.script, "http://127.0.0.1:\(shown.apiPort)", "shop", "http://127.0.0.1:\(other.apiPort)", folder,
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
