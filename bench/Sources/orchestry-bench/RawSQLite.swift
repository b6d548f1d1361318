import CSystemSQLite

/// The baseline of `cache`: one prepared INSERT into the same table, through SQLite's own interface. Not Sendable.
final class RawSQLite {
    private let handle: OpaquePointer
    private let statement: OpaquePointer

    struct Row {
        var second: Int64
        var app: String
        var node: String
        var sample: [UInt8]
    }

    /// - Parameter pragmas: run first; empty: SQLite's defaults (a rollback journal, synced at each commit).
    init(path: String, pragmas: String) throws {
        var opened: OpaquePointer?
        let status = sqlite3_open_v2(
            path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nil)
        guard status == SQLITE_OK, let opened else {
            sqlite3_close_v2(opened)
            throw BenchFailure("SQLite can't open \(path) (code \(status))")
        }
        let schema = """
            \(pragmas);
            CREATE TABLE samples (second INTEGER, app TEXT, node TEXT, sample BLOB NOT NULL,
                                  PRIMARY KEY (second, app, node)) WITHOUT ROWID
            """
        var prepared: OpaquePointer?
        let insert = "INSERT OR REPLACE INTO samples (second, app, node, sample) VALUES (?, ?, ?, ?)"
        guard sqlite3_exec(opened, schema, nil, nil, nil) == SQLITE_OK,
            sqlite3_prepare_v2(opened, insert, -1, &prepared, nil) == SQLITE_OK, let prepared
        else {
            defer { sqlite3_close_v2(opened) }
            throw BenchFailure("SQLite: \(String(cString: sqlite3_errmsg(opened)))")
        }
        handle = opened
        statement = prepared
    }

    deinit {
        sqlite3_finalize(statement)
        sqlite3_close_v2(handle)
    }

    /// Inserts each row as it comes: a transaction of its own unless one was begun.
    func insert(_ rows: some Sequence<Row>) throws {
        // SQLite's SQLITE_TRANSIENT: it copies the bytes at once. The macro is a cast that the importer leaves out.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        for row in rows {
            sqlite3_bind_int64(statement, 1, row.second)
            sqlite3_bind_text(statement, 2, row.app, -1, transient)
            sqlite3_bind_text(statement, 3, row.node, -1, transient)
            sqlite3_bind_blob64(statement, 4, row.sample, UInt64(row.sample.count), transient)
            let status = sqlite3_step(statement)
            sqlite3_reset(statement)
            guard status == SQLITE_DONE else {
                throw BenchFailure("SQLite: \(String(cString: sqlite3_errmsg(handle)))")
            }
        }
    }

    func execute(_ sql: String) throws {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else {
            throw BenchFailure("SQLite: \(String(cString: sqlite3_errmsg(handle)))")
        }
    }
}
