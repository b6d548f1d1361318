import CLibPQ
import Glibc

/// A moment at which a wait ends.
typealias Deadline = ContinuousClock.Instant

/// One libpq connection. Not Sendable: it stays on the thread of the `ConnectionPool` worker that opened it.
///
/// libpq runs in non-blocking mode throughout, and every wait is a `poll` with a deadline: a server that is stopped,
/// partitioned or gone costs at most the time the caller allowed. Only name resolution may block longer.
final class DatabaseConnection {
    private let handle: OpaquePointer
    private let targets: ConnectionTargets
    /// Settings that each transaction begins with, because the session is not ours: a pooler (pgbouncer) lends another one
    /// to each. Empty where the session is ours, and has its settings.
    private var transactionSettings: [Statement] = []
    /// There is a pooler in between.
    var isPooled: Bool { !transactionSettings.isEmpty }
    /// Set when the state of the protocol is no longer known: the connection can only be closed.
    private(set) var isBroken = false

    /// - Parameter keywords: libpq's connection keywords, later ones winning.
    private init(
        keywords: [(keyword: String, value: String)], targets: ConnectionTargets, deadline: Deadline
    ) throws(StoreError) {
        var names: [UnsafePointer<CChar>?] = keywords.map { UnsafePointer(strdup($0.keyword)) }
        var values: [UnsafePointer<CChar>?] = keywords.map { UnsafePointer(strdup($0.value)) }
        defer { for pointer in names + values { free(UnsafeMutablePointer(mutating: pointer)) } }
        names.append(nil)
        values.append(nil)
        guard let handle = PQconnectStartParams(names, values, 1) else { throw .unavailable("out of memory") }
        self.handle = handle
        self.targets = targets
        // Notices would go to standard error.
        _ = PQsetNoticeProcessor(handle, { _, _ in }, nil)
        try finishConnecting(deadline: deadline)
        guard PQsetnonblocking(handle, 1) == 0 else { throw .unavailable(lastError) }
    }

    deinit { PQfinish(handle) }

    /// Tries the hosts of the connection string in order, each for `connectTimeout` at most.
    /// - Parameter settings: values by name, in force for all that this connection does.
    /// - Throws: `StoreError.unavailable`, naming what each host said.
    static func open(
        _ configuration: StoreConfiguration, purpose: String, settings: [(name: String, value: String)],
        deadline: Deadline
    ) throws(StoreError) -> DatabaseConnection {
        let targets = try ConnectionTargets(configuration.connectionString)
        var reasons: [String] = []
        for override in targets.overrides {
            let now = ContinuousClock.now
            guard now < deadline else { break }
            var keywords: [(keyword: String, value: String)] = [("client_encoding", "UTF8")]
            if targets.overrides.count > 1 {
                keywords.append(("target_session_attrs", configuration.defaultTarget))
            }
            keywords.append(("dbname", configuration.connectionString))
            keywords += override
            keywords.append(("application_name", "\(configuration.applicationName) \(purpose)"))
            let hostDeadline = min(deadline, now.advanced(by: configuration.connectTimeout))
            do throws(StoreError) {
                let connection = try DatabaseConnection(keywords: keywords, targets: targets, deadline: hostDeadline)
                try connection.set(settings, deadline: hostDeadline)
                return connection
            } catch {
                reasons.append(Self.reason(of: error))
            }
        }
        throw .unavailable(reasons.isEmpty ? "no time left to connect" : reasons.joined(separator: "; "))
    }

    /// For the session where it is ours, which the process id shows: a pooler gives its clients ids of its own, and leaves
    /// nothing in a session that the next client should not find.
    private func set(_ settings: [(name: String, value: String)], deadline: Deadline) throws(StoreError) {
        func statement(isLocal: Bool) -> Statement {
            Statement(
                "SELECT "
                    + settings.indices.map { "set_config($\($0 * 2 + 1), $\($0 * 2 + 2), \(isLocal))" }
                    .joined(separator: ", "),
                settings.flatMap { [.text($0.name), .text($0.value)] })
        }
        let process = try run(Statement("SELECT pg_backend_pid()"), deadline: deadline).first?.int(0)
        if process == Int(PQbackendPID(handle)) {
            _ = try run(statement(isLocal: false), deadline: deadline)
        } else {
            transactionSettings = [statement(isLocal: true)]
        }
    }

    private static func reason(of error: StoreError) -> String {
        if case .unavailable(let reason) = error { reason } else { error.description }
    }

    private func finishConnecting(deadline: Deadline) throws(StoreError) {
        // libpq says to behave at first as if it had asked to wait for writing.
        var status = PGRES_POLLING_WRITING
        while status != PGRES_POLLING_OK {
            switch status {
            case PGRES_POLLING_READING: try wait(for: POLLIN, deadline: deadline)
            case PGRES_POLLING_WRITING: try wait(for: POLLOUT, deadline: deadline)
            default: throw .unavailable(lastError)
            }
            status = PQconnectPoll(handle)
        }
    }

    /// libpq's words about the last failure.
    private var lastError: String {
        let text = targets.clean(String(cString: PQerrorMessage(handle)))
        return text.isEmpty ? "the connection was lost" : text
    }

    /// Whether the server still holds the connection open. Finds out without a round trip: a server that ended it has
    /// left an end-of-file, which is only seen when somebody looks.
    func isAlive() -> Bool {
        guard !isBroken else { return false }
        while PQstatus(handle) == CONNECTION_OK {
            var descriptor = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
            guard poll(&descriptor, 1, 0) > 0 else { return true }
            guard PQconsumeInput(handle) == 1 else { return false }
        }
        return false
    }

    // MARK: Statements

    /// Runs one statement: outside any transaction, or in one of its own where there is a pooler in between.
    func run(_ statement: Statement, deadline: Deadline) throws(StoreError) -> [Row] {
        guard isPooled, PQtransactionStatus(handle) == PQTRANS_IDLE else {
            return try runAlone(statement, deadline: deadline)
        }
        return try transaction([statement], deadline: deadline)[0]
    }

    private func runAlone(_ statement: Statement, deadline: Deadline) throws(StoreError) -> [Row] {
        guard send(statement) else { throw failure() }
        do throws(StoreError) {
            try flush(deadline: deadline)
            let results = try takeResults(deadline: deadline)
            if let error = results.error { throw error }
            return results.rows
        } catch {
            // After a time-out or a loss the answer may still be on its way: nothing more can be asked here.
            if PQtransactionStatus(handle) == PQTRANS_ACTIVE { isBroken = true }
            throw error
        }
    }

    /// Runs a text of several statements without parameters (migrations, settings).
    func script(_ sql: String, deadline: Deadline) throws(StoreError) {
        guard PQsendQuery(handle, sql) == 1 else { throw failure() }
        do throws(StoreError) {
            try flush(deadline: deadline)
            while true {
                let results = try takeResults(deadline: deadline, all: false)
                if let error = results.error {
                    _ = try takeResults(deadline: deadline)
                    throw error
                }
                if results.isEnd { return }
            }
        } catch {
            if PQtransactionStatus(handle) == PQTRANS_ACTIVE { isBroken = true }
            throw error
        }
    }

    /// Runs the statements as one transaction, sent whole: the server never waits for this process in the middle of it,
    /// as long as the process gets to send it all.
    /// - Throws: `.outcomeUnknown` when the connection was lost or the deadline passed after it was sent; anything else
    ///   means that nothing was changed.
    func transaction(_ statements: [Statement], deadline: Deadline) throws(StoreError) -> [[Row]] {
        try transaction(statements, ending: "COMMIT", deadline: deadline)
    }

    /// As `transaction`, but nothing of it stays.
    func rehearse(_ statements: [Statement], deadline: Deadline) throws(StoreError) {
        _ = try transaction(statements, ending: "ROLLBACK", deadline: deadline)
    }

    private func transaction(
        _ statements: [Statement], ending: String, deadline: Deadline
    ) throws(StoreError) -> [[Row]] {
        let settings = transactionSettings
        // What sets the transaction's isolation comes before any query.
        let isFirst = statements.first?.sql.hasPrefix("SET TRANSACTION") == true
        let ordered =
            isFirst ? Array(statements.prefix(1)) + settings + statements.dropFirst() : settings + statements
        let all = [Statement("BEGIN")] + ordered + [Statement(ending)]
        guard PQenterPipelineMode(handle) == 1 else { throw failure() }
        for statement in all where !send(statement) { throw failure() }
        // Up to here the server has seen no COMMIT that it could act on: it acts on what a sync point ends.
        guard PQpipelineSync(handle) == 1 else { throw failure() }
        var rows: [[Row]] = []
        var firstError: StoreError?
        do throws(StoreError) {
            try flush(deadline: deadline)
            for index in all.indices {
                let results = try takeResults(deadline: deadline)
                if firstError == nil, let error = results.error {
                    // The server's own words about a statement before COMMIT: the transaction is undone. About COMMIT
                    // itself, words that come with the end of the session say nothing certain.
                    // With a pooler in between, such words may be the pooler's at any point: it has lost the server, which
                    // had all of it.
                    if index == all.count - 1 || isPooled, case .unavailable = error { throw error }
                    firstError = error
                    guard PQstatus(handle) == CONNECTION_OK else { break }
                }
                rows.append(results.rows)
            }
            if PQstatus(handle) == CONNECTION_OK { try takeSync(deadline: deadline) }
        } catch {
            isBroken = true
            if let firstError { throw firstError }
            throw .outcomeUnknown(Self.reason(of: error))
        }
        guard PQstatus(handle) == CONNECTION_OK, PQexitPipelineMode(handle) == 1 else {
            isBroken = true
            throw firstError ?? .outcomeUnknown(lastError)
        }
        if let firstError {
            // The server has let go of all locks; this only ends the failed transaction's state.
            if PQtransactionStatus(handle) != PQTRANS_IDLE {
                do { try script("ROLLBACK", deadline: deadline) } catch { isBroken = true }
            }
            throw firstError
        }
        var results = Array(rows.dropFirst().dropLast())
        results.removeSubrange((isFirst ? 1 : 0)..<(isFirst ? 1 : 0) + settings.count)
        return results
    }

    // MARK: Protocol

    private func send(_ statement: Statement) -> Bool {
        let texts: [UnsafePointer<CChar>?] = statement.parameters.map { parameter in
            parameter.text.map { UnsafePointer(strdup($0)) } ?? nil
        }
        defer { for pointer in texts { free(UnsafeMutablePointer(mutating: pointer)) } }
        // All are declared as text (type 25), so that a parameter used twice has one type; the SQL casts where needed.
        let types = [Oid](repeating: 25, count: texts.count)
        return PQsendQueryParams(handle, statement.sql, Int32(texts.count), types, texts, nil, nil, 0) == 1
    }

    private func failure() -> StoreError {
        isBroken = true
        return .unavailable(lastError)
    }

    private struct Results {
        var rows: [Row] = []
        var error: StoreError?
        /// There was no further result.
        var isEnd = false
    }

    /// Reads the results of one statement, or with `all: false` only the next one.
    /// - Throws: when the connection is lost or the deadline passes; the server's refusals are in `error`.
    private func takeResults(deadline: Deadline, all: Bool = true) throws(StoreError) -> Results {
        var results = Results()
        repeat {
            while PQisBusy(handle) == 1 { try read(deadline: deadline) }
            guard let result = PQgetResult(handle) else {
                results.isEnd = true
                return results
            }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
            case PGRES_TUPLES_OK: results.rows += rows(of: result)
            case PGRES_PIPELINE_ABORTED: break  // Follows an error that was already seen.
            case PGRES_FATAL_ERROR:
                let error = self.error(of: result)
                if results.error == nil { results.error = error }
                // Without a SQLSTATE it is libpq that speaks: the server's answer never came.
                if field(UInt8(ascii: "C"), of: result) == nil { throw error }
                if PQstatus(handle) != CONNECTION_OK { return results }
            default: throw failure()
            }
        } while all
        return results
    }

    private func takeSync(deadline: Deadline) throws(StoreError) {
        while PQisBusy(handle) == 1 { try read(deadline: deadline) }
        guard let result = PQgetResult(handle) else { throw failure() }
        defer { PQclear(result) }
        guard PQresultStatus(result) == PGRES_PIPELINE_SYNC else { throw failure() }
    }

    private func rows(of result: OpaquePointer) -> [Row] {
        let columns = PQnfields(result)
        return (0..<PQntuples(result)).map { row in
            Row(
                values: (0..<columns).map { column in
                    PQgetisnull(result, row, column) == 1 ? nil : String(cString: PQgetvalue(result, row, column))
                })
        }
    }

    private func field(_ code: UInt8, of result: OpaquePointer) -> String? {
        PQresultErrorField(result, Int32(code)).map { String(cString: $0) }
    }

    private func error(of result: OpaquePointer) -> StoreError {
        // Only the primary message: detail and context repeat row contents.
        StoreError(
            sqlState: field(UInt8(ascii: "C"), of: result) ?? "",
            message: field(UInt8(ascii: "M"), of: result).map(targets.clean) ?? lastError,
            constraint: field(UInt8(ascii: "n"), of: result))
    }

    /// Sends everything queued. Reads meanwhile: a server whose own answers are not read stops reading.
    private func flush(deadline: Deadline) throws(StoreError) {
        while true {
            switch PQflush(handle) {
            case 0: return
            case 1:
                let events = try wait(for: POLLIN | POLLOUT, deadline: deadline)
                if events & Int16(POLLIN) != 0, PQconsumeInput(handle) != 1 { throw failure() }
            default: throw failure()
            }
        }
    }

    private func read(deadline: Deadline) throws(StoreError) {
        try wait(for: POLLIN, deadline: deadline)
        guard PQconsumeInput(handle) == 1 else { throw failure() }
    }

    /// - Returns: what the socket is ready for.
    @discardableResult
    private func wait(for events: Int32, deadline: Deadline) throws(StoreError) -> Int16 {
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else {
                isBroken = true
                throw .unavailable("no answer in time")
            }
            var descriptor = pollfd(fd: PQsocket(handle), events: Int16(events), revents: 0)
            guard descriptor.fd >= 0 else { throw failure() }
            // Rounded up, so that the last millisecond is not spent spinning.
            let milliseconds = min(left / .milliseconds(1) + 1, 60_000)
            let count = poll(&descriptor, 1, Int32(milliseconds))
            if count > 0 { return descriptor.revents }
            if count < 0, errno != EINTR { throw failure() }
        }
    }
}
