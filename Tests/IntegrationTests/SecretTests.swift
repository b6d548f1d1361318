import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Secrets on real parts: they reach containers, and nothing else ever holds their value.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct SecretTests {
    private func document(_ name: String) -> JSONValue {
        var document = Cluster.document(name)
        guard case .object(var members) = document, case .object(var spec)? = members["spec"] else { return document }
        spec["environment"] = [["name": "DB_PASSWORD", "source": "secret", "key": "db.password"]]
        members["spec"] = .object(spec)
        document = .object(members)
        return document
    }

    private func seen(by app: String, on cluster: Cluster, via member: Cluster.Member) async throws -> String? {
        let answer = try await cluster.app(app, "/env?name=DB_PASSWORD", via: member)
        return answer.status == 200 ? answer.text.trimmingCharacters(in: .newlines) : nil
    }

    @Test
    func `an app waits for its secret, gets it, gets the next one by a rolling restart, and it is nowhere in plain`()
        async throws
    {
        try await withCluster("secret") { cluster in
            _ = try await cluster.leader()
            let (first, second, third) = (cluster.members[0], cluster.members[1], cluster.members[2])
            let values = [
                "plain-Value-1-\(UInt32.random(in: 0...(.max)))", "plain-Value-2-\(UInt32.random(in: 0...(.max)))",
            ]
            _ = try await cluster.post("/apps/register", document("web"), to: first)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 2], to: second)
            try await eventuallyTrue("status says what is missing") {
                let status = try await cluster.get("/apps/web/status", from: third).json
                return status["explanation"]?.stringValue?.contains("orchestry secret set db.password") == true
            }
            let why = try await cluster.get("/apps/web/why", from: second).text
            #expect(why.contains("orchestry secret set db.password"))
            #expect(try cluster.containers(of: "web").isEmpty)

            let key = [("Idempotency-Key", "set")]
            for member in cluster.members {
                let answer = try await cluster.put(
                    "/secrets/db.password", ["value": .string(values[0])], to: member, headers: key)
                #expect(answer.status == 200, "\(answer.text)")
                // Without the key the second and third would be "no_change".
                #expect(answer.json["status"] == "set" && answer.json["version"] == 1, "\(answer.text)")
                #expect(answer.json["restarting"] == [], "\(answer.text)")
            }
            let reused = try await cluster.put(
                "/secrets/db.password", ["value": .string(values[1])], to: first, headers: key)
            #expect(reused.status == 422, "\(reused.text)")
            #expect(reused.json["type"] == "urn:orchestry:problem:idempotency-key-reused", "\(reused.text)")
            try await cluster.waitForReady("web", 2, via: first)
            #expect(try await seen(by: "web", on: cluster, via: third) == values[0])
            let before = try cluster.containers(of: "web")

            // A node that starts again, and a container that dies under it, need no leader to know the value.
            let killed = try #require(cluster.members.first)
            await cluster.kill(killed.id)
            try await cluster.start(killed)
            try Cluster.docker(["kill"] + before.values)
            try await eventuallyTrue("the containers are started again") {
                let now = try cluster.containers(of: "web")
                return now.count == 2 && Set(now.values).isDisjoint(with: before.values)
            }
            try await cluster.waitForReady("web", 2, via: second)
            #expect(try await seen(by: "web", on: cluster, via: second) == values[0])

            let requesting = Progress()
            async let requested = request("web", through: second, on: cluster, for: .seconds(10), requesting)
            try await requesting.reaches(20)
            let changed = try await cluster.put("/secrets/db.password", ["value": .string(values[1])], to: third)
            #expect(changed.json["version"] == 2 && changed.json["restarting"] == ["web"], "\(changed.text)")
            try await eventuallyTrue("every instance has the new value") {
                let status = try await cluster.get("/apps/web/status", from: third).json
                let instances = status["instances"]?.arrayValue ?? []
                return instances.count == 2
                    && instances.allSatisfy { $0["revision"] == 2 && $0["state"] == "ready" }
            }
            let requests = try await requested
            #expect(requests.failed.isEmpty, "\(requests.failed)")
            for member in cluster.members { #expect(try await seen(by: "web", on: cluster, via: member) == values[1]) }

            // Used: not removed by accident. By force: what runs, runs.
            #expect(try await cluster.delete("/secrets/db.password", from: first).status == 409)
            #expect(try await cluster.delete("/secrets/nope", from: first).status == 404)
            let list = try await cluster.get("/secrets", from: second)
            #expect(list.json["secrets"]?.arrayValue?.first?["used_by"] == ["web"])
            try expectNowhere(values, on: cluster, answers: [list.text, why, changed.text])
            #expect(try await cluster.delete("/secrets/db.password?force=true", from: first).json["held"] == ["web"])
            #expect(try await seen(by: "web", on: cluster, via: first) == values[1])
        }
    }

    /// Looks for the values where they must not be: PostgreSQL, the nodes' folders and logs, container labels, processes.
    private func expectNowhere(_ values: [String], on cluster: Cluster, answers: [String]) throws {
        let tables = try cluster.postgres.query(
            "SELECT string_agg(quote_ident(relname), ' ') FROM pg_stat_user_tables", on: cluster.database)
        var places: [(String, Data)] = answers.map { ("an answer", Data($0.utf8)) }
        for table in tables.split(separator: " ") {
            let rows = try cluster.postgres.query("SELECT t::text FROM \(table) t", on: cluster.database)
            places.append(("table \(table)", Data(rows.utf8)))
        }
        #expect(places.contains { $0.0 == "table secrets" && !$0.1.isEmpty })
        for member in cluster.members {
            let files = FileManager.default.enumerator(atPath: member.folder)?.compactMap { $0 as? String } ?? []
            for file in files {
                // Sockets and folders have no content.
                guard let content = FileManager.default.contents(atPath: member.folder + "/" + file) else { continue }
                places.append(("\(member.id)/\(file)", content))
            }
        }
        let ids = try cluster.containers(of: "web").values
        let labels = try Cluster.docker(["inspect", "--format", "{{json .Config.Labels}} {{json .Args}}"] + ids)
        #expect(labels.contains("db.password"))
        places.append(("labels", Data(labels.utf8)))
        for process in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(process) != nil {
            // Ended meanwhile: nothing to see.
            guard let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") else { continue }
            places.append(("arguments of process \(process)", line))
        }
        for (place, content) in places {
            for value in values { #expect(content.range(of: Data(value.utf8)) == nil, "\(value) is in \(place)") }
        }
    }
}
