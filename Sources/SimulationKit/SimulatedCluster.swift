import Leadership
import OrchestryModel

/// Nodes running the production `Election` and `EpochGate`, clients, a PostgreSQL and a network, in virtual time: one
/// queue, one seed, no threads. Equal options, seed and calls give equal runs. Times here are true time in nanoseconds
/// since the start.
public struct SimulatedCluster: Sendable {
    public struct Options: Hashable, Sendable {
        /// 1, 3 or 5.
        public var voters = 3
        /// How many write, each one write after the other.
        public var clients = 0
        /// Whether leaders command agents.
        public var commands = false
        public var settings = LeadershipSettings()
        public var mutant = Mutant.none
        /// Clock rates are drawn from within ± this, PostgreSQL's too.
        public var driftPartsPerMillion: Int64 = 20_000
        /// How late a shell's tick may come.
        public var tickLateness = Delays(minimum: 0, maximum: 2_000_000)
        /// Keep what happened, for reading.
        public var traces = false
        public init() {}
    }

    enum Event: Sendable {
        case message(ElectionMessage, from: Int, to: Int)
        case tick(Int, number: UInt64)
        /// PostgreSQL's `era` is the one it was sent to: a promotion ends connections.
        case statement(StoreCall, node: Int, incarnation: UInt32, era: UInt32, answers: Bool, sentAt: Int64)
        case answer(StoreReply, node: Int, incarnation: UInt32, sentAt: Int64)
        case restart(Int)
        // SimulatedCluster+Commands.swift
        case work(Int, term: UInt32)
        case adopt(Int, incarnation: UInt32)
        case command(SimulatedCommand, to: Int)
        case refusal(Epoch, to: Int)
        // SimulatedCluster+Writes.swift
        case client(Int, turn: UInt32)
        case request(SimulatedWrite, at: Int, incarnation: UInt32)
        case again(SimulatedWrite, at: Int, incarnation: UInt32)
        case response(SimulatedWrite, to: Int)
        case acknowledged(SimulatedWrite)
    }

    enum StoreCall: Sendable {
        case lease(LeaseRequest)
        case write(SimulatedWrite)
    }

    enum StoreReply: Sendable {
        case lease(UInt64, LeaseOutcome)
        case write(SimulatedWrite, SimulatedDatabase.WriteOutcome)
    }

    public let options: Options
    public internal(set) var now: Int64 = 0
    /// The first thing found wrong. The run should end then.
    public internal(set) var failure: SimulationFailure?
    public private(set) var steps = 0
    public internal(set) var trace: [String] = []
    /// How often a node became active, by mode: shows that a run got to the interesting places.
    public internal(set) var activations: [ActivityMode: Int] = [:]
    public internal(set) var deactivations = 0
    public internal(set) var coverage = Coverage()
    public var network = NetworkConditions.good {
        didSet { if network != oldValue { note { "network: \($0.network.summary)" } } }
    }
    public var store = StoreConditions.good {
        didSet { if store != oldValue { note { "postgres: \($0.store.summary)" } } }
    }

    var nodes: [SimulatedNode] = []
    var clients: [SimulatedClient] = []
    var database: SimulatedDatabase
    var storeClock: SimulatedClock
    /// Counts promotions: what was sent to an earlier server is lost.
    var storeEra: UInt32 = 0
    /// A promotion takes time, during which PostgreSQL refuses connections.
    var storeDownUntil: Int64 = 0
    /// By acquired epoch: the node that got it. Never forgotten, whatever PostgreSQL loses.
    var winners: [Epoch: Int] = [:]
    /// Keys of the writes clients were told are stored, and of those among them that a promotion lost.
    var acknowledged: Set<UInt64> = []
    /// Keys that a promotion lost, acknowledged or not, and that were not stored again.
    var lost: Set<UInt64> = []
    var queue = EventQueue<Event>()
    var random: SplitMix64

    public init(seed: UInt64, options: Options) {
        self.options = options
        random = SplitMix64(seed: seed)
        database = SimulatedDatabase(leaseTTL: options.settings.leaseTTL, mutant: options.mutant)
        storeClock = SimulatedClock(local: 1_000_000_000_000, at: 0, partsPerMillion: 0)
        storeClock.setRate(drawRate(), at: 0)
        for index in 0..<options.voters {
            let origin = 1_000_000_000 + random.next(below: 1_000_000_000_000)
            let clock = SimulatedClock(local: origin, at: 0, partsPerMillion: drawRate())
            let name = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(index)))
            nodes.append(
                SimulatedNode(
                    id: NodeID(unchecked: name), clock: clock,
                    cutTo: Array(repeating: false, count: options.voters),
                    lastArrival: Array(repeating: 0, count: options.voters)))
        }
        for index in nodes.indices { start(index) }
        for index in 0..<options.clients {
            clients.append(SimulatedClient(key: UInt64(index) << 32))
            queue.push(.client(index, turn: 0), at: random.next(below: 1_000_000_000))
        }
    }

    // MARK: Looking

    public var voters: Range<Int> { 0..<nodes.count }

    public func name(of node: Int) -> NodeID { nodes[node].id }

    public func isUp(_ node: Int) -> Bool { nodes[node].election != nil }

    /// By the node's own clock at this true instant.
    public func activity(of node: Int) -> Activity {
        guard let election = nodes[node].election else { return .inactive }
        return election.activity(at: nodes[node].clock.local(at: now))
    }

    /// The active node with the lowest index; nil: none.
    public var activeNode: Int? { nodes.indices.first { activity(of: $0).isActive } }

    public func election(of node: Int) -> Election? { nodes[node].election }

    public var register: LeaseRegister { database.register }

    /// Writes that PostgreSQL holds.
    public var storedWrites: Int { database.log.count }

    /// The highest epoch the node's agent has obeyed since it started.
    public func obeyedEpoch(of node: Int) -> Epoch { nodes[node].agent.obeyed }

    /// What the node's agent knows, its containers' labels included once they were read.
    public func gate(of node: Int) -> EpochGate { nodes[node].agent.gate }

    // MARK: Time

    /// Runs until `condition` holds after a step, or `limit` nanoseconds have passed, or something went wrong.
    /// - Returns: whether the condition holds.
    @discardableResult
    public mutating func run(for limit: Int64, until condition: (borrowing SimulatedCluster) -> Bool) -> Bool {
        let end = now + limit
        while failure == nil {
            if condition(self) { return true }
            guard let next = queue.nextTime, next <= end else { break }
            step()
        }
        if failure == nil { now = max(now, end) }
        return condition(self)
    }

    /// Runs for `duration` nanoseconds, or until something goes wrong.
    public mutating func run(for duration: Int64) {
        let end = now + duration
        while failure == nil, let next = queue.nextTime, next <= end { step() }
        if failure == nil { now = end }
    }

    private mutating func step() {
        guard let (time, event) = queue.pop() else { return }
        now = max(now, time)
        steps += 1
        perform(event)
        checkActivity()
    }

    // MARK: Chance

    mutating func drawRate() -> Int64 {
        let bound = options.driftPartsPerMillion
        // Often at the very edge, where margins are thinnest.
        switch random.next(below: 4) {
        case 0: return bound
        case 1: return -bound
        default: return random.next(below: 2 * bound + 1) - bound
        }
    }

    mutating func draw(_ delays: Delays) -> Int64 {
        if delays.slowPerMille > 0, random.next(below: 1_000) < delays.slowPerMille {
            return random.next(below: delays.slowMaximum + 1)
        }
        return delays.minimum + random.next(below: delays.maximum - delays.minimum + 1)
    }

    mutating func happens(perMille: Int64) -> Bool { perMille > 0 && random.next(below: 1_000) < perMille }
}
