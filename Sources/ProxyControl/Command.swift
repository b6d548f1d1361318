import Glibc

/// Runs a short-lived program and waits for its end. Blocking.
enum Command {
    struct Outcome {
        /// The exit status; 128 + the signal's number if a signal ended it.
        var status: Int32
        /// Standard output and standard error, as they came.
        var output: String
    }

    /// - Parameters:
    ///   - output: a file that takes what the program writes. Not a pipe: a daemon that it leaves behind would keep
    ///     that open.
    ///   - timeout: after it the program is killed, seconds.
    static func run(
        _ binary: String, _ arguments: [String], folder: String, output: String, timeout: Double
    ) throws(ProxyError) -> Outcome {
        let operation = "running \(binary)"
        let pid = try spawn(binary, arguments, folder, output, operation)
        let deadline = ContinuousClock.now + .seconds(timeout)
        var status: Int32 = 0
        while true {
            let result = waitpid(pid, &status, WNOHANG)
            if result == pid { break }
            if result < 0 && errno != EINTR { throw .system(operation, binary, errno) }
            if ContinuousClock.now > deadline {
                kill(pid, SIGKILL)
                waitpid(pid, &status, 0)
                throw ProxyError(.timeout, while: operation, "not done after \(timeout) s")
            }
            usleep(500)  // On the controller's own queue.
        }
        let signal = status & 0x7f
        return Outcome(
            status: signal == 0 ? (status >> 8) & 0xff : 128 + signal, output: Files.text(output) ?? "")
    }

    private static func spawn(
        _ binary: String, _ arguments: [String], _ folder: String, _ output: String, _ operation: String
    ) throws(ProxyError) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // nginx must not keep our sockets and locks open after we are gone.
        _ = Extensions.closeFrom?(&actions, 3)
        guard let changeFolder = Extensions.changeFolder, changeFolder(&actions, folder) == 0 else {
            throw ProxyError(.notInstalled, while: operation, "glibc 2.29 or later is needed")
        }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads of ours block or ignore signals that nginx lives by.
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // A group of its own: Ctrl-C in the node's terminal is not meant for it.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var argv: [UnsafeMutablePointer<CChar>?] = ([binary] + arguments).map { strdup($0) }
        argv.append(nil)
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil]
        defer {
            argv.forEach { free($0) }
            environment.forEach { free($0) }
        }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, binary, &actions, &attributes, &argv, &environment)
        guard result == 0 else { throw .system(operation, binary, result) }
        return pid
    }

    /// Functions of glibc that its headers hide from Swift.
    private enum Extensions {
        typealias Actions = UnsafeMutablePointer<posix_spawn_file_actions_t>
        typealias CloseFrom = @convention(c) (Actions, Int32) -> Int32
        typealias ChangeFolder = @convention(c) (Actions, UnsafePointer<CChar>) -> Int32

        /// Since glibc 2.34.
        static let closeFrom = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
            unsafeBitCast($0, to: CloseFrom.self)
        }
        /// Since glibc 2.29.
        static let changeFolder = dlsym(nil, "posix_spawn_file_actions_addchdir_np").map {
            unsafeBitCast($0, to: ChangeFolder.self)
        }
    }
}
