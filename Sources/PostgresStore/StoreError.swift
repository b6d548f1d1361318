/// Why the store did not do what it was asked.
public enum StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// PostgreSQL can't be reached, is not accepting work or does not answer in time. Nothing was changed.
    case unavailable(String)
    /// The writer's epoch is over: somebody else leads, or may. Nothing was changed.
    case fenced(String)
    /// The idempotency key was used before. Nothing was changed; `StateStore.request(_:)` has the answer given then.
    case duplicateRequest
    /// The transaction was sent and the connection lost before the answer: it may or may not have been committed.
    case outcomeUnknown(String)
    /// The database was migrated by a newer release than this one.
    case schemaTooNew(found: Int, known: Int)
    /// PostgreSQL refused a statement. Nothing was changed.
    case query(sqlState: String, message: String)
    /// A row holds something this release can't read.
    case invalidData(String)

    /// Whether the same call may succeed later without anybody doing something about it. For `outcomeUnknown` the
    /// caller must first find out (`request(_:)`), unless the change is safe to repeat: all are but `completeRequest`.
    public var isRetryable: Bool {
        switch self {
        case .unavailable, .outcomeUnknown: true
        case .query(let sqlState, _):
            // Serialization failure, deadlock, lock time-out, statement time-out, and a table not yet migrated.
            ["40001", "40P01", "55P03", "57014", "42P01"].contains(sqlState)
        case .fenced, .duplicateRequest, .schemaTooNew, .invalidData: false
        }
    }

    /// Another transaction was in the way and PostgreSQL has undone this one: the same may be tried again at once. A
    /// deadlock is rare but real: making a partition locks tables in another order than a write does.
    public var isRolledBack: Bool {
        if case .query(let sqlState, _) = self { ["40001", "40P01"].contains(sqlState) } else { false }
    }

    /// Safe to log: no passwords, no row contents.
    public var description: String {
        switch self {
        case .unavailable(let reason): "PostgreSQL is not available: \(reason)"
        case .fenced(let reason): "write refused: \(reason)"
        case .duplicateRequest: "a request with this idempotency key was already carried out"
        case .outcomeUnknown(let reason): "PostgreSQL may or may not have committed: \(reason)"
        case .schemaTooNew(let found, let known):
            "the database has schema version \(found), this release knows only up to \(known): "
                + "upgrade this node to the release that migrated the database"
        case .query(let sqlState, let message): "PostgreSQL refused a statement: \(message) (SQLSTATE \(sqlState))"
        case .invalidData(let reason): "PostgreSQL holds a row this release can't read: \(reason)"
        }
    }

    /// SQLSTATE of `orchestry_fence`.
    static let fencedState = "ORF01"

    /// - Parameters:
    ///   - sqlState: empty when libpq itself reports the error.
    ///   - constraint: the violated constraint's name, where there is one.
    init(sqlState: String, message: String, constraint: String?) {
        switch sqlState {
        case Self.fencedState: self = .fenced(message)
        case "23505" where constraint == "requests_pkey": self = .duplicateRequest
        // Shutdown, crash, starting up, too many connections, read-only (a demoted primary), connection exceptions.
        case "", "57P01", "57P02", "57P03", "53300", "25006": self = .unavailable(message)
        case _ where sqlState.hasPrefix("08"): self = .unavailable(message)
        default: self = .query(sqlState: sqlState, message: message)
        }
    }
}
