import Foundation
import TestSupport
import Testing

/// The original's published CLI, unchanged, does its whole job against each of our nodes.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && ProcessInfo.processInfo.environment["ORCHESTRY_DEV_ORIGINAL_CLI"] != nil,
        "needs the original's CLI (configs/dev/test fetches it) and the real services"),
    .timeLimit(.minutes(5)))
struct OriginalCommandLineTests {
    /// Runs a CLI with a user configuration that names `member`.
    private func run(
        _ binary: String, _ arguments: [String], home: String, member: Cluster.Member
    ) async throws -> Cluster.CommandRun {
        let folder = home + "/.config/orchestry"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try "host: 127.0.0.1\nport: \(member.apiPort)\n".write(
            toFile: folder + "/config.yaml", atomically: true, encoding: .utf8)
        return try await Cluster.run(binary, arguments, home: home)
    }

    private static let original = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_ORIGINAL_CLI"] ?? ""

    /// What was typed and what came of it, the original's command first and ours for the same job after it.
    private struct Transcript {
        private(set) var text = ""

        mutating func add(_ member: Cluster.Member, _ who: String, _ arguments: [String], _ run: Cluster.CommandRun) {
            text += "[\(member.id)] \(who)$ orchestry \(arguments.joined(separator: " "))\n"
            text += run.output.split(separator: "\n").map { "    \($0)\n" }.joined()
            if run.status != 0 { text += "    (exit code \(run.status))\n" }
        }

        /// Printed, and kept in the file that ORCHESTRY_DEV_TRANSCRIPT names.
        func publish() throws {
            print(text)
            guard let file = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_TRANSCRIPT"], !file.isEmpty else {
                return
            }
            try text.write(toFile: file, atomically: true, encoding: .utf8)
        }
    }

    @Test func `every command works against each node`() async throws {
        try await withCluster("original") { cluster in
            _ = try await cluster.leader()
            let home = cluster.folder.path + "/home"
            try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
            for app in ["compat", "compat-ours"] {
                try JSONEncoder().encode(Cluster.document(app)).write(to: URL(fileURLWithPath: "\(home)/\(app).json"))
            }
            var transcript = Transcript()
            for member in cluster.members {
                /// - Parameter ours: the same job, for an app of its own.
                func expect(_ arguments: [String], ours: [String], _ words: String...) async throws {
                    // It ends with 0 whatever the answer is, a 503 for a moment without leader too; each command may be
                    // repeated.
                    var theirs = try await run(Self.original, arguments, home: home, member: member)
                    try await eventuallyTrue("\(member.id): \(arguments)") {
                        if words.allSatisfy(theirs.output.contains) { return true }
                        print("again: \(member.id): \(arguments): \(theirs.output.replacing("\n", with: " "))")
                        theirs = try await run(Self.original, arguments, home: home, member: member)
                        return false
                    }
                    transcript.add(member, "original", arguments, theirs)
                    #expect(theirs.status == 0, "\(member.id): \(arguments): \(theirs.output)")
                    let own = try await run(Cluster.commandLine, ours, home: home, member: member)
                    transcript.add(member, "ours", ours, own)
                    #expect(own.status == 0, "\(member.id): \(ours): \(own.output)")
                    #expect(!own.output.isEmpty)
                }
                try await expect(
                    ["register", "compat.json"], ours: ["apply", "compat-ours.json"], "App registered successfully",
                    "\"status\": \"registered\"")
                try await expect(
                    ["up", "compat"], ours: ["up", "compat-ours", "--wait"], "\"status\": \"started\"",
                    "\"replicas\": 1")
                try await expect(
                    ["scale", "compat", "2"], ours: ["scale", "compat-ours", "2"], "Scaling 'compat' to 2 replicas",
                    "\"status\": \"scaled\"")
                try await cluster.waitForReady("compat", 2, via: member)
                try await cluster.waitForReady("compat-ours", 2, via: member)
                try await expect(
                    ["status", "compat"], ours: ["status", "compat-ours"], "\"ready_replicas\": 2", "\"container_id\"")
                try await expect(["list"], ours: ["list"], "\"name\": \"compat\"")
                try await expect(["metrics"], ours: ["metrics"], "\"healthy_targets\"", "\"active_connections\"")
                try await expect(
                    ["metrics", "--name", "compat"], ours: ["metrics", "compat-ours"], "\"scaling_history\"",
                    "\"healthy_replicas\": 2")
                try await expect(["spec", "compat"], ours: ["spec", "compat-ours"], "image: orchestry-demo:v1")
                try await expect(
                    ["spec", "compat", "--raw"], ours: ["spec", "compat-ours", "--document"], "containerPort: 9010")
                try await expect(
                    ["logs", "compat"], ours: ["logs", "compat-ours"], "2 container(s)", "listening on 9010")
                try await expect(["cluster", "status"], ours: ["cluster", "status"], "\"cluster_size\": 3")
                try await expect(["cluster", "leader"], ours: ["cluster", "leader"], "\"leader_id\"")
                try await expect(["cluster", "health"], ours: ["cluster", "health"], "\"status\": \"healthy\"")
                try await expect(["events"], ours: ["events", "--limit", "5"], "\"event_type\"")
                try await expect(["down", "compat"], ours: ["down", "compat-ours"], "\"containers_stopped\": 2")
                try await expect(
                    ["delete", "compat", "--force"], ours: ["delete", "compat-ours", "--force"],
                    "App deleted successfully")
                try await eventuallyTrue("their containers are gone") {
                    try cluster.containers(of: "compat").isEmpty && cluster.containers(of: "compat-ours").isEmpty
                }
            }
            try transcript.publish()
        }
    }
}
