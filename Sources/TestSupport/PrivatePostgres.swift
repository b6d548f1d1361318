import Foundation
import Glibc
import Synchronization

/// A PostgreSQL server of the test's own: a new cluster in a temporary folder, on the loopback interface and a free
/// port or in a namespace, trusting everybody there. It ends with the object, and with the test's process, however that
/// ends.
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

    /// Where a server lives instead of the loopback interface.
    public struct Place: Sendable {
        public var lab: NetworkLab
        public var member: String
        public init(_ lab: NetworkLab, _ member: String) {
            self.lab = lab
            self.member = member
        }
    }

    public let host: String
    public let port: Int
    public static let user = "orchestry"
    private let place: Place?
    private let settings: [String]
    private let folder: TemporaryFolder
    private let binaries: String
    private let state = Mutex(State())
    private let watchdog: Watchdog
    /// Under all it writes, where one was asked for.
    public let disk: SmallDisk?

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
    /// - Parameters:
    ///   - place: a namespace to run in; nil: the loopback interface.
    ///   - settings: `name=value`, on top of what suits a test.
    ///   - primary: whose streaming standby it becomes, by `pg_basebackup`; nil: a server of its own.
    ///   - diskMegabytes: size of a file system of its own; nil: where temporary files are.
    public init(
        in place: Place? = nil, settings: [String] = [], standbyOf primary: PrivatePostgres? = nil,
        diskMegabytes: Int? = nil
    ) throws {
        guard let binaries = Self.findBinaries() else { throw StartError(description: "PostgreSQL is not installed") }
        self.binaries = binaries
        self.place = place
        self.settings = settings
        let folder = try TemporaryFolder("postgres")
        self.folder = folder
        disk = try diskMegabytes.map { try SmallDisk(at: folder.path, megabytes: $0) }
        host = place.map { $0.lab.address(of: $0.member) } ?? "127.0.0.1"
        port = place == nil ? freePort() : 5432
        watchdog = try Watchdog(
            """
            if server=$(head -n 1 "$1/postmaster.pid"); then
                kill -CONT $server
                kill -QUIT $server
                for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                    [ -e /proc/$server/exe ] && sleep 0.2
                done
            fi
            rm -rf "$2"
            """, [folder.appending("data"), folder.path])
        if getuid() == 0 { try own() }
        if let primary { try copy(primary) } else { try initialize() }
        try start()
    }

    /// The watchdog, which goes next, removes the files.
    deinit { stop(immediately: true) }

    private func initialize() throws {
        let status = try run(
            "initdb",
            [
                "--pgdata", folder.appending("data"), "--username", Self.user, "--auth", "trust", "--encoding", "UTF8",
                "--locale", "C", "--no-sync", "--no-instructions",
            ]
        ).wait()
        guard status == 0 else { throw StartError(description: "initdb: status \(status)\n\(log)") }
        guard place != nil else { return }
        let rules = "host all all samenet trust\nhost replication all samenet trust\n"
        let path = folder.appending("data/pg_hba.conf")
        try (String(contentsOfFile: path, encoding: .utf8) + rules).write(
            toFile: path, atomically: false, encoding: .utf8)
    }

    private func copy(_ primary: PrivatePostgres) throws {
        let status = try run(
            "pg_basebackup",
            [
                "--pgdata", folder.appending("data"), "--dbname", primary.connectionString, "--write-recovery-conf",
                "--wal-method", "stream", "--checkpoint", "fast", "--no-sync",
            ]
        ).wait()
        guard status == 0 else { throw StartError(description: "pg_basebackup: status \(status)\n\(log)") }
    }

    /// A libpq URI.
    /// - Parameter database: one that `makeDatabase` made.
    public func connectionString(database: String = "postgres") -> String {
        "postgresql://\(Self.user)@\(host):\(port)/\(database)"
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
                        "listen_addresses=\(host)", "fsync=off", "full_page_writes=off", "shared_buffers=16MB",
                        "max_connections=200", "max_wal_size=256MB", "autovacuum_naptime=5", "log_min_messages=fatal",
                    ].flatMap { ["-c", $0] } + settings.flatMap { ["-c", $0] })
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
        var command = (executable: "\(binaries)/\(program)", arguments: arguments)
        if getuid() == 0, let account = Self.account {
            command = (
                "/usr/bin/setpriv",
                ["--reuid=\(account.pw_uid)", "--regid=\(account.pw_gid)", "--clear-groups", command.executable]
                    + command.arguments
            )
        }
        if let place {
            command = place.lab.command(
                in: place.member, command.executable, command.arguments,
                environment: ["PATH": "/usr/bin:/bin", "HOME": folder.path])
        }
        return try ChildProcess(command.executable, command.arguments, output: folder.appending("log"))
    }
}

extension Bool {
    /// Sets a new value and returns the old one.
    fileprivate mutating func exchange(_ value: Bool) -> Bool {
        defer { self = value }
        return self
    }
}
