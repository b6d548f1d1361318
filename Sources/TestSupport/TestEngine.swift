import Foundation

/// The container engine that tests use: Docker's usual one, or what `ORCHESTRY_DEV_ENGINE_SOCKET` names, such as Podman's
/// compatible service.
public enum TestEngine {
    private static let chosen = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_ENGINE_SOCKET"]
    /// Absolute path of a unix socket.
    public static let socket = chosen ?? "/var/run/docker.sock"
    /// Where one was chosen, its absence is a failure, not a reason to skip.
    public static let isInstalled = chosen != nil || FileManager.default.fileExists(atPath: socket)
    /// Which one it is, for the few things that engines show in different ways.
    public static let isPodman = Task<Bool, Never> {
        await run(["docker", "version", "--format", "{{json .Server.Components}}"]).output.contains("Podman")
    }
    /// What `env` is given so that Docker's client, and scripts that use it, ask this engine.
    public static let environment = ["DOCKER_HOST=unix://\(socket)", "DOCKER_BUILDKIT=0"]

    /// Runs a program found by `PATH`, with Docker's client turned to this engine, on a thread of its own.
    /// - Returns: its status (-1: it can't be started) and what it wrote to both streams.
    @discardableResult
    public static func run(_ words: [String]) async -> (status: Int32, output: String) {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: runBlocking(words)) }
        }
    }

    private static func runBlocking(_ words: [String]) -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = environment + words
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        do {
            try process.run()
        } catch {
            return (-1, "\(error)")
        }
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
