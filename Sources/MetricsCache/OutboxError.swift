/// Why an outbox can't be used. An event that could not be stored must not be acknowledged.
public enum OutboxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file is damaged, or not an outbox. The node must not run on: see `description` for what to do.
    case damaged(path: String, reason: String)
    /// The file is another node's, or another process has it open.
    case inUse(path: String, reason: String)
    case diskFull(path: String)
    case failed(String)
    case shutDown

    /// What happened and what to do about it.
    public var description: String {
        switch self {
        case .damaged(let path, let reason):
            """
            The outbox \(path) is damaged (\(reason)). It holds events that may not be in PostgreSQL yet. Stop this node, \
            keep a copy of \(path) and \(path)-wal, try to save what can be read with \
            `sqlite3 \(path) .recover | sqlite3 saved.db`, then move the files away and start the node again: it makes a \
            new outbox, and sequences go on above all earlier ones.
            """
        case .inUse(let path, let reason): "The outbox \(path) can't be used: \(reason)."
        case .diskFull(let path): "The disk is full: the outbox \(path) can't take more. Free space on its file system."
        case .failed(let reason): "The outbox failed: \(reason)"
        case .shutDown: "The outbox is shut down."
        }
    }

    init(_ error: SQLiteError, path: String) {
        if error.isDamage {
            self = .damaged(path: path, reason: error.message)
        } else if error.isFull {
            self = .diskFull(path: path)
        } else if error.isBusy {
            self = .inUse(path: path, reason: "another process has it open")
        } else {
            self = .failed(error.description)
        }
    }
}
