/// Why the metrics cache could not do something. The node runs on without: samples also live in memory and elsewhere.
public enum MetricsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The disk is full, or the file has reached its limit.
    case diskFull
    case failed(String)
    case shutDown

    public var description: String {
        switch self {
        case .diskFull: "no room for samples: the disk is full, or metrics.db has reached its limit"
        case .failed(let reason): "the metrics cache failed: \(reason)"
        case .shutDown: "the metrics cache is shut down"
        }
    }

    init(_ error: SQLiteError) { self = error.isFull ? .diskFull : .failed(error.description) }
}
