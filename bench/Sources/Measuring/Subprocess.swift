import Foundation

package struct SubprocessError: Error, CustomStringConvertible {
    package var description: String
}

/// Runs a program and waits for it, not for what it leaves running: Foundation's `Process` would, since what such a
/// child inherits keeps it from seeing the end.
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
    let pid = try spawn(
        arguments, output: output.path(percentEncoded: false), errors: errors.path(percentEncoded: false))
    let status = await withCheckedContinuation { continuation in
        let thread = Thread {
            var status: Int32 = 0
            while waitpid(pid, &status, 0) == -1, errno == EINTR {}
            continuation.resume(returning: status)
        }
        thread.start()
    }
    let said = String(decoding: try Data(contentsOf: output), as: UTF8.self)
    guard status == 0 else {
        let complaint = String(decoding: try Data(contentsOf: errors), as: UTF8.self)
        let end = status & 0x7F == 0 ? "\(status >> 8 & 0xFF)" : "signal \(status & 0x7F)"
        throw SubprocessError(
            description: "'\(arguments.joined(separator: " "))' ended with \(end): \(complaint.suffix(2000))")
    }
    return said
}

private func spawn(_ arguments: [String], output: String, errors: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT, 0o600)
    var words: [UnsafeMutablePointer<CChar>?] = (["env"] + arguments).map { strdup($0) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let status = posix_spawn(&pid, "/usr/bin/env", &actions, nil, words, environ)
    guard status == 0 else {
        throw SubprocessError(description: "can't start \(arguments.first ?? ""): \(String(cString: strerror(status)))")
    }
    return pid
}
