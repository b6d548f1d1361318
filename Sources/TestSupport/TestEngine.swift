import Foundation
import Synchronization

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

    private static let endedClusters = Mutex<Set<String>>([])
    /// Longer than any test.
    private static let leftOverAfter = 900

    /// Removes a test cluster's networks, those of clusters that ended before in this process, and unused ones of earlier
    /// processes. An engine has room for about thirty, and finishes one it was asked for although the daemon that asked
    /// was stopped meanwhile: some appear after their cluster's end.
    public static func removeNetworks(ofEnded cluster: String) async {
        let ended = endedClusters.withLock {
            $0.insert(cluster)
            return $0
        }
        let label = "orchestry.cluster"
        let ids = await run(["docker", "network", "ls", "-q", "--filter", "label=\(label)"]).output
            .split(separator: "\n")
        guard !ids.isEmpty else { return }
        // One that is gone by now is reported and left out.
        let format = "{{.Created.Unix}} {{.ID}} {{len .Containers}} {{index .Labels \"\(label)\"}}"
        let rows = await run(["docker", "network", "inspect", "--format", format] + ids.map(String.init)).output
        let now = Int(Date().timeIntervalSince1970)
        let unused = rows.split(separator: "\n").compactMap { row -> String? in
            let words = row.split(separator: " ").map(String.init)
            guard words.count == 4, let created = Int(words[0]) else { return nil }
            let isTest = words[3].hasPrefix("it-") || words[3].hasPrefix("test-")
            let isLeftOver = isTest && words[2] == "0" && now - created > leftOverAfter
            return ended.contains(words[3]) || isLeftOver ? words[1] : nil
        }
        if !unused.isEmpty { await run(["docker", "network", "rm"] + unused) }
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
