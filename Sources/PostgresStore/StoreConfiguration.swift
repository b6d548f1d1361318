import CLibPQ
import OrchestryModel

/// How to reach PostgreSQL, and how long to wait for it.
public struct StoreConfiguration: Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// A libpq URI (`postgresql://user:password@a,b/name`) or keywords (`host=a,b dbname=name`). Several hosts are
    /// tried in order; unless `target_session_attrs` says otherwise only one that accepts writes will do, so that a
    /// promoted standby is followed. It may lead to pgbouncer, in any mode: then nothing is kept in a session.
    public var connectionString: String
    /// The same for a standby that takes reads which may be a little old; any of several hosts will do. nil: none.
    public var replicaConnectionString: String?
    /// How old what a replica answers may be at most; else the primary is asked. By the lease, which is renewed about each
    /// second: so nothing below two seconds makes sense, and clocks of primary and standby must agree that well.
    public var replicaMaxLag: Duration
    /// Connections for queries, 1…100. The lease has one of its own on top.
    public var poolSize: Int
    /// For one host, from the first packet to the end of authentication.
    public var connectTimeout: Duration
    /// Enforced by the server for each statement.
    public var statementTimeout: Duration
    /// For one call of the store as a whole: waiting for a connection, connecting and all its statements.
    public var operationTimeout: Duration
    /// After this long a transaction whose client is silent is ended by the server.
    public var idleInTransactionTimeout: Duration
    /// Which of several hosts will do, unless the connection string says so itself: libpq's `target_session_attrs`.
    var defaultTarget = "read-write"
    /// Shown in `pg_stat_activity`; a suffix says what the connection is for.
    public var applicationName: String

    public init(
        connectionString: String, replicaConnectionString: String? = nil, replicaMaxLag: Duration = .seconds(5),
        poolSize: Int = 4, connectTimeout: Duration = .seconds(3),
        statementTimeout: Duration = .seconds(5), operationTimeout: Duration = .seconds(10),
        idleInTransactionTimeout: Duration = .seconds(5), applicationName: String = "orchestry"
    ) {
        self.connectionString = connectionString
        self.replicaConnectionString = replicaConnectionString
        self.replicaMaxLag = replicaMaxLag
        self.poolSize = poolSize
        self.connectTimeout = connectTimeout
        self.statementTimeout = statementTimeout
        self.operationTimeout = operationTimeout
        self.idleInTransactionTimeout = idleInTransactionTimeout
        self.applicationName = applicationName
    }

    /// Without the connection string, which may hold a password.
    public var description: String { "StoreConfiguration(pool: \(poolSize), application: \(applicationName))" }
    public var debugDescription: String { description }

    /// - Throws: `StoreError.unavailable` when libpq can't read the connection string. Its text is not repeated,
    ///   because a password may be anywhere in it.
    public func validate() throws(StoreError) {
        _ = try ConnectionTargets(connectionString)
        if let replicaConnectionString { _ = try ConnectionTargets(replicaConnectionString) }
    }

    /// For the connections to the replica.
    var ofReplica: StoreConfiguration? {
        guard let replicaConnectionString else { return nil }
        var configuration = self
        configuration.connectionString = replicaConnectionString
        configuration.defaultTarget = "any"
        return configuration
    }
}

/// The hosts of a connection string. libpq's asynchronous connect leaves time-outs to its caller, so a silent first
/// host would keep it from ever trying the second: each host is therefore connected to separately.
struct ConnectionTargets {
    /// For each host the keywords that single it out; one empty list when the string names at most one host.
    let overrides: [[(keyword: String, value: String)]]
    /// To keep it out of messages; nil: none in the string.
    let password: String?

    init(_ connectionString: String) throws(StoreError) {
        guard let options = PQconninfoParse(connectionString, nil) else {
            throw .unavailable("the PostgreSQL connection string is neither a libpq URI nor libpq keywords")
        }
        defer { PQconninfoFree(options) }
        var values: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { values[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        func list(_ keyword: String) -> [String] {
            values[keyword]?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? []
        }
        let lists = ["host": list("host"), "hostaddr": list("hostaddr"), "port": list("port")]
        let count = max(lists["host", default: []].count, lists["hostaddr", default: []].count)
        password = values["password"].flatMap { $0.isEmpty ? nil : $0 }
        guard count > 1 else {
            overrides = [[]]
            return
        }
        overrides = (0..<count).map { index in
            lists.sorted { $0.key < $1.key }.compactMap { keyword, values in
                // A single port stands for all hosts.
                let value = values.count == 1 ? values[0] : values.indices.contains(index) ? values[index] : ""
                return value.isEmpty ? nil : (keyword, value)
            }
        }
    }

    /// One line, without the password.
    func clean(_ message: String) -> String {
        let line = message.split(whereSeparator: \.isNewline)
            .map { $0.drop { $0 == " " || $0 == "\t" } }.joined(separator: "; ")
        guard let password else { return line }
        return line.split(separator: password, omittingEmptySubsequences: false).joined(separator: "***")
    }
}
