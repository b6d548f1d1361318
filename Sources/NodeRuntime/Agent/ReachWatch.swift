import Logging
import OrchestryModel
import Scheduling

/// Drives `Reachability`: fed with what this node's proxy counts each second, it keeps lost endpoints out of this node's
/// routing, gives up what was sent to them, and says so.
actor ReachWatch {
    private static let attemptTimeout = Duration.seconds(1)
    /// Endpoints of one host are lost within moments: they are told of together.
    private static let gathering = Duration.milliseconds(50)
    /// What is chosen while the proxy takes the new membership ends in the second round.
    private static let secondRound = Duration.seconds(1)

    private let clock: NodeClock
    private let pool: TaskPool
    private let attempt: @Sendable (Endpoint, Duration) async -> Bool
    private let cut: @Sendable (Set<Endpoint>) async -> Void
    private let onChange: @Sendable () -> Void
    private let tell: @Sendable (_ host: String, _ instances: [InstanceID], _ isLost: Bool) -> Void

    private var reachability = Reachability()
    private var instances: [Endpoint: [InstanceID]] = [:]
    private var endpoints: [InstanceID: Endpoint] = [:]
    private var untold: (lost: Set<Endpoint>, found: Set<Endpoint>) = ([], [])
    private var isGathering = false

    init(
        clock: NodeClock, pool: TaskPool, attempt: @escaping @Sendable (Endpoint, Duration) async -> Bool,
        cut: @escaping @Sendable (Set<Endpoint>) async -> Void, onChange: @escaping @Sendable () -> Void,
        tell: @escaping @Sendable (_ host: String, _ instances: [InstanceID], _ isLost: Bool) -> Void
    ) {
        self.clock = clock
        self.pool = pool
        self.attempt = attempt
        self.cut = cut
        self.onChange = onChange
        self.tell = tell
    }

    func route(_ table: RoutingTable) {
        let targets = table.routes.flatMap(\.targets)
        endpoints = Dictionary(targets.map { ($0.instance, $0.endpoint) }, uniquingKeysWith: { first, _ in first })
        instances = Dictionary(grouping: targets.map(\.instance)) { endpoints[$0] ?? Endpoint(host: "", port: 0) }
        handle(.endpoints(Set(targets.map(\.endpoint))))
    }

    /// This node's own samples of a second; none is a second too.
    func measured(_ samples: [Sample]) {
        var traffic: [Endpoint: Reachability.Traffic] = [:]
        for measured in samples.flatMap(\.instances) {
            guard let endpoint = endpoints[measured.instance] else { continue }
            traffic[endpoint] = .init(
                requests: measured.requests, errors: measured.errors, inFlight: measured.inFlight)
        }
        handle(.traffic(traffic))
    }

    /// Of a table's targets, those there is no way to. Never all of an app's that could serve: a request may as well be
    /// tried then.
    func unreachable(of table: RoutingTable, besides excluded: Set<InstanceID>) -> Set<InstanceID> {
        let lost = reachability.lost
        guard !lost.isEmpty else { return [] }
        var result: Set<InstanceID> = []
        for route in table.routes {
            let usable = route.targets.filter { !excluded.contains($0.instance) }
            let gone = usable.filter { lost.contains($0.endpoint) }
            if gone.count < usable.count { result.formUnion(gone.map(\.instance)) }
        }
        return result
    }

    private func handle(_ input: Reachability.Input) {
        for output in reachability.handle(input, at: clock.now()) {
            switch output {
            case .attempt(let endpoint):
                let attempt = attempt
                pool.add { await self.handle(.attempted(endpoint, isAnswered: attempt(endpoint, Self.attemptTimeout))) }
            case .lost(let endpoint):
                untold.found.remove(endpoint)
                untold.lost.insert(endpoint)
                gather()
            case .found(let endpoint):
                untold.lost.remove(endpoint)
                untold.found.insert(endpoint)
                gather()
            }
        }
    }

    private func gather() {
        onChange()
        guard !isGathering else { return }
        isGathering = true
        pool.add {
            try? await Task.sleep(for: Self.gathering)  // Cancelled: the node stops.
            let lost = await self.tellAll()
            guard !lost.isEmpty else { return }
            await self.cut(lost)
            try? await Task.sleep(for: Self.secondRound)  // As above.
            await self.cut(lost.intersection(self.reachability.lost))
        }
    }

    private func tellAll() -> Set<Endpoint> {
        isGathering = false
        defer { untold = ([], []) }
        for (set, isLost) in [(untold.lost, true), (untold.found, false)] {
            for (host, places) in Dictionary(grouping: set, by: \.host).sorted(by: { $0.key < $1.key }) {
                tell(host, places.flatMap { instances[$0] ?? [] }.sorted(), isLost)
            }
        }
        return untold.lost
    }
}
