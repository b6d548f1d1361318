import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Our CLI against real nodes.
@Suite(.serialized, .enabled(if: servicesExpected, "needs the real services"), .timeLimit(.minutes(5)))
struct CommandLineClusterTests {
    /// Runs a command and wants its exit code and these words.
    @discardableResult
    private func expect(
        _ cluster: Cluster, _ line: String, exit code: Int32 = 0, _ words: String...,
        place: SourceLocation = #_sourceLocation
    ) async throws -> String {
        let run = try await cluster.run(line.split(separator: " ").map(String.init))
        #expect(run.status == code, "\(line): \(run.output)", sourceLocation: place)
        for word in words {
            #expect(run.output.contains(word), "\(line): \(run.output)", sourceLocation: place)
        }
        return run.output
    }

    private func write(_ document: JSONValue, _ name: String, _ cluster: Cluster) throws {
        try JSONEncoder().encode(document).write(to: URL(fileURLWithPath: "\(cluster.folder.path)/\(name)"))
    }

    private static let examples = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("configs/examples").path

    @Test func `an app from its file to its end, and a node that is gone`() async throws {
        try await withCluster("cli") { cluster in
            let leader = try await cluster.leader()
            let follower = try #require(cluster.members.first { $0.id != leader })
            try write(Cluster.document("shop"), "shop.json", cluster)
            try write(Cluster.document("shop", image: "orchestry-demo:v2"), "next.json", cluster)

            try await expect(cluster, "apply \(Self.examples) --dry-run", "11 apps: 11 new. Nothing was applied")
            try await expect(
                cluster, "apply shop.json --up --wait", "shop: registered, revision 1; started; ready.")
            try await expect(cluster, "wait shop", "shop: 1 of 1 ready, revision 1.")
            try await expect(
                cluster, "diff shop next.json", exit: 2, "~ spec.image: orchestry-demo:v1 → orchestry-demo:v2",
                "replaces 1 instance by a rolling update")
            try await expect(cluster, "apply next.json --wait", "shop: revision 2, rolling out; ready.")
            try await expect(cluster, "diff shop next.json", "shop: no change")
            try await expect(cluster, "rollout status shop --watch", "succeeded")
            try await cluster.waitForReady("shop", 1, via: follower)

            try await expect(cluster, "maintenance shop on --message Later", "visitors get 503")
            try await eventuallyTrue("the proxy answers in its place") {
                let answer = try await cluster.app("shop", via: follower)
                return answer.status == 503 && answer.text.contains("Later")
            }
            try await expect(cluster, "maintenance shop off", "shop: served again.")
            try await eventuallyTrue("the app answers") { try await cluster.app("shop", via: follower).status == 200 }
            try await expect(cluster, "diff shop next.json", "shop: no change")

            let top = try JSONValue(jsonText: try await expect(cluster, "top -o json"))
            #expect(top["apps"]?.arrayValue?.first?["ready_replicas"] == 1, "\(top)")
            try await expect(cluster, "list -o wide", "LAST SCALED", "orchestry-demo:v2")
            try await expect(cluster, "names nodes", "controller-1\ncontroller-2\ncontroller-3\n")

            try await expect(
                cluster, "doctor --cluster", "answers at http://127.0.0.1:\(follower.apiPort)", "\(leader) leads",
                "all that run are as wanted")
            try await expect(cluster, "down shop")
            try await expect(cluster, "wait shop --for stopped", "shop: stopped, and its instances are gone.")
            await cluster.kill(follower.id)
            try await eventuallyTrue("doctor misses the node") {
                let run = try await cluster.run(["doctor", "--cluster"])
                return run.status == 1 && run.output.contains("silent, and http://127.0.0.1:\(follower.apiPort)")
            }
        }
    }

    @Test func `200 apps are applied, and a second time nothing is`() async throws {
        try await withCluster("apply", Cluster.Options(proxy: false)) { cluster in
            _ = try await cluster.leader()
            let folder = cluster.folder.path + "/apps"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for number in 1...200 { try write(Cluster.document("app-\(number)"), "apps/\(number).json", cluster) }
            try await timed("apply of 200 apps") {
                try await expect(cluster, "apply \(folder)", "200 apps: 200 new.")
            }
            try await timed("apply of 200 apps without change") {
                try await expect(cluster, "apply \(folder)", "200 apps: 200 without change.")
            }
            try await expect(cluster, "plan \(folder)", "200 without change")
            for _ in 1...5 { try await timed("list of 200 apps") { try await expect(cluster, "list", "app-200") } }
        }
    }

    /// For people: a test asserts no speed.
    private func timed(_ what: String, _ body: () async throws -> String) async throws {
        let begun = ContinuousClock.now
        _ = try await body()
        print("\(what): \(ContinuousClock.now - begun)")
    }
}
