import OrchestryModel

/// The way of one instance out of service, the same for scale-in, rollout, replacement and deletion: out of routing,
/// acknowledged by every connected node; then no requests in flight anywhere; then `stop`, repeated until it is gone.
///
/// A node that does not acknowledge holds things up for `ackTimeout` + `drainSeconds` at most; one that is not
/// connected is not waited for, but one that connects before `stop` was sent is: its table may be an old one. Requests
/// are believed to be over only by a report that left its node after that node had stopped routing: `reportLag` later
/// than its acknowledgement arrived here.
struct Drain: Hashable, Sendable {
    let reason: String
    /// For its status.
    let since: WallTime
    /// When it began, or a node that may still route to the instance connected.
    private(set) var startedAt: Instant
    /// The first table without the instance; nil until that table is known.
    private(set) var removedIn: RoutingTable.Version?
    /// When each node acknowledged that table or a later one.
    private(set) var acknowledgedBy: [NodeID: Instant] = [:]
    private(set) var allAcknowledgedAt: Instant?
    /// Nodes whose latest report shows none of its requests in flight.
    private(set) var quiet: Set<NodeID> = []
    var isStopping: Bool
    var stopSentAt: Instant?
    private(set) var lateNodesReported = false

    init(reason: String, since: WallTime, startedAt: Instant, isStopping: Bool = false) {
        self.reason = reason
        self.since = since
        self.startedAt = startedAt
        self.isStopping = isStopping
    }

    var awaitsTable: Bool { removedIn == nil && !isStopping }

    /// - Parameter acknowledged: what each connected node has acknowledged so far.
    mutating func leave(in version: RoutingTable.Version, acknowledged: [NodeID: RoutingTable.Version], at now: Instant)
    {
        removedIn = version
        for (node, acknowledgedVersion) in acknowledged where acknowledgedVersion >= version {
            acknowledgedBy[node] = now
        }
    }

    mutating func acknowledged(_ version: RoutingTable.Version, by node: NodeID, at now: Instant) {
        guard let removedIn, version >= removedIn, acknowledgedBy[node] == nil else { return }
        acknowledgedBy[node] = now
    }

    mutating func reported(inFlight: UInt64, by node: NodeID, at now: Instant, lag: Duration) {
        guard let acknowledgedAt = acknowledgedBy[node], now >= acknowledgedAt + lag else { return }
        if inFlight == 0 { quiet.insert(node) } else { quiet.remove(node) }
    }

    /// A node joined those that are waited for.
    mutating func nodeConnected(at now: Instant) {
        guard !isStopping else { return }
        startedAt = now
        allAcknowledgedAt = nil
        lateNodesReported = false
    }

    mutating func disconnected(_ node: NodeID) {
        acknowledgedBy[node] = nil
        quiet.remove(node)
    }

    /// Moves on to stopping when it is time.
    /// - Parameter mayBeTold: whether the instance's own node can be reached.
    /// - Returns: connected nodes that have held it up for longer than `ackTimeout`, once.
    mutating func advance(
        connected: [NodeID], mayBeTold: Bool, drainSeconds: Int, ackTimeout: Duration, at now: Instant
    ) -> [NodeID] {
        guard !isStopping, removedIn != nil else { return [] }
        let behind = connected.filter { acknowledgedBy[$0] == nil }
        if behind.isEmpty, allAcknowledgedAt == nil { allAcknowledgedAt = now }
        let isQuiet = behind.isEmpty && connected.allSatisfy(quiet.contains)
        if isQuiet || now >= deadline(drainSeconds: drainSeconds, ackTimeout: ackTimeout) {
            isStopping = mayBeTold
            return []
        }
        guard !lateNodesReported, !behind.isEmpty, now >= startedAt + ackTimeout else { return [] }
        lateNodesReported = true
        return behind
    }

    /// When it stops waiting, whatever is acknowledged or in flight.
    func deadline(drainSeconds: Int, ackTimeout: Duration) -> Instant {
        let latest = startedAt + ackTimeout + .seconds(drainSeconds)
        guard let allAcknowledgedAt else { return latest }
        return min(latest, allAcknowledgedAt + .seconds(drainSeconds))
    }
}
