import Foundation

/// Runs a script and waits for it. Blocking: call it on a thread of its own.
public enum Shell {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    /// - Parameter arguments: `$1`, `$2`… of the script.
    /// - Returns: what it wrote, without line breaks at the end.
    /// - Throws: `Failure` with that when its status is not 0.
    @discardableResult
    public static func run(_ script: String, _ arguments: [String] = []) throws -> String {
        let output = FileManager.default.temporaryDirectory.appendingPathComponent("shell-\(UUID().uuidString)").path
        defer { unlink(output) }
        let status = try ChildProcess("/bin/sh", ["-c", script, "sh"] + arguments, output: output).wait()
        let text = try String(contentsOfFile: output, encoding: .utf8).trimmingCharacters(in: .newlines)
        guard status == 0 else { throw Failure(description: "status \(status) of\n\(script)\n\(text)") }
        return text
    }
}

/// A process that ends with this one, however that ends: it waits on a pipe that only this process holds open.
public final class Watchdog: Sendable {
    private let process: ChildProcess
    private let lifeline: Int32

    /// - Parameter script: run by `sh` when this object or this process is gone; `arguments` are its `$1`, `$2`….
    public init(_ script: String, _ arguments: [String]) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw Shell.Failure(description: "no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        lifeline = ends[1]
        defer { close(ends[0]) }
        process = try ChildProcess(
            "/bin/sh", ["-c", "read line\n" + script, "watchdog"] + arguments, input: ends[0], ownSession: true)
    }

    deinit {
        close(lifeline)
        process.wait()
    }
}
