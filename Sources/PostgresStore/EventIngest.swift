import Logging
import OrchestryModel

/// One node's events into PostgreSQL, as the leader stores them: what measures that from outside this package needs of the
/// store, and no more.
public final class EventIngest: Sendable {
    /// What PostgreSQL has of the node's events.
    public struct Account: Hashable, Sendable {
        public var rows: Int64
        /// Different sequences.
        public var distinct: Int64
        /// Lowest and highest sequence; 0: none.
        public var first: Int64
        public var last: Int64
        public init(rows: Int64, distinct: Int64, first: Int64, last: Int64) {
            self.rows = rows
            self.distinct = distinct
            self.first = first
            self.last = last
        }
    }

    private let node: NodeID
    private let store: StateStore
    private let lease: LeaseConnection

    /// - Parameter connectionString: a libpq URI.
    public init(connectionString: String, node: NodeID, logger: Logger) {
        self.node = node
        let configuration = StoreConfiguration(connectionString: connectionString, operationTimeout: .seconds(60))
        store = StateStore(configuration: configuration, logger: logger)
        lease = LeaseConnection(
            configuration: configuration, me: node, hostname: "", apiURL: "", leaseTTL: .seconds(86_400),
            logger: logger)
    }

    /// Makes the tables and today's partitions, and takes the lease for a day.
    /// - Returns: the epoch; nil: somebody else leads in this database.
    public func begin(at time: WallTime) async throws -> Epoch? {
        try await store.migrate()
        let request = LeaseRequest(id: 1, statement: .acquire(votesGranted: false, highestEpoch: .none))
        guard case .acquired(let epoch) = await lease.perform(request, timeout: .seconds(20)) else { return nil }
        _ = try await store.maintain(now: time, epoch: epoch, leader: node)
        return epoch
    }

    /// - Returns: false: not now, the same may be tried again.
    /// - Throws: what trying again does not mend.
    public func store(_ events: [Event], epoch: Epoch) async throws -> Bool {
        do {
            try await store.write([.appendEvents(node: node, events)], epoch: epoch, leader: node)
            return true
        } catch {
            if error.isRetryable { return false }
            throw error
        }
    }

    /// Reads all of them.
    public func account() async throws -> Account {
        let statement = Statement(
            """
            SELECT count(*), count(DISTINCT sequence), COALESCE(min(sequence), 0), COALESCE(max(sequence), 0)
            FROM events WHERE node_id = $1 AND sequence > 0
            """, [.id(node)])
        return try await store.read(statement) { row throws(StoreError) in
            Account(rows: try row.int64(0), distinct: try row.int64(1), first: try row.int64(2), last: try row.int64(3))
        }.first ?? Account(rows: 0, distinct: 0, first: 0, last: 0)
    }

    public func shutdown() {
        lease.shutdown()
        store.shutdown()
    }
}
