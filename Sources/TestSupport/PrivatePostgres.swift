import Foundation
import Glibc
import Synchronization

/// A PostgreSQL server of the test's own: a new cluster in a temporary folder, on the loopback interface and a free
/// port, trusting everybody there. It ends with the object, and with the test's process, however that ends.
public final class PrivatePostgres: Sendable {
    public struct StartError: Error, CustomStringConvertible {
        public var description: String
        public init(description: String) { self.description = description }
    }

    private struct State {
        var server: ChildProcess?
        var isPaused = false
        var databases = 0
    }

    public let port: Int
    public static let user = "orchestry"
    private let folder: TemporaryFolder
    private let binaries: String
    private let state = Mutex(State())
    private let watchdog: ChildProcess
    private let lifeline: Int32

    /// Whether the server's programs are on this machine.
    public static var isInstalled: Bool { findBinaries() != nil }

    /// Where `postgres` and `initdb` are: the newest of Debian's version folders, else PATH.
    private static func findBinaries() -> String? {
        let root = "/usr/lib/postgresql"
        // Without the folder there is nothing to look through.
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let folders =
            versions.sorted { (Double($0) ?? 0) > (Double($1) ?? 0) }.map { "\(root)/\($0)/bin" }
            + (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
        return folders.first { folder in
            ["postgres", "initdb", "psql"].allSatisfy { access("\(folder)/\($0)", X_OK) == 0 }
        }
    }

    /// Makes the cluster and starts the server; takes about two seconds.
    public init() throws {
        guard let binaries = Self.findBinaries() else { throw StartError(description: "PostgreSQL is not installed") }
        self.binaries = binaries
        folder = try TemporaryFolder("postgres")
        port = freePort()
        // Reads until this process's end of the pipe is closed, on purpose or by its death.
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw StartError(description: "no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        lifeline = ends[1]
        watchdog = try ChildProcess(
            "/bin/sh",
            [
                "-c",
                """
                read line
                if server=$(head -n 1 "$1/postmaster.pid"); then
                    kill -CONT $server
                    kill -QUIT $server
                    for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                        [ -e /proc/$server/exe ] && sleep 0.2
                    done
                fi
                rm -rf "$2"
                """,
                "watchdog", folder.appending("data"), folder.path,
            ], input: ends[0])
        close(ends[0])
        if getuid() == 0 { try own() }
        let status = try run(
            "initdb",
            [
                "--pgdata", folder.appending("data"), "--username", Self.user, "--auth", "trust", "--encoding", "UTF8",
                "--locale", "C", "--no-sync", "--no-instructions",
            ]
        ).wait()
        guard status == 0 else { throw StartError(description: "initdb: status \(status)\n\(log)") }
        try start()
    }

    deinit {
        close(lifeline)
        watchdog.wait()
        state.withLock { $0.server }?.wait()
    }

    /// A libpq URI.
    /// - Parameter database: one that `makeDatabase` made.
    public func connectionString(database: String = "postgres") -> String {
        "postgresql://\(Self.user)@127.0.0.1:\(port)/\(database)"
    }
    public var connectionString: String { connectionString() }

    /// A new empty database.
    /// - Returns: its connection string.
    public func makeDatabase() throws -> String {
        let number = state.withLock { state in
            state.databases += 1
            return state.databases
        }
        let name = "test_\(number)"
        try query("CREATE DATABASE \(name)")
        return connectionString(database: name)
    }

    /// Runs SQL through `psql`.
    /// - Returns: unaligned rows without headings, columns separated by `|`.
    @discardableResult
    public func query(_ sql: String, on connectionString: String? = nil) throws -> String {
        let output = folder.appending("psql-\(UUID().uuidString)")
        let status = try ChildProcess(
            "\(binaries)/psql",
            [
                "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1",
                connectionString ?? self.connectionString, "--command", sql,
            ], output: output
        ).wait()
        let text = try String(contentsOfFile: output, encoding: .utf8)
        guard status == 0 else { throw StartError(description: "psql: \(text)") }
        return text.trimmingCharacters(in: .newlines)
    }

    /// Starts the server, when it does not run, and waits until it takes connections.
    public func start() throws {
        let server = try state.withLock { state -> ChildProcess in
            if let server = state.server { return server }
            let server = try run(
                "postgres",
                ["-D", folder.appending("data"), "-p", String(port), "-k", ""]
                    + [
                        "listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "shared_buffers=16MB",
                        "max_connections=200", "max_wal_size=256MB", "autovacuum_naptime=5", "log_min_messages=fatal",
                    ].flatMap { ["-c", $0] })
            state.server = server
            return server
        }
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while (try? query("SELECT 1")) != "1" {  // Not yet, is all a failure says.
            guard ContinuousClock.now < deadline, kill(server.id, 0) == 0 else {
                throw StartError(description: "PostgreSQL does not start\n\(log)")
            }
            usleep(50_000)  // Blocking by contract: callers run it on a thread of its own.
        }
    }

    /// Ends the server and waits for that.
    /// - Parameter immediately: without a checkpoint, as a crash would (recovery follows at the next start).
    public func stop(immediately: Bool = false) {
        resume()
        guard let server = state.withLock({ $0.server.take() }) else { return }
        server.signal(immediately ? SIGQUIT : SIGINT)
        server.wait()
    }

    public func restart(immediately: Bool = true) throws {
        stop(immediately: immediately)
        try start()
    }

    /// Freezes the server's processes (SIGSTOP): connections stay open, nothing answers.
    public func pause() {
        state.withLock { $0.isPaused = true }
        for process in processes { kill(process, SIGSTOP) }
    }

    public func resume() {
        guard state.withLock({ state in state.isPaused.exchange(false) }) else { return }
        for process in processes { kill(process, SIGCONT) }
    }

    // MARK: -

    /// The server and its direct children, which are its backends.
    private var processes: [pid_t] {
        guard let server = state.withLock({ $0.server?.id }) else { return [] }
        let path = "/proc/\(server)/task/\(server)/children"
        // A server that has just ended has no children.
        let children = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        return [server] + children.split(separator: " ").compactMap { pid_t($0) }
    }

    private var log: String {
        // Only for an error's text.
        (try? String(contentsOfFile: folder.appending("log"), encoding: .utf8)) ?? ""
    }

    /// PostgreSQL refuses to run as root.
    private func own() throws {
        guard let account = Self.account else { throw StartError(description: "no unprivileged account to run as") }
        guard chown(folder.path, account.pw_uid, account.pw_gid) == 0 else {
            throw StartError(description: "can't give \(folder.path) away")
        }
    }

    private static var account: passwd? {
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return entry.pointee }
        }
        return nil
    }

    private func run(_ program: String, _ arguments: [String]) throws -> ChildProcess {
        let path = "\(binaries)/\(program)"
        let log = folder.appending("log")
        guard getuid() == 0, let account = Self.account else {
            return try ChildProcess(path, arguments, output: log)
        }
        return try ChildProcess(
            "/usr/bin/setpriv",
            ["--reuid=\(account.pw_uid)", "--regid=\(account.pw_gid)", "--clear-groups", path] + arguments, output: log)
    }
}

extension Bool {
    /// Sets a new value and returns the old one.
    fileprivate mutating func exchange(_ value: Bool) -> Bool {
        defer { self = value }
        return self
    }
}
