/// Time limits of a `Reconciler`; the defaults suit nodes that report every second and inventories every ten.
public struct ReconcilerSettings: Hashable, Sendable {
    /// A node not heard from for this long is dead: its instances are placed anew. `node.dead_after`.
    public var deadAfter: Duration
    /// A connected node that has not acknowledged a routing table for this long is reported, and sent it again.
    public var ackTimeout: Duration
    /// How long a new leader waits for the inventories of the nodes it knows before it acts on what it has.
    public var inventoryWait: Duration
    /// How long new instances wait for the inventory of a node that has just connected, and may have room for them.
    public var placementWait: Duration
    /// Between two sendings of the same command.
    public var resendInterval: Duration
    /// An in-flight report counts for a drain when it arrives this long after the node's acknowledgement: before that
    /// it may have been on its way already.
    public var reportLag: Duration
    /// Not ready for longer than this (plus the time its health check may take): another instance is tried.
    public var replaceAfter: Duration
    /// How long an instance that was ready counts as ready while its restarted agent probes it anew.
    public var adoptionGrace: Duration
    /// An inventory that lacks an instance is disregarded for it if the instance reported within this time: the two
    /// travel on different connections and may overtake each other.
    public var absenceGrace: Duration

    public init(
        deadAfter: Duration = .seconds(30), ackTimeout: Duration = .seconds(5),
        inventoryWait: Duration = .seconds(1), placementWait: Duration = .seconds(2),
        resendInterval: Duration = .seconds(2),
        reportLag: Duration = .milliseconds(250), replaceAfter: Duration = .seconds(30),
        adoptionGrace: Duration = .seconds(10), absenceGrace: Duration = .seconds(2)
    ) {
        self.deadAfter = deadAfter
        self.ackTimeout = ackTimeout
        self.inventoryWait = inventoryWait
        self.placementWait = placementWait
        self.resendInterval = resendInterval
        self.reportLag = reportLag
        self.replaceAfter = replaceAfter
        self.adoptionGrace = adoptionGrace
        self.absenceGrace = absenceGrace
    }
}
