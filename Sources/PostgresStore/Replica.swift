import Logging
import OrchestryModel
import Synchronization

/// A standby that takes reads which may be a little old, as long as it keeps up.
///
/// How old its state is says the lease in it: whoever leads renews that about each second, so a renewal that is seen there
/// bounds what can be missing, also when the standby has lost its primary and knows of nothing to replay. Without a leader
/// nothing is renewed, and the primary is asked.
final class Replica: Sendable {
    /// Not longer than this on the way to the primary.
    private static let patience = Duration.seconds(2)

    let pool: ConnectionPool
    private let maxLag: Duration
    private let logger: Logger
    /// Whether the latest read was answered; nil: there was none.
    private let isUsed = Mutex<Bool?>(nil)

    /// Connects in the background, at once.
    init(_ configuration: StoreConfiguration, settings: [(String, String)], logger: Logger) {
        maxLag = configuration.replicaMaxLag
        self.logger = logger
        pool = ConnectionPool(
            configuration, size: configuration.poolSize, purpose: "replica", settings: settings.map { ($0.0, $0.1) },
            logger: logger, availabilityChanged: { _ in })
        pool.start()
    }

    /// - Returns: nil when it can't answer, or only with what is older than allowed: ask the primary.
    func rows(_ statement: Statement) async -> [Row]? {
        // Nobody waits for a host that is known to be away.
        guard pool.isAvailable else {
            note("it can't be connected to")
            return nil
        }
        let bound = Statement(
            "SELECT now() - renewed_at <= $1::bigint * interval '1 millisecond' FROM leader_lease WHERE id = 1",
            [.int(Int64(maxLag.inMilliseconds))])
        do throws(StoreError) {
            // The first statement's picture is not newer than the second's.
            let rows = try await pool.run(within: Self.patience) { connection, deadline throws(StoreError) in
                let results = try connection.transaction([bound, statement], deadline: deadline)
                return try results[0].first?.bool(0) == true ? results[1] : nil
            }
            note(rows == nil ? "what it has is older than \(maxLag)" : nil)
            return rows
        } catch {
            note("\(error)")
            return nil
        }
    }

    /// Once for each change.
    private func note(_ problem: String?) {
        let isNew = isUsed.withLock { isUsed in
            defer { isUsed = problem == nil }
            return isUsed != (problem == nil)
        }
        guard isNew else { return }
        if let problem {
            logger.notice(
                "The PostgreSQL replica is not used; reads go to the primary", metadata: ["reason": "\(problem)"])
        } else {
            logger.info("The PostgreSQL replica is used for reads that may be a little old")
        }
    }
}
