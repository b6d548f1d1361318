import Foundation
import TestSupport

/// Programs run to their end, as a user at a cluster runs them.
extension Cluster {
    struct CommandRun: Sendable {
        var status: Int32
        /// What it wrote, its errors too.
        var output: String
    }

    /// Our CLI, built beside the daemon.
    static var commandLine: String {
        URL(fileURLWithPath: daemon).deletingLastPathComponent().appendingPathComponent("orchestry").path
    }

    /// Our CLI, told of every node, in the cluster's folder.
    func run(_ arguments: [String]) async throws -> CommandRun {
        let servers = members.map { "http://127.0.0.1:\($0.apiPort)" }.joined(separator: ",")
        return try await Self.run(
            Self.commandLine, arguments, home: folder.path, environment: ["ORCHESTRY_SERVER": servers])
    }

    /// - Parameter home: also where it runs.
    static func run(
        _ binary: String, _ arguments: [String], home: String, environment: [String: String] = [:]
    ) async throws -> CommandRun {
        try await onOwnThread {
            let usual = ["HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"]
            return try process(
                binary, arguments, folder: home, environment: usual.merging(environment) { _, given in given })
        }
    }

    /// Blocking: see `onOwnThread`.
    /// - Parameters:
    ///   - environment: nil: this process' own.
    ///   - withErrors: whether what it writes to standard error counts as output; else it is dropped.
    static func process(
        _ binary: String, _ arguments: [String], folder: String? = nil, environment: [String: String]? = nil,
        withErrors: Bool = true
    ) throws -> CommandRun {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = arguments
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        if let environment { process.environment = environment }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = withErrors ? pipe : FileHandle.nullDevice
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return CommandRun(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
    }
}
