import Foundation
import TestSupport
import Testing

/// Runs the built `orchestry` as a user does.
struct CommandLineRun: Sendable {
    var exitCode: Int32
    var output: String
    var errors: String

    /// Beside the test bundle, where the build puts executables.
    private static let binary = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("orchestry")

    /// - Parameters:
    ///   - server: for ORCHESTRY_SERVER; nil leaves it unset.
    ///   - home: for HOME; a folder of its own, unless told.
    ///   - token: for ORCHESTRY_TOKEN.
    ///   - environment: more of it.
    ///   - onTerminal: whether output and errors are a terminal: both are in `output` then.
    ///   - until: when given, the program is interrupted once its output fulfils this.
    static func run(
        _ arguments: [String], server: String? = nil, input: String? = nil, home: URL? = nil, token: String? = nil,
        environment: [String: String] = [:], onTerminal: Bool = false,
        until: (@Sendable (String) -> Bool)? = nil
    ) async throws -> CommandLineRun {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("orchestry-cli-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // Left-overs in the temporary folder do no harm.
        func file(_ name: String, _ content: String = "") throws -> FileHandle {
            let url = folder.appendingPathComponent(name)
            try content.write(to: url, atomically: false, encoding: .utf8)
            return try FileHandle(forUpdating: url)
        }
        let process = Process()
        process.executableURL = binary
        process.arguments = arguments
        process.environment = [
            "HOME": (home ?? folder).path, "ORCHESTRY_SERVER": server ?? "", "TZ": "UTC", "PATH": "/usr/bin:/bin",
            "ORCHESTRY_TOKEN": token ?? "",
        ].merging(environment) { _, given in given }
        process.standardInput = try file("in", input ?? "")
        let output = try file("out")
        let terminal = onTerminal ? try PseudoTerminal(into: output) : nil
        process.standardOutput = terminal?.end ?? output
        process.standardError = try terminal?.end ?? file("err")
        let (ended, continuation) = AsyncStream.makeStream(of: Void.self)
        process.terminationHandler = { _ in continuation.finish() }
        try process.run()
        func content(_ name: String) -> String {
            (try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)) ?? ""  // Not written yet.
        }
        if let until {
            // In time or not, the output tells.
            _ = await eventually { until(content("out")) || !process.isRunning }
            process.interrupt()
        }
        for await _ in ended {}
        if let terminal {
            try terminal.end.close()
            for await _ in terminal.copied {}
        }
        return CommandLineRun(exitCode: process.terminationStatus, output: content("out"), errors: content("err"))
    }

    /// Runs `body` with a folder of its own.
    static func withFolder<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "orchestry-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // As above.
        return try await body(folder)
    }
}
