import Foundation

package struct SubprocessError: Error, CustomStringConvertible {
    package var description: String
}

/// Runs a program and waits for it, not for what it leaves running.
/// - Parameter arguments: the program, looked up in PATH, and its arguments.
/// - Returns: what it wrote to standard output.
/// - Throws: `SubprocessError` when it can't be started or fails, with what it wrote to standard error.
package func run(_ arguments: [String]) async throws -> String {
    // Files, not pipes: a daemon that it starts would hold a pipe open.
    let folder = FileManager.default.temporaryDirectory.appending(path: "orchestry-bench-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    // What can't be removed lies in the system's folder for such things.
    defer { try? FileManager.default.removeItem(at: folder) }
    let (output, errors) = (folder.appending(path: "out"), folder.appending(path: "err"))
    for file in [output, errors] { try Data().write(to: file) }
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    let status = try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
        do {
            try process.run()
        } catch {
            process.terminationHandler = nil
            continuation.resume(throwing: error)
        }
    }
    guard status == 0 else {
        let said = String(decoding: try Data(contentsOf: errors), as: UTF8.self)
        throw SubprocessError(
            description: "'\(arguments.joined(separator: " "))' ended with \(status): \(said.suffix(2000))")
    }
    return String(decoding: try Data(contentsOf: output), as: UTF8.self)
}
