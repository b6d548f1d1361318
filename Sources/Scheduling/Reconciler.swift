import OrchestryModel

/// Turns the desired state and what agents report into commands, routing tables and drains. One per leadership epoch;
/// pure: no clock, I/O, randomness or logging of its own.
///
/// It is level-triggered: each pass compares what is wanted with what is known, and repeats at a bounded rate whatever
/// has no visible effect yet. Nothing is done before the desired state is loaded and the nodes that are known have told
/// what they run (or `inventoryWait` has passed), so that a new leader changes nothing that is as it should be.
/// Instances of a node that is silent count as they last were until `deadAfter` has passed.
///
/// Each input touches only the apps it concerns: they are marked dirty and settled before `handle` returns.
public struct Reconciler: Sendable {
    public enum Input: Hashable, Sendable {
        /// What PostgreSQL holds: apps, instances as earlier leaders last saw them, and the nodes they knew.
        /// `rollouts` are those of the apps' present revisions.
        case loaded(
            [Application], instances: [InstanceStatus], knownNodes: [NodeID], rollouts: [RolloutRecord] = [],
            scheduling: [NodeScheduling] = [])
        /// A new app, or any change of one (spec, revision, status, replicas); with a new revision, what was stored of
        /// its rollout.
        case applicationChanged(Application, rollout: RolloutRecord? = nil)
        case rolloutPaused(AppName, Bool)
        case applicationDeleted(AppName)
        case nodeConnected(NodeID)
        case nodeDisconnected(NodeID)
        case inventory(Inventory)
        case status(InstanceStatus)
        /// The node's proxy serves this table.
        case routingAcknowledged(NodeID, RoutingTable.Version)
        /// Requests in flight from that node's proxy, each second; an instance that is absent has none.
        case inFlight(node: NodeID, [InstanceID: UInt64])
        /// What the proxies saw lately of instances of apps that `watchesTraffic(of:)`.
        case traffic([InstanceTraffic])
        case scheduling(NodeScheduling)
        /// Move instances until they are spread evenly, so many at once.
        case rebalance(atOnce: Int)
        /// Skip the back-off of the app's instances.
        case retry(AppName)
        case tick
    }

    /// What the shell is to do, in this order. `persist` and `forget` may be written behind: a leader that reads an
    /// older state corrects it by the inventories.
    public enum Output: Hashable, Sendable {
        case command(NodeID, InstanceCommand)
        /// To all connected nodes.
        case publish(RoutingTable)
        /// To a node that just connected, or has not acknowledged.
        case publishTo(NodeID, RoutingTable)
        case persist(InstanceStatus)
        case forget(InstanceID)
        case record(EventKind, AppName?, message: String, details: JSONValue)
        /// The rollout failed: make the app's spec of that revision current again. Once for each rollout and leader.
        case revert(AppName, toRevision: Int, reason: String)
        /// May be written behind as well; whether it is paused has been stored by whoever paused it.
        case saveRollout(RolloutRecord)
        /// The node is empty now; it stays cordoned. May be written behind as well.
        case nodeDrained(NodeID)
    }

    let epoch: Epoch
    private(set) var settings: ReconcilerSettings
    var generator: SplitMix64

    var apps: [AppName: AppRecord] = [:]
    var instances: [InstanceID: InstanceRecord] = [:]
    var nodes: [NodeID: NodeRecord] = [:]
    var isLoaded = false
    /// When it acts on what it has, whoever has not reported yet.
    var actBy: Instant
    /// Set once it may act; never reset.
    var isActing = false

    var dirty: Set<AppName> = []
    /// Apps with an instance that fits nowhere: looked at again when a node changes or room is made.
    var waitingForRoom: Set<AppName> = []
    var draining: Set<InstanceID> = []
    /// Moves for an even load go on, so many at once, until none helps any more; nil: nobody asked.
    var balancing: Balancing?
    var deadlines = DeadlineQueue<AppName>()
    /// Instances reported gone lately: an older inventory may still name them.
    var departed: [InstanceID: Instant] = [:]
    var lastOrder: Int64 = 0

    var routes: [AppName: RoutingTable.Route] = [:]
    var routesChanged = false
    /// The table in force; version zero until one was published.
    public internal(set) var routingTable = RoutingTable.empty

    // The call being handled.
    var now: Instant
    var wall = WallTime(milliseconds: 0)
    var outputs: [Output] = []

    /// How long a silent node's instances wait to be placed elsewhere, from now on.
    public mutating func set(deadAfter: Duration) { settings.deadAfter = deadAfter }

    /// - Parameter seed: decides the instance ids to come; different for each epoch.
    public init(epoch: Epoch, settings: ReconcilerSettings = ReconcilerSettings(), now: Instant, seed: UInt64) {
        self.epoch = epoch
        self.settings = settings
        actBy = now
        self.now = now
        generator = SplitMix64(seed: seed)
    }

    /// - Returns: what to do, in order.
    public mutating func handle(_ input: Input, at now: Instant, wall: WallTime) -> [Output] {
        self.now = now
        self.wall = wall
        switch input {
        case .loaded(let applications, let rows, let knownNodes, let rollouts, let scheduling):
            for entry in scheduling { schedule(entry) }
            load(applications, rows, knownNodes, rollouts)
        case .applicationChanged(let application, let rollout): change(application, rollout)
        case .rolloutPaused(let app, let isPaused): pauseRollout(of: app, isPaused)
        case .applicationDeleted(let app): delete(app)
        case .nodeConnected(let node): connect(node)
        case .nodeDisconnected(let node): disconnect(node)
        case .inventory(let inventory): take(inventory)
        case .status(let status):
            touch(status.node)
            observe(status)
        case .routingAcknowledged(let node, let version): acknowledge(version, by: node)
        case .inFlight(let node, let counts): count(counts, from: node)
        case .traffic(let traffic): measure(traffic)
        case .scheduling(let entry): schedule(entry)
        case .rebalance(let atOnce): rebalance(atOnce: atOnce)
        case .retry(let app): retry(app)
        case .tick: break
        }
        passTime()
        if isActing { settle() }
        defer { outputs = [] }
        return outputs
    }

    /// When to send `tick` at the latest, if nothing else comes first. May be in the past: then at once.
    public var nextDeadline: Instant {
        var earliest = now + .seconds(60)
        if isLoaded, !isActing { earliest = min(earliest, actBy) }
        if let due = deadlines.earliest { earliest = min(earliest, due) }
        guard isLoaded else { return earliest }
        for node in nodes.values {
            if let due = node.lost(after: settings.deadAfter) { earliest = min(earliest, due) }
            if isActing, let due = tableDue(node) { earliest = min(earliest, due) }
            if isActing, let due = node.drainDeadline, !node.instances.isEmpty { earliest = min(earliest, due) }
        }
        return earliest
    }

    /// Everything that happens because time passed.
    private mutating func passTime() {
        guard isLoaded else { return }
        if !isActing, now >= actBy || (!nodes.isEmpty && nodes.values.allSatisfy(\.isReporting)) {
            isActing = true
            routesChanged = true  // The first table of an epoch goes out even if it is empty.
            dirty.formUnion(apps.keys)
        }
        loseSilentNodes()
        guard isActing else { return }
        endDrainsOfNodes()
        while let (due, app) = deadlines.pop(dueBy: now) {
            guard apps[app]?.wakeAt == due else { continue }  // Superseded.
            apps[app]?.wakeAt = nil
            dirty.insert(app)
        }
        if !departed.isEmpty { departed = departed.filter { $0.value > now } }
    }

    /// Brings every dirty app as far as it gets now. Apps go in order of name, so that equal inputs give equal outputs.
    private mutating func settle() {
        planMoves()
        let concerned = dirty.sorted()
        dirty = []
        for app in concerned {
            reconcile(app)
            updateRoute(of: app)
            dirty.remove(app)  // What it did to itself is seen to below.
        }
        publishIfChanged()
        for app in concerned {
            advanceDrains(of: app)
            scheduleWake(of: app)
            removeIfGone(app)
        }
        // A drain that ended made room, a route may have gone: neither waits for the next input.
        if routesChanged || !dirty.isEmpty { settle() }
        republishToLaggards()
    }

    // MARK: Outputs

    mutating func record(
        _ kind: EventKind, _ app: AppName?, _ message: String, _ details: [String: JSONValue] = [:]
    ) {
        outputs.append(.record(kind, app, message: message, details: .object(details)))
    }

    /// Tells PostgreSQL, unless nothing that matters changed.
    mutating func persist(_ id: InstanceID) {
        guard var shown = instances[id]?.shown else { return }
        shown.lastProbeAt = nil
        shown.failures = 0
        guard shown != instances[id]?.persisted else { return }
        instances[id]?.persisted = shown
        outputs.append(.persist(shown))
    }
}
