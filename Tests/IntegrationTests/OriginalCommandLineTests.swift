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
    private struct Run {
        var status: Int32
        var output: String
    }

    /// Runs the CLI with a user configuration that names `member`.
    private func run(_ arguments: [String], home: String, member: Cluster.Member) throws -> Run {
        let folder = home + "/.config/orchestry"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try "host: 127.0.0.1\nport: \(member.apiPort)\n".write(
            toFile: folder + "/config.yaml", atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(
            fileURLWithPath: ProcessInfo.processInfo.environment["ORCHESTRY_DEV_ORIGINAL_CLI"] ?? "")
        process.arguments = arguments
        process.environment = ["HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"]
        process.currentDirectoryURL = URL(fileURLWithPath: home)
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return Run(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
    }

    @Test func `every command works against each node`() async throws {
        try await withCluster("original") { cluster in
            _ = try await cluster.leader()
            let home = cluster.folder.path + "/home"
            try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
            try JSONEncoder().encode(Cluster.document("compat")).write(to: URL(fileURLWithPath: home + "/app.json"))
            for member in cluster.members {
                func expect(_ arguments: [String], _ words: String...) throws {
                    let run = try run(arguments, home: home, member: member)
                    #expect(run.status == 0, "\(member.id): \(arguments): \(run.output)")
                    for word in words {
                        #expect(run.output.contains(word), "\(member.id): \(arguments): \(run.output)")
                    }
                }
                try expect(["register", "app.json"], "App registered successfully", "\"status\": \"registered\"")
                try expect(["up", "compat"], "\"status\": \"started\"", "\"replicas\": 1")
                try expect(["scale", "compat", "2"], "Scaling 'compat' to 2 replicas", "\"status\": \"scaled\"")
                try await cluster.waitForReady("compat", 2, via: member)
                try expect(["status", "compat"], "\"ready_replicas\": 2", "\"container_id\"")
                try expect(["list"], "\"name\": \"compat\"")
                try expect(["metrics"], "\"healthy_targets\"", "\"active_connections\"")
                try expect(["metrics", "--name", "compat"], "\"scaling_history\"", "\"healthy_replicas\": 2")
                try expect(["spec", "compat"], "image: orchestry-demo:v1")
                try expect(["spec", "compat", "--raw"], "containerPort: 9010")
                try expect(["logs", "compat"], "2 container(s)", "listening on 9010")
                try expect(["cluster", "status"], "\"cluster_size\": 3")
                try expect(["cluster", "leader"], "\"leader_id\"")
                try expect(["cluster", "health"], "\"status\": \"healthy\"")
                try expect(["events"], "\"event_type\"")
                try expect(["down", "compat"], "\"containers_stopped\": 2")
                try expect(["delete", "compat", "--force"], "App deleted successfully")
                try await eventuallyTrue("its containers are gone") { try cluster.containers(of: "compat").isEmpty }
            }
        }
    }
}
