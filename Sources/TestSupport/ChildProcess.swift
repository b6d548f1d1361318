import Glibc

/// A process that a test started. Nothing else of the test is inherited but standard input where asked for.
public final class ChildProcess: Sendable {
    public struct SpawnError: Error, CustomStringConvertible {
        public var description: String
        public init(description: String) { self.description = description }
    }

    public let id: pid_t

    /// - Parameters:
    ///   - executable: an absolute path.
    ///   - input: a descriptor to be its standard input; nil: empty.
    ///   - output: a file that its standard output and error are appended to; nil: discarded.
    ///   - ownSession: signals to the test's process group, such as Ctrl-C's, don't reach it.
    public init(
        _ executable: String, _ arguments: [String], input: Int32? = nil, output: String? = nil,
        ownSession: Bool = false
    ) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input {
            posix_spawn_file_actions_adddup2(&actions, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, output ?? "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0o666)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // Descriptors of other tests would keep their sockets and pipes open. Closing what is not open does no harm.
        for descriptor in Int32(3)..<1024 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        // A thread of the test may have signals blocked, which the child would inherit and never see.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        // POSIX_SPAWN_SETSID, which glibc's header shows to GNU C only.
        let newSession: Int32 = 0x80
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | (ownSession ? newSession : 0)))
        var texts: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        texts.append(nil)
        defer { for text in texts { free(text) } }
        var id = pid_t()
        let status = posix_spawn(&id, executable, &actions, &attributes, texts, environ)
        guard status == 0 else {
            throw SpawnError(description: "can't start \(executable): \(String(cString: strerror(status)))")
        }
        self.id = id
    }

    /// Waits for its end.
    /// - Returns: the exit status, or 128 + the signal that ended it.
    @discardableResult
    public func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(id, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    /// As `wait`, without holding up other tasks.
    @discardableResult
    public func ended() async throws -> Int32 { try await onOwnThread { self.wait() } }

    /// Whether it has ended; it stays to be waited for.
    public var hasEnded: Bool {
        var information = siginfo_t()
        let status = waitid(P_PID, id_t(id), &information, WEXITED | WNOHANG | WNOWAIT)
        // Nothing to wait for: somebody has.
        return status != 0 || information.si_signo != 0
    }

    public func signal(_ number: Int32) { kill(id, number) }
}
