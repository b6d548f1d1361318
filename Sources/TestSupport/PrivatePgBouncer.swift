import Foundation

/// A pgbouncer of the test's own before a PostgreSQL server, in transaction mode. Ends with the object and with the test's
/// process.
public final class PrivatePgBouncer: Sendable {
    public static let binary = "/usr/sbin/pgbouncer"
    public static var isInstalled: Bool { access(binary, X_OK) == 0 }

    public let port: Int
    private let folder: TemporaryFolder
    private let process: ChildProcess
    private let watchdog: Watchdog

    /// Blocks until it takes connections.
    /// - Parameter poolSize: connections to the server for each database.
    public init(before server: PrivatePostgres, poolSize: Int) throws {
        let folder = try TemporaryFolder("pgbouncer")
        port = freePort()
        self.folder = folder
        try "\"\(PrivatePostgres.user)\" \"\"\n".write(
            toFile: folder.appending("users"), atomically: false, encoding: .utf8)
        try """
        [databases]
        * = host=\(server.host) port=\(server.port)
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = \(port)
        unix_socket_dir =
        auth_type = trust
        auth_file = \(folder.appending("users"))
        pool_mode = transaction
        default_pool_size = \(poolSize)
        max_client_conn = 200
        server_login_retry = 1
        server_round_robin = 1

        """.write(toFile: folder.appending("ini"), atomically: false, encoding: .utf8)
        // It refuses to run as root.
        let account = getuid() == 0 ? ["--user", "postgres"] : []
        process = try ChildProcess(
            Self.binary, account + [folder.appending("ini")], output: folder.appending("log"))
        watchdog = try Watchdog("kill -9 $1; rm -rf \"$2\"", [String(process.id), folder.path])
        let deadline = ContinuousClock.now.advanced(by: .seconds(20))
        while (try? server.query("SELECT 1", on: connectionString(database: "postgres"))) != "1" {  // Not yet.
            guard ContinuousClock.now < deadline, !process.hasEnded else {
                // Only for the error's text.
                let log = (try? String(contentsOfFile: folder.appending("log"), encoding: .utf8)) ?? ""
                throw PrivatePostgres.StartError(description: "pgbouncer does not start\n\(log)")
            }
            usleep(50_000)  // Blocking by contract.
        }
    }

    deinit {
        process.signal(SIGKILL)
        process.wait()
    }

    /// A libpq URI.
    public func connectionString(database: String) -> String {
        "postgresql://\(PrivatePostgres.user)@127.0.0.1:\(port)/\(database)"
    }
}
