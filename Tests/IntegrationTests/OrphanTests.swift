import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Containers that are not what the leader knows of: of this cluster, of others, and of nobody.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(3)))
struct OrphanTests {
    private func labels(of container: String) throws -> [String: String] {
        let text = try Cluster.docker(["inspect", "--format", "{{json .Config.Labels}}", container])
        return try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
    }

    /// Runs a container beside the nodes' own.
    private func run(_ labels: [String: String], on cluster: Cluster) throws -> String {
        let id = try Cluster.docker(
            ["run", "-d", "--network", "orchestry-\(cluster.name)"]
                + labels.sorted { $0.key < $1.key }.flatMap { ["--label", "\($0.key)=\($0.value)"] } + [Cluster.image])
        return id.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func isThere(_ container: String) throws -> Bool {
        try !Cluster.docker(["ps", "-aq", "--no-trunc", "--filter", "id=\(container)"]).isEmpty
    }

    @Test func `orphans and duplicates go, strangers stay, what can't be read is left alone and said`() async throws {
        try await withCluster("orphan") { cluster in
            let leader = try await cluster.settledLeader()
            try await cluster.waitForNodes()
            let asked = cluster.member(leader)
            #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: asked).status == 200)
            #expect(try await cluster.post("/apps/web/scale", ["replicas": 3], to: asked).status == 200)
            try await cluster.waitForReady("web", 3, via: asked)

            // One whose node does not lead.
            let status = try await cluster.get("/apps/web/status", from: asked).json["instances"]?.arrayValue ?? []
            let instance = try #require(status.first { $0["node"]?.stringValue != leader.rawValue })
            let node = NodeID(unchecked: instance["node"]?.stringValue ?? "")
            let name = instance["instance"]?.stringValue ?? ""
            let own = try #require(try cluster.containers(of: "web")[name])
            let genuine = try labels(of: own)
            await cluster.terminate(node)

            func relabelled(_ change: (String) -> String) -> [String: String] { genuine.mapValues(change) }
            // Of an app that the leader does not know, of one it knows but with no such instance, and twice the same.
            let ghost = try run(
                relabelled { $0.replacing(name, with: "ghost-1-zzzzzz").replacing("\"web\"", with: "\"ghost\"") }
                    .merging(["orchestry.app": "ghost"]) { _, new in new }, on: cluster)
            let orphan = try run(relabelled { $0.replacing(name, with: "web-1-zzzzzz") }, on: cluster)
            let twin = try run(genuine.merging(["orchestry.epoch": "0"]) { _, new in new }, on: cluster)
            // Of another cluster, of another node, of nobody; and one of a release to come.
            let foreign = try run(relabelled { $0.replacing(cluster.name, with: "elsewhere") }, on: cluster)
            let unlabelled = try run([:], on: cluster)
            let unreadable = try run(
                genuine.merging([
                    "orchestry.instance": "web-1-yyyyyy", "orchestry.assignment": "{\"form\": \"of a later release\"}",
                ]) { _, new in new }, on: cluster)
            let strangers = [foreign, unlabelled]
            defer {
                // Nobody else takes them away.
                _ = try? Cluster.docker(["rm", "-f"] + strangers)
            }

            try await cluster.start(cluster.member(node))
            try await eventuallyTrue("the orphan of an unknown app is removed", within: .seconds(40)) {
                try !isThere(ghost)
            }
            try await eventuallyTrue("so is the one too many of a known app", within: .seconds(40)) {
                try !isThere(orphan)
            }
            try await eventuallyTrue("of two containers of one instance one is left") {
                try [own, twin].filter(isThere).count == 1
            }
            try await eventuallyTrue("there are three again", within: .seconds(40)) {
                try cluster.containers(of: "web").filter { $0.key != "web-1-yyyyyy" }.count == 3
            }
            try await cluster.waitForReady("web", 3, via: asked)
            #expect(try isThere(own), "the one of the later epoch stays")
            for (container, what) in [(foreign, "foreign"), (unlabelled, "unlabelled"), (unreadable, "unreadable")] {
                #expect(try isThere(container), "\(what)")
                #expect(try Cluster.docker(["inspect", "--format", "{{.State.Running}}", container]).hasPrefix("true"))
            }
            try await eventuallyTrue("what was done, and what was not, is in the events") {
                let events = try await cluster.get("/events?limit=300", from: asked).json["events"]?.arrayValue ?? []
                let kinds = Set(
                    events.filter { $0["node_id"]?.stringValue == node.rawValue }
                        .compactMap { $0["event_type"]?.stringValue })
                return kinds.isSuperset(of: ["duplicate_removed", "container_ignored"])
            }
            #expect(try await cluster.app("web", via: asked).status == 200)
        }
    }
}
