/// One step of the schema, from `Migrations/vNNNN-name.sql`. Never edited once released: a change is a new step.
struct Migration: Sendable {
    /// Rising.
    var version: Int
    var name: String
    var sql: String

    static let all: [Migration] = [
        Migration(version: 1, name: "leadership", bytes: PackageResources.v0001_leadership_sql),
        Migration(version: 2, name: "state", bytes: PackageResources.v0002_state_sql),
        Migration(version: 3, name: "promotion", bytes: PackageResources.v0003_promotion_sql),
        Migration(version: 4, name: "turns", bytes: PackageResources.v0004_turns_sql),
        Migration(version: 5, name: "secrets", bytes: PackageResources.v0005_secrets_sql),
        Migration(version: 6, name: "rollouts", bytes: PackageResources.v0006_rollouts_sql),
        Migration(version: 7, name: "scaling-control", bytes: PackageResources.v0007_scaling_control_sql),
        Migration(version: 10, name: "access", bytes: PackageResources.v0010_access_sql),
        Migration(version: 11, name: "audit", bytes: PackageResources.v0011_audit_sql),
        Migration(version: 12, name: "event-order", bytes: PackageResources.v0012_event_order_sql),
        Migration(version: 13, name: "daily-events", bytes: PackageResources.v0013_daily_events_sql),
        Migration(version: 14, name: "restore", bytes: PackageResources.v0014_restore_sql),
    ]

    /// The steps an election needs.
    static let leadership = 3

    init(version: Int, name: String, sql: String) {
        self.version = version
        self.name = name
        self.sql = sql
    }

    private init(version: Int, name: String, bytes: [UInt8]) {
        self.init(version: version, name: name, sql: String(decoding: bytes, as: UTF8.self))
    }
}

/// Brings a database to the schema this release knows.
enum Migrator {
    /// "orchestr" in ASCII: the advisory lock that lets one migration run at a time.
    private static let lockKey: Int64 = 0x6F72_6368_6573_7472

    /// Applies what is missing, all in one transaction.
    /// - Parameter limit: the last version to apply.
    /// - Throws: `.schemaTooNew` when the database has a version that `migrations` lacks.
    static func apply(
        _ migrations: [Migration] = Migration.all, upTo limit: Int = .max, on connection: DatabaseConnection,
        deadline: Deadline
    ) throws(StoreError) {
        try connection.script("BEGIN", deadline: deadline)
        do throws(StoreError) {
            try connection.script(
                "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '30s';"
                    + "SET LOCAL client_min_messages = error;"
                    + "SELECT pg_advisory_xact_lock(\(lockKey));"
                    + "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                    + " applied_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW())", deadline: deadline)
            let found = try connection.run(
                Statement("SELECT COALESCE(max(version), 0) FROM schema_migrations"), deadline: deadline)[0].int(0)
            let known = migrations.map(\.version).max() ?? 0
            guard found <= known else { throw StoreError.schemaTooNew(found: found, known: known) }
            for migration in migrations where migration.version > found && migration.version <= limit {
                try connection.script(migration.sql, deadline: deadline)
                _ = try connection.run(
                    Statement(
                        "INSERT INTO schema_migrations (version, name) VALUES ($1::integer, $2)",
                        [.int(migration.version), .text(migration.name)]), deadline: deadline)
            }
            try connection.script("COMMIT", deadline: deadline)
        } catch {
            // Where this fails too, the connection is broken and the server has rolled back.
            try? connection.script("ROLLBACK", deadline: deadline)
            throw error
        }
    }
}
