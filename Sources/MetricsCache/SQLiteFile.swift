import CSQLite
import Foundation

/// What SQLite said when it could not do something.
struct SQLiteError: Error, Hashable, CustomStringConvertible {
    /// The extended result code.
    var code: Int32
    var message: String

    private var primary: Int32 { code & 0xff }
    /// The file is not a database, or damaged.
    var isDamage: Bool { primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB }
    /// The disk, or the limit set for the file.
    var isFull: Bool { primary == SQLITE_FULL }
    /// Another process holds the file.
    var isBusy: Bool { primary == SQLITE_BUSY }
    var description: String { "SQLite: \(message) (code \(code))" }
}

/// One open database file. Not Sendable: it stays on the thread that opened it.
final class SQLiteFile {
    let path: String
    private let handle: OpaquePointer
    private var prepared: [String: OpaquePointer] = [:]

    /// Opens or makes the file, in WAL mode.
    /// - Parameters:
    ///   - durability: `FULL` (a commit survives a power cut) or `NORMAL` (it survives the process's death).
    ///   - isExclusive: no other process may open it meanwhile.
    init(path: String, durability: Durability, isExclusive: Bool) throws(SQLiteError) {
        var opened: OpaquePointer?
        let status = sqlite3_open_v2(
            path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil
        )
        guard let opened else { throw SQLiteError(code: SQLITE_NOMEM, message: "out of memory") }
        self.path = path
        handle = opened
        guard status == SQLITE_OK else { throw lastError }
        sqlite3_busy_timeout(handle, 2000)
        // Before the first access, or the mode comes too late for the WAL's index.
        if isExclusive { try execute("PRAGMA locking_mode = EXCLUSIVE") }
        try execute("PRAGMA journal_mode = WAL")
        try execute("PRAGMA synchronous = \(durability.rawValue)")
        if isExclusive { try execute("BEGIN EXCLUSIVE; COMMIT") }
    }

    enum Durability: String { case normal = "NORMAL", full = "FULL" }

    deinit {
        for statement in prepared.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    private var lastError: SQLiteError {
        SQLiteError(code: sqlite3_extended_errcode(handle), message: String(cString: sqlite3_errmsg(handle)))
    }

    enum Value {
        case int(Int64)
        case text(String)
        case blob([UInt8])
    }

    /// Columns of the row at hand.
    struct Columns {
        fileprivate let statement: OpaquePointer
        func int(_ index: Int32) -> Int64 { sqlite3_column_int64(statement, index) }
        func text(_ index: Int32) -> String { sqlite3_column_text(statement, index).map { String(cString: $0) } ?? "" }
        func bytes(_ index: Int32) -> [UInt8] {
            guard let start = sqlite3_column_blob(statement, index) else { return [] }
            return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, index))))
        }
    }

    /// Runs a text of statements without parameters; rows are ignored.
    func execute(_ sql: String) throws(SQLiteError) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw lastError }
    }

    /// Runs one statement, which stays prepared.
    /// - Parameter row: called for each row.
    func run(
        _ sql: String, _ parameters: [Value] = [], row: (Columns) throws(SQLiteError) -> Void = { _ in }
    ) throws(SQLiteError) {
        let statement = try prepare(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, parameter) in parameters.enumerated() {
            guard bind(parameter, at: Int32(index + 1), of: statement) == SQLITE_OK else { throw lastError }
        }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: try row(Columns(statement: statement))
            case SQLITE_DONE: return
            default: throw lastError
            }
        }
    }

    /// Runs `body` in a transaction that is rolled back when it throws.
    func transaction<Value>(_ body: () throws(SQLiteError) -> Value) throws(SQLiteError) -> Value {
        try execute("BEGIN IMMEDIATE")
        do throws(SQLiteError) {
            let value = try body()
            try execute("COMMIT")
            return value
        } catch {
            // SQLite may have rolled back itself (disk full): then there is nothing to undo.
            if sqlite3_get_autocommit(handle) == 0 { try? execute("ROLLBACK") }
            throw error
        }
    }

    /// The first column of the first row.
    func integer(_ sql: String, _ parameters: [Value] = []) throws(SQLiteError) -> Int64? {
        var value: Int64?
        try run(sql, parameters) { columns in value = value ?? columns.int(0) }
        return value
    }

    /// The code of a damaged file.
    static let damage = SQLITE_CORRUPT

    var changes: Int { Int(sqlite3_changes64(handle)) }
    var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

    /// - Throws: an error with `isDamage` when the file's structure is not sound.
    func check() throws(SQLiteError) {
        var findings: [String] = []
        try run("PRAGMA quick_check(3)") { columns in findings.append(columns.text(0)) }
        guard findings == ["ok"] else {
            throw SQLiteError(code: SQLITE_CORRUPT, message: findings.joined(separator: "; "))
        }
    }

    private func prepare(_ sql: String) throws(SQLiteError) -> OpaquePointer {
        if let statement = prepared[sql] { return statement }
        var statement: OpaquePointer?
        let status = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard status == SQLITE_OK, let statement else { throw lastError }
        prepared[sql] = statement
        return statement
    }

    private func bind(_ value: Value, at index: Int32, of statement: OpaquePointer) -> Int32 {
        // SQLite's SQLITE_TRANSIENT: it copies the bytes at once. The macro is a cast that the importer leaves out.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        return switch value {
        case .int(let number): sqlite3_bind_int64(statement, index, number)
        case .text(let text): sqlite3_bind_text(statement, index, text, -1, transient)
        case .blob(let bytes): sqlite3_bind_blob64(statement, index, bytes, UInt64(bytes.count), transient)
        }
    }

    /// Makes the folder, for the owner only.
    static func makeFolder(_ folder: String) throws(SQLiteError) {
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o750])
        } catch {
            throw SQLiteError(code: SQLITE_CANTOPEN, message: "can't make the folder \(folder)")
        }
    }
}
