import OrchestryModel

/// One rule under one scenario, second by second.
public struct ScalingRun: Sendable {
    public struct Point: Hashable, Sendable {
        public var second: Int64
        public var rps: Double
        /// Wanted at the end of the second.
        public var desired: Int
        /// Ready during it.
        public var ready: Int
        /// Ready or on their way.
        public var existing: Int
        /// Instances the load needs on target, within the bounds.
        public var needed: Int
        /// Some request found no capacity: all instances together, or the hot one, had more than they carry.
        public var isShort: Bool
    }
    /// A change of the count.
    public struct Step: Hashable, Sendable {
        public var second: Int64
        public var from: Int
        public var to: Int
        public var reason: String
        public init(second: Int64, from: Int, to: Int, reason: String) {
            self.second = second
            self.from = from
            self.to = to
            self.reason = reason
        }
    }

    public let rule: String
    public private(set) var points: [Point] = []
    public private(set) var steps: [Step] = []

    /// - Parameters:
    ///   - start: instances that are ready when the trace begins.
    ///   - targetRPS: what `needed` counts with; nil: the model's capacity.
    public init(
        _ rule: some ScalingRule, scenario: Scenario, model: AppModel, bounds: ClosedRange<Int>, start: Int,
        targetRPS: Double? = nil
    ) {
        self.rule = rule.name
        var rule = rule
        var app = SimulatedApp(model: model, instances: start, at: scenario.trace.points.first?.second ?? 0)
        let unit = targetRPS ?? model.capacityPerInstance
        points.reserveCapacity(scenario.trace.points.count)
        for point in scenario.trace.points {
            let rollsOut = scenario.rollout?.contains(point.second) ?? false
            let hot = scenario.hot.flatMap { $0.seconds.contains(point.second) ? $0.factor : nil }
            if rollsOut { app.replaceOne(at: point.second) }
            let ready = app.ready(at: point.second)
            let shares = app.shares(of: point.rps, ready: ready, hot: hot)
            let needed = min(
                max(Int((point.rps / unit - 1e-9).rounded(.up)), bounds.lowerBound), max(bounds.upperBound, 1))
            let isShort =
                shares.isEmpty ? point.rps > 0 : shares.contains { $0.load > model.capacityPerInstance + 1e-9 }
            let now = point.second + 1
            let routed = app.ready(at: now)
            let decision = rule.decide(
                RuleView(
                    second: now, desired: app.desired, ready: routed, starting: app.count - routed.count,
                    rolloutInProgress: rollsOut, observation: app.observation(of: point, shares: shares)))
            points.append(
                Point(
                    second: point.second, rps: point.rps, desired: decision.count, ready: ready.count,
                    existing: app.count, needed: needed, isShort: isShort))
            if decision.count != app.desired {
                steps.append(Step(second: now, from: app.desired, to: decision.count, reason: decision.reason))
                app.scale(to: decision.count, at: now)
            }
        }
    }

    // MARK: Figures

    public var secondsShort: Int { points.count { $0.isShort } }
    /// Sum over seconds of the instances that existed.
    public var instanceSeconds: Int { points.reduce(0) { $0 + $1.existing } }
    /// Of these, what no load needed.
    public var wastedSeconds: Int { points.reduce(0) { $0 + max(0, $1.existing - $1.needed) } }
    /// How often a change of the count was followed by one the other way.
    public var changesOfDirection: Int {
        zip(steps, steps.dropFirst()).count { ($0.to > $0.from) != ($1.to > $1.from) }
    }
    public var peak: Int { max(points.map(\.existing).max() ?? 0, points.map(\.desired).max() ?? 0) }

    /// Seconds from `second` to the first change at or after it.
    public func firstAction(after second: Int64) -> Int64? {
        steps.first { $0.second >= second }.map { $0.second - second }
    }

    /// Seconds from `second` until at least `count` are wanted.
    public func reaches(_ count: Int, after second: Int64) -> Int64? {
        points.first { $0.second >= second && $0.desired >= count }.map { $0.second + 1 - second }
    }

    /// Seconds from `second` until no more than `count` are wanted, for good.
    public func returns(to count: Int, after second: Int64) -> Int64? {
        guard let last = points.last, last.desired <= count else { return nil }
        let over = points.last { $0.second >= second && $0.desired > count }
        return over.map { $0.second + 2 - second } ?? 0
    }
}

/// The instances of a simulated app.
struct SimulatedApp: Sendable {
    private let model: AppModel
    private(set) var desired: Int
    /// Oldest first.
    private var instances: [(id: InstanceID, since: Int64)]
    private var made: Int
    private var nextReplacement = Int64.min
    private var replaced = 0

    init(model: AppModel, instances count: Int, at second: Int64) {
        self.model = model
        desired = count
        made = count
        instances = (0..<count).map { (Self.name($0), second - 1_000) }
    }

    var count: Int { instances.count }

    private static func name(_ number: Int) -> InstanceID { InstanceID(unchecked: "app-1-\(number)") }

    func ready(at second: Int64) -> [InstanceID: Int64] {
        Dictionary(
            instances.filter { $0.since <= second }.map { ($0.id, $0.since) }, uniquingKeysWith: { first, _ in first })
    }

    mutating func scale(to count: Int, at second: Int64) {
        desired = count
        while instances.count < count { add(since: second + model.startSeconds) }
        // Those on their way first, then the youngest.
        if instances.count > count { instances.removeLast(instances.count - count) }
    }

    private mutating func add(since second: Int64) {
        instances.append((Self.name(made), second))
        made += 1
    }

    /// A rollout with surge 1: when the new instance is ready the oldest one goes, each time after a start's delay.
    mutating func replaceOne(at second: Int64) {
        guard second >= nextReplacement, replaced < instances.count, let oldest = instances.first,
            oldest.since <= second
        else { return }
        nextReplacement = second + model.startSeconds + 1
        replaced += 1
        instances.removeFirst()
        add(since: second)
    }

    /// The load of each ready instance; the first one (by id) gets `hot` times the others' share.
    func shares(of rps: Double, ready: [InstanceID: Int64], hot: Double?) -> [(id: InstanceID, load: Double)] {
        guard !ready.isEmpty else { return [] }
        let ids = ready.keys.sorted()
        guard let hot, ids.count > 1 else { return ids.map { ($0, rps / Double(ids.count)) } }
        let unit = rps / (Double(ids.count - 1) + hot)
        return ids.enumerated().map { ($1, $0 == 0 ? unit * hot : unit) }
    }

    func observation(of point: LoadPoint, shares: [(id: InstanceID, load: Double)]) -> Observation? {
        guard point.isMeasured else { return nil }
        let recorded = point.cpuPercent
        let ready = max(shares.count, 1)
        var cpu: [InstanceID: Double] = [:]
        for share in shares {
            let percent = recorded.map { $0 / Double(ready) } ?? share.load / model.capacityPerInstance * 100
            cpu[share.id] = min(percent, 100)
        }
        return Observation(
            rps: point.rps, connections: point.connections ?? model.connections(rps: point.rps, ready: ready),
            p95Milliseconds: point.p95Milliseconds ?? model.p95Milliseconds(rps: point.rps, ready: ready),
            cpuPercent: cpu, memoryPercent: point.memoryPercent)
    }
}
