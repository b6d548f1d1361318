import Foundation
import NIOHTTP1
import OrchestryModel
import RecordArchive
import TestSupport
import Testing

/// Backup, restore, retention and runtime settings on real parts, by the CLI where there is a command.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(8)))
struct BackupTests {
    /// Built beside the test bundle.
    @discardableResult
    private func cli(_ arguments: [String], on member: Cluster.Member, status: Int32 = 0) async throws -> String {
        let binary = URL(fileURLWithPath: Cluster.daemon).deletingLastPathComponent().appendingPathComponent(
            "orchestry")
        let output = member.folder + "/cli-\(UUID())"
        let process = try ChildProcess(
            binary.path, arguments + ["--server", "http://127.0.0.1:\(member.apiPort)"], output: output)
        let ended = try await process.ended()
        let text = try String(contentsOfFile: output, encoding: .utf8)
        #expect(ended == status, "orchestry \(arguments): \(text)")
        return text
    }

    private func document(_ name: String, secret: Bool) -> JSONValue {
        let scaling: JSONValue = [
            "mode": "auto", "minReplicas": 2, "maxReplicas": 4, "targetRPSPerReplica": 100,
            "schedules": [
                [
                    "name": "leap", "start": "0 3 29 2 *", "end": "0 4 29 2 *", "timeZone": "Europe/Berlin",
                    "minReplicas": 3,
                ]
            ],
        ]
        guard case .object(var members) = Cluster.document(name, scaling: scaling),
            case .object(var spec)? = members["spec"]
        else { return .null }
        if secret { spec["environment"] = [["name": "DB_PASSWORD", "source": "secret", "key": "db.password"]] }
        members["spec"] = .object(spec)
        return .object(members)
    }

    /// What of an app must be the same on the other cluster.
    private func state(of cluster: Cluster) async throws -> JSONValue {
        var state: [String: JSONValue] = [:]
        for app in ["web", "shop", "idle"] {
            let status = try await cluster.get("/apps/\(app)/status", from: cluster.members[0]).json
            let raw = try await cluster.get("/apps/\(app)/raw", from: cluster.members[1]).json
            let revisions = try await cluster.get("/apps/\(app)/revisions", from: cluster.members[0]).json
            state[app] = [
                "status": status["status"] ?? .null, "ready": status["ready_replicas"] ?? .null,
                "document": raw["raw"] ?? .null, "revision": raw["parsed"]?["revision"] ?? .null,
                "revisions": .array((revisions["revisions"]?.arrayValue ?? []).compactMap { $0["revision"] }),
            ]
        }
        state["secrets"] = .array(
            (try await cluster.get("/secrets", from: cluster.members[2]).json["secrets"]?.arrayValue ?? []).map {
                ["name": $0["name"] ?? .null, "version": $0["version"] ?? .null, "key_id": $0["key_id"] ?? .null]
            })
        state["settings"] = .array(
            (try await cluster.get("/settings", from: cluster.members[2]).json["settings"]?.arrayValue ?? []).map {
                ["name": $0["name"] ?? .null, "value": $0["value"] ?? .null]
            })
        return .object(state)
    }

    @Test func `what one cluster backs up, an empty one restores, and the same apps run`() async throws {
        let folder = try TemporaryFolder("backup")
        let file = folder.appending("backup.json")
        let password = "plain-\(UInt64.random(in: 0...UInt64.max))"
        var before = JSONValue.null
        var name = ""
        try await withCluster("backup") { cluster in
            name = cluster.name
            let member = cluster.members[0]
            _ = try await cluster.leader()
            #expect(
                try await cluster.put("/secrets/db.password", ["value": .string(password)], to: member).status == 200)
            for app in ["web", "shop", "idle"] {
                let answer = try await cluster.post("/apps/register", document(app, secret: app == "web"), to: member)
                #expect(answer.status == 200, "\(answer.text)")
            }
            for app in ["web", "shop"] { _ = try await cluster.post("/apps/\(app)/up", to: member) }
            #expect(
                try await cluster.post("/apps/shop/scale", ["replicas": 1, "forSeconds": 3_000], to: member).status
                    == 200)
            try await cli(["autoscale", "pause", "web"], on: member)
            try await cli(["settings", "set", "retention.events_days=30", "node.dead_after=45s"], on: member)
            // Another revision, so that there is a history.
            _ = try await cluster.put("/secrets/db.password", ["value": .string(password + "2")], to: member)
            try await cluster.waitForReady("web", 2, via: member, deadline: .seconds(60))
            try await cluster.waitForReady("shop", 1, via: member)
            try await cli(["node", "cordon", cluster.members[2].id.rawValue], on: member)
            before = try await state(of: cluster)
            let said = try await cli(["backup", file], on: cluster.members[1])
            print("backup: \(said)")
            let content = try String(contentsOfFile: file, encoding: .utf8)
            #expect(!content.contains(password), "no value of a secret is in it")
            #expect(try await cli(["backup", file], on: member, status: 2).contains("--force"))
            // Not into the cluster that is there.
            let refusal = try await cli(["restore", file], on: cluster.members[2], status: 1)
            #expect(refusal.contains("not empty") && refusal.contains("--merge"), "\(refusal)")
            #expect(try await state(of: cluster) == before)
            let merged = try await cli(["restore", file, "--merge"], on: cluster.members[2])
            #expect(merged.contains("Restored: nothing") || merged.contains("Restored: cordoned"), "\(merged)")
            #expect(try await state(of: cluster) == before)
            try FileManager.default.copyItem(
                atPath: cluster.folder.path + "/secrets.key", toPath: folder.appending("secrets.key"))
        }

        try await withCluster("restore", Cluster.Options(name: name, secretKeys: folder.appending("secrets.key"))) {
            cluster in
            let member = cluster.members[0]
            let leader = try await cluster.leader()
            try await refuseBroken(file, folder: folder, on: cluster)
            let begun = ContinuousClock.now
            // Through a node that does not lead.
            let follower = cluster.members.first { $0.id != leader } ?? member
            let said = try await cli(["restore", file], on: follower)
            print("restore: \(said)")
            try await cluster.waitForReady("web", 2, via: member, deadline: .seconds(60))
            try await cluster.waitForReady("shop", 1, via: member, deadline: .seconds(60))
            print("restored and ready after \(ContinuousClock.now - begun)")
            #expect(try await state(of: cluster) == before)
            try await eventuallyTrue("the secret reached the restored app") {
                let answer = try await cluster.app("web", "/env?name=DB_PASSWORD", via: member)
                return answer.text.trimmingCharacters(in: .newlines) == password + "2"
            }
            let nodes = try await cluster.get("/nodes", from: member).json["nodes"]?.arrayValue ?? []
            let cordoned = nodes.filter { $0["cordoned"] == true }.compactMap {
                ($0["node_id"] ?? $0["id"])?.stringValue
            }
            #expect(cordoned == [cluster.members[2].id.rawValue], "\(nodes)")
            let why = try await cluster.get("/apps/web/why", from: member).text
            #expect(why.contains("paused scale-out"), "\(why)")
            #expect(try await cluster.get("/apps/shop/why", from: member).text.contains("fixed 1 replicas"))
            // A second time it is not empty, and the leader that restored may die.
            #expect(try await cli(["restore", file], on: member, status: 1).contains("not empty"))
            await cluster.kill(try await cluster.leader())
            let survivor = cluster.members.first { $0.id != leader } ?? member
            try await eventuallyTrue("the next leader has the restored apps") {
                let answer = try await cluster.get("/apps/web/status", from: survivor)
                return answer.json["ready_replicas"] == 2
            }
        }
    }

    private func refuseBroken(_ file: String, folder: TemporaryFolder, on cluster: Cluster) async throws {
        let document = try JSONValue(json: try Data(contentsOf: URL(fileURLWithPath: file)))
        guard case .object(let members) = document, case .object(var tables)? = members["tables"] else {
            throw TestFailure("the backup is not an object")
        }
        let member = cluster.members[1]
        // Changed after it was made: refused by the CLI, and by the API.
        var changed = members
        changed["cluster"] = "other"
        let path = folder.appending("changed.json")
        try Data(JSONValue.object(changed).jsonBytes()).write(to: URL(fileURLWithPath: path))
        #expect(try await cli(["restore", path], on: member, status: 2).contains("checksum"))
        let refused = try await cluster.post("/restore", .object(changed), to: member)
        #expect(refused.status == 422 && refused.text.contains("checksum"), "\(refused.text)")

        func remade(_ tables: [String: JSONValue], schema: Int = 1) -> JSONValue {
            ControlBackup.document(
                tables: tables.mapValues { $0.arrayValue ?? [] }, schema: schema,
                cluster: ClusterID(unchecked: cluster.name), release: "test", at: WallTime(milliseconds: 0))
        }
        let newer = try await cluster.post("/restore", remade(tables, schema: 9_000), to: member)
        #expect(newer.status == 409 && newer.text.contains("newer release"), "\(newer.text)")
        let plain = tables
        // A secret that does not open here: its name is sealed with it.
        tables["secrets"] = .array(
            (tables["secrets"]?.arrayValue ?? []).map { row in
                guard case .object(var members) = row else { return row }
                members["name"] = "renamed"
                return .object(members)
            })
        let sealed = try await cluster.post("/restore", remade(tables), to: member)
        #expect(sealed.status == 409 && sealed.text.contains("key file"), "\(sealed.text)")
        tables = plain
        tables["applications"] = [["name": "Not A Name"], ["name": "web", "spec": ["kind": "?"]]]
        let invalid = try await cluster.post("/restore", remade(tables), to: member)
        #expect(invalid.status == 422 && invalid.json["violations"]?.arrayValue?.count == 2, "\(invalid.text)")
        #expect(try await cluster.get("/apps", from: member).json["apps"] == [])
        #expect(try await cluster.get("/secrets", from: member).json["secrets"] == [])
    }

    @Test func `a setting changed at run time is in effect on every node, and gone after a reset`() async throws {
        try await withCluster("settings", Cluster.Options(proxy: false)) { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            let wrong = try await cluster.send(
                .PATCH, "/settings", to: member,
                body: ["log.level": "loud", "postgres.password": "x", "retention.events_days": 0])
            #expect(wrong.status == 422, "\(wrong.text)")
            let fields = (wrong.json["violations"]?.arrayValue ?? []).compactMap { $0["field"]?.stringValue }
            #expect(fields.sorted() == ["log.level", "postgres.password", "retention.events_days"])
            #expect(!wrong.text.contains("events_days (run time)"), "\(wrong.text)")

            func lines(_ member: Cluster.Member, _ word: String) throws -> Int {
                try String(contentsOfFile: member.folder + "/log", encoding: .utf8).split(separator: "\n")
                    .count { $0.contains(word) }
            }
            let begun = ContinuousClock.now
            let said = try await cli(["settings", "set", "log.level=error"], on: member)
            #expect(said.contains("run time"), "\(said)")
            for member in cluster.members {
                try await eventuallyTrue("\(member.id) has taken up the level") {
                    // From here on nothing below an error is written, not even that it has changed.
                    let count = try lines(member, "\"level\":\"debug\"")
                    try await Task.sleep(for: .milliseconds(300))
                    return try lines(member, "\"level\":\"debug\"") == count
                }
            }
            print("settings: in effect on three nodes after \(ContinuousClock.now - begun)")
            try await cli(["settings", "reset", "log.level"], on: cluster.members[1])
            for member in cluster.members {
                try await eventuallyTrue("\(member.id) is back at its own configuration") {
                    try lines(member, "A setting has changed at run time") >= 1
                }
            }
            let listed = try await cluster.get("/settings", from: cluster.members[2]).json["settings"]?.arrayValue ?? []
            let level = listed.first { $0["name"] == "log.level" }
            #expect(level?["value"] == .null && level?["source"]?.stringValue?.hasPrefix("file ") == true, "\(listed)")
            let events = try await cluster.get("/events?limit=100", from: member).json["events"]?.arrayValue ?? []
            let changes = events.filter { $0["event_type"] == "setting_changed" }
            #expect(changes.count == 2, "\(changes)")
            // Newest first.
            let audit = try await cluster.get("/audit?limit=100", from: member).json["entries"]?.arrayValue ?? []
            let records = audit.compactMap { $0["record"] }.filter {
                $0["operation"] == "changeSettings" && $0["outcome"] == "accepted"
            }
            #expect(records.first?["changes"] == [["field": "log.level", "old": "error"]], "\(audit)")
            #expect(records.last?["changes"] == [["field": "log.level", "new": "error"]])
        }
    }

    @Test func `the leader archives what is past its retention, then drops it`() async throws {
        let folder = try TemporaryFolder("archive")
        try await withCluster(
            "retention", Cluster.Options(proxy: false, more: ["retention: {archive_dir: \(folder.path)/rows}"])
        ) { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[0]
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: member)
            // A hundred days ago, and a day of metrics past its week.
            try cluster.postgres.query(
                """
                INSERT INTO events (app_name, event_type, message, timestamp, node_id, sequence, epoch)
                SELECT 'web', 'old', n::text, now() - interval '100 days', 'controller-1', 0, 1
                FROM generate_series(1, 5000) n;
                INSERT INTO metrics (app_name, timestamp, rps) SELECT 'web', now() - interval '9 days', n
                FROM generate_series(1, 300) n
                """, on: cluster.database)
            try await eventuallyTrue("old rows are archived and dropped", within: .seconds(60)) {
                try cluster.postgres.query(
                    """
                    SELECT (SELECT count(*) FROM events WHERE event_type = 'old'),
                        (SELECT count(*) FROM metrics WHERE timestamp < now() - interval '8 days')
                    """, on: cluster.database) == "0|0"
            }
            let report = try ArchiveFolder(path: folder.path + "/rows").check()
            #expect(report.problems.isEmpty, "\(report.problems)")
            #expect(report.good.map(\.rows).sorted() == [300, 5_000])
            try await eventuallyTrue("the archives are events") {
                let events = try await cluster.get("/events?limit=100", from: member).json["events"]?.arrayValue ?? []
                return events.count { $0["event_type"] == "history_archived" } == 2
            }
            let made = try cluster.postgres.query(
                "SELECT count(*) FROM orchestry_partitions('events') WHERE starts > now()", on: cluster.database)
            #expect(made == "2", "days are made ahead")
        }
    }
}
