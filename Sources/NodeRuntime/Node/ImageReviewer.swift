import DockerEngine
import Foundation
import Logging
import OrchestryModel
import SecretSealing

/// Looks at a revision's image before its first instance is made, on the leader's node: what its tag stands for, and what
/// the configured scanner says of it.
struct ImageReviewer: Sendable {
    struct Finding: Sendable {
        var digest: String?
        /// Why no instance may be made; nil: nothing stands against it.
        var refusal: String?
    }
    /// Enough for a person to see why; scanners write pages.
    private static let maximumReason = 1_500
    private static let scanTimeout = Duration.seconds(600)

    var engine: DockerEngine
    var keys: SecretKeys?
    /// Program and arguments; `{image}` in one stands for the image, which comes last where none has it. Empty: no scan.
    var scanCommand: [String]
    var logger: Logger

    func isNeeded(_ spec: AppSpec) -> Bool {
        !scanCommand.isEmpty || (spec.pullPolicy != .never && !spec.image.contains("@"))
    }

    func review(_ spec: AppSpec, secrets: [SealedSecret]) async -> Finding {
        var finding = Finding()
        var authentication: String?
        do {
            authentication = try spec.registryAuthentication(secrets, with: keys)
            if spec.pullPolicy != .never, !spec.image.contains("@") {
                finding.digest = try await engine.digest(
                    of: spec.image, preferringLocal: spec.pullPolicy == .ifNotPresent,
                    registryAuthentication: authentication)
            }
        } catch {
            // The agents will say so too if it matters: they pull by tag.
            logger.warning("An image's digest is not known", metadata: ["image": "\(spec.image)", "error": "\(error)"])
        }
        guard !scanCommand.isEmpty else { return finding }
        let image = finding.digest.map { "\(repository(of: spec.image))@\($0)" } ?? spec.image
        do {
            if spec.pullPolicy != .never, try await !engine.imageIsPresent(image) {
                try await engine.pull(image, registryAuthentication: authentication)
            }
            finding.refusal = try await scan(image)
        } catch {
            finding.refusal = "its image could not be scanned: \(error)"
        }
        return finding
    }

    /// - Returns: the scanner's words when it ended with anything but 0.
    private func scan(_ image: String) async throws -> String? {
        var words = scanCommand.map { $0.replacing("{image}", with: image) }
        if words == scanCommand { words.append(image) }
        let outcome = try await ScanProcess.run(words, within: Self.scanTimeout)
        guard outcome.status != 0 else { return nil }
        let output = outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
        return "the image scan ended with \(outcome.status): \(output.suffix(Self.maximumReason))"
    }
}

/// A scanner's run.
enum ScanProcess {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }
    /// What `timeout -s KILL` ends with when it had to.
    private static let killed: Int32 = 137
    /// Kept of what it writes.
    private static let maximumOutput = 64 << 10

    /// - Throws: `Failure` when it can't be started or does not end in time (it is killed then).
    static func run(_ words: [String], within limit: Duration) async throws -> (status: Int32, output: String) {
        let seconds = Int(limit.components.seconds)
        let outcome = try await withCheckedThrowingContinuation { continuation in
            // Waiting blocks: a thread of its own, for as long as the scanner runs.
            Thread.detachNewThread {
                continuation.resume(
                    with: Result { try runBlocking(["timeout", "-s", "KILL", String(seconds)] + words) })
            }
        }
        guard outcome.status != killed else {
            throw Failure(description: "\(words.first ?? "it") was killed, or not done after \(seconds) s")
        }
        return outcome
    }

    private static func runBlocking(_ words: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        var output = Data()
        while let part = try pipe.fileHandleForReading.read(upToCount: maximumOutput), !part.isEmpty {
            output = (output + part).suffix(maximumOutput)
        }
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
