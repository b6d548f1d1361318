import Foundation
import OrchestryModel
import Testing

/// What scaling does on real parts beyond following the load: a leader's death in mid-burst, what people say, an app's
/// own metrics, and the record of it all.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct ScalingTests {
    @Test func `a leader killed in mid-burst: the next one goes on, no step back`() async throws {
        try await withCluster("burst") { cluster in
            let leader = try await cluster.leader()
            let survivors = cluster.members.filter { $0.id != leader }
            let scaling: JSONValue = [
                "minReplicas": 1, "maxReplicas": 6, "targetRPSPerReplica": 4, "windowSeconds": 6, "maxScaleOutStep": 1,
                "cooldownSeconds": 5, "stabilizationWindowSeconds": 10,
            ]
            let document = Cluster.document("web", scaling: scaling)
            try await eventuallyTrue("the app is registered") {
                try await cluster.post("/apps/register", document, to: survivors[0]).status == 200
            }
            _ = try await cluster.post("/apps/web/up", to: survivors[0])
            try await cluster.waitForReady("web", 1, via: survivors[0])
            async let requested = request(
                "web", through: survivors[1], on: cluster, for: .seconds(16), pause: .milliseconds(12))
            try await eventuallyTrue("the burst is answered", within: .seconds(10)) {
                try await wanted(cluster, survivors[0]) >= 2
            }
            // What it has not handed on yet would come when it starts again, which it does not here.
            try await eventuallyTrue("its first decision is stored", within: .seconds(10)) {
                try await steps(cluster, survivors[0]).contains { $0.node == leader.rawValue }
            }
            await cluster.kill(leader)
            try await eventuallyTrue("the next leader goes on to the right size", within: .seconds(10)) {
                try await wanted(cluster, survivors[0]) == 6
            }
            let load = try await requested
            #expect(load.failed.isEmpty, "\(load.failed)")
            try await eventuallyTrue("both leaders' decisions are stored, each a step up of the one before") {
                let steps = try await steps(cluster, survivors[0])
                let grown = steps.prefix { $0.to > $0.from }
                return grown.map(\.to) == [1, 2, 3, 4, 5, 6].suffix(grown.count) && grown.last?.to == 6
                    && grown.last?.node != leader.rawValue && grown.contains { $0.node == leader.rawValue }
            }
        }
    }

    @Test func `people, schedules and an app's own metric decide; the record, run again, decides the same`()
        async throws
    {
        try await withCluster("words") { cluster in
            let leader = try await cluster.leader()
            let member = try #require(cluster.members.first { $0.id != leader })
            // The demo app shows any variable as a page: here, three instances' worth of waiting jobs.
            var members = Cluster.document("web").objectValue ?? [:]
            var spec = members["spec"]?.objectValue ?? [:]
            spec["environment"] = [["name": "PAGE", "value": "jobs_waiting{queue=\"mail\"} 30"]]
            members["spec"] = .object(spec)
            func scaling(_ zone: String) -> JSONValue {
                [
                    "minReplicas": 1, "maxReplicas": 3, "windowSeconds": 4, "cooldownSeconds": 0,
                    "stabilizationWindowSeconds": 0,
                    "customMetrics": [
                        [
                            "name": "jobs", "metric": "jobs_waiting", "labels": ["queue": "mail"], "target": 10,
                            "path": "/env?name=PAGE",
                        ]
                    ],
                    "schedules": [
                        [
                            "name": "always", "start": "0 0 1 1 *", "end": "0 0 31 12 *", "minReplicas": 1,
                            "timeZone": .string(zone),
                        ]
                    ],
                ]
            }
            members["scaling"] = scaling("Europe/Nowhere")
            let refused = try await cluster.post("/apps/register", .object(members), to: member)
            #expect(refused.status == 422)
            #expect(refused.text.contains("scaling.schedules[0].timeZone"), "\(refused.text)")
            members["scaling"] = scaling("Europe/Berlin")
            #expect(try await cluster.post("/apps/register", .object(members), to: member).status == 200)
            _ = try await cluster.post("/apps/web/up", to: member)
            try await cluster.waitForReady("web", 3, via: member)
            try await eventuallyTrue("`why` names the app's metric") {
                try await cluster.get("/apps/web/why", from: member).text.contains("jobs: 300% of target")
            }

            // A person is heard, by the next leader too.
            let fixed = try await cluster.post("/apps/web/scale", ["replicas": 1, "forSeconds": 600], to: member)
            #expect(fixed.status == 200 && fixed.json["fixed_until"] != nil, "\(fixed.text)")
            try await cluster.waitForReady("web", 1, via: member)
            let paused = try await cluster.post(
                "/apps/web/autoscale", ["action": "pause", "direction": "in", "forSeconds": 600], to: member)
            #expect(paused.json["paused_in"]?["until"]?.intValue != nil, "\(paused.text)")
            await cluster.kill(leader)
            _ = try await cluster.leader(via: member)
            try await eventuallyTrue("the next leader holds what was fixed, and says so") {
                let why = try await cluster.get("/apps/web/why", from: member).text
                return why.contains("was fixed by hand") && why.contains("paused scale-in")
            }
            #expect(try await wanted(cluster, member) == 1)

            // The plain command ends the fixed count: the metric is heard again.
            _ = try await cluster.post("/apps/web/scale", ["replicas": 2], to: member)
            try await cluster.waitForReady("web", 3, via: member)

            let simulated = try await cluster.post(
                "/apps/web/simulate", ["policy": ["maxReplicas": 2], "sinceSeconds": 600], to: member)
            #expect(simulated.status == 200, "\(simulated.text)")
            #expect((simulated.json["replay"]?["evaluations"]?.intValue ?? 0) > 0, "\(simulated.text)")
            #expect((simulated.json["replay"]?["decisions"]?.intValue ?? 0) > 0, "\(simulated.text)")
            #expect(simulated.json["replay"]?["differences"] == 0, "\(simulated.json["replay"] ?? .null)")
            #expect(simulated.json["report"]?["policies"]?.arrayValue?.count == 2)
            #expect(simulated.json["chart"]?.stringValue?.hasPrefix("<svg") == true)
        }
    }

    private func wanted(_ cluster: Cluster, _ member: Cluster.Member) async throws -> Int {
        try await cluster.get("/apps/web/status", from: member).json["desired_replicas"]?.intValue ?? 0
    }

    /// Oldest first.
    private func steps(
        _ cluster: Cluster, _ member: Cluster.Member
    ) async throws -> [(from: Int, to: Int, node: String)] {
        let history = try await cluster.get("/apps/web/metrics", from: member).json["scaling_history"]?.arrayValue ?? []
        return history.reversed().map {
            (
                $0["from_replicas"]?.intValue ?? 0, $0["to_replicas"]?.intValue ?? 0,
                $0["node_id"]?.stringValue ?? ""
            )
        }
    }
}
