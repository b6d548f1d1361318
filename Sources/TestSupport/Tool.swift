import Foundation

/// A program of the machine that a test needs: tshark, Python.
public struct Tool: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public let path: String

    /// - Parameter name: a program's name or its path.
    /// - Returns: nil when it is neither on PATH nor where Debian keeps what only root runs.
    public init?(_ name: String) {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        let candidates =
            name.contains("/") ? [name] : (folders + ["/usr/bin", "/usr/sbin", "/sbin"]).map { "\($0)/\(name)" }
        guard let found = candidates.first(where: FileManager.default.isExecutableFile(atPath:)) else { return nil }
        path = found
    }

    /// Whether a test that needs the program is to run: always where `configs/dev/test` installed what tests need, so
    /// that a missing one is a failure there; elsewhere when it is here.
    public static func isExpected(_ name: String) -> Bool {
        ProcessInfo.processInfo.environment["ORCHESTRY_DEV_REQUIRE_SERVICES"] != nil || Tool(name) != nil
    }

    /// - Throws: `Failure` when it is not installed.
    public static func named(_ name: String) throws -> Tool {
        guard let tool = Tool(name) else { throw Failure(description: "\(name) is not installed") }
        return tool
    }

    /// Runs it to its end, on a thread of its own.
    /// - Returns: its standard output.
    /// - Throws: `Failure` with the status and standard error when the status is not 0.
    @discardableResult
    public func run(_ arguments: [String], input: String = "") async throws -> String {
        let path = path
        return try await onOwnThread {
            // Files, not pipes: nothing fills up while nobody reads.
            let folder = try TemporaryFolder("tool")
            try Data(input.utf8).write(to: URL(fileURLWithPath: folder.appending("in")))
            for name in ["out", "err"] { try Data().write(to: URL(fileURLWithPath: folder.appending(name))) }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: path)
            process.arguments = arguments
            process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: folder.appending("in")))
            process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.appending("out")))
            process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.appending("err")))
            try process.run()
            process.waitUntilExit()
            let output = try String(contentsOfFile: folder.appending("out"), encoding: .utf8)
            guard process.terminationStatus == 0 else {
                let errors = try String(contentsOfFile: folder.appending("err"), encoding: .utf8)
                throw Failure(
                    description: "\(path) ended with \(process.terminationStatus): \(errors.suffix(2000))\n"
                        + output.suffix(2000))
            }
            return output
        }
    }
}
