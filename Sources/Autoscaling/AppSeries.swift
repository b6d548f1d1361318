import OrchestryModel

/// Everything the autoscaler remembers of one app: samples, wishes, changes and past evaluations.
struct AppSeries: Sendable {
    /// Seconds kept before any policy asks for more. A follower keeps this much warm.
    static let initialCapacity = 64
    /// Samples may come this late, and this many may be lost from a window, without counting as silence.
    static let lateSeconds: Int64 = 2
    /// A reading older than this is stale: nothing shrinks by it, and nothing at all happens when all are.
    static let staleSeconds: Int64 = 5
    /// A silent node's last known traffic argues against shrinking this long: twice the time after which the leader
    /// gives a node up.
    static let silentNodeSeconds: Int64 = 60
    /// Further in the future than this, a sample comes from a clock that has since been set back.
    static let aheadSeconds: Int64 = 10
    private static let forgetSeconds: Int64 = 600
    private static let largestChangeCount = 1_024

    /// A second given by hand (`simulateMetrics`): the whole app's, in place of all real samples of that second.
    struct Synthetic: Sendable {
        var second: Int64
        var load: NodeLoad
        var use: InstanceUse
        var latency: PackedHistogram
    }

    let app: AppName
    private(set) var capacity = Self.initialCapacity
    /// Order of first appearance; figures never depend on it.
    var nodes: [NodeSeries] = []
    var instances: [InstanceSeries] = []
    private(set) var instancePositions: [InstanceID: Int] = [:]
    /// Ascending by second.
    private(set) var synthetic: [Synthetic] = []
    /// nil until an evaluation needs a percentile.
    var merged: LatencyWindow?
    /// Of the last evaluation, while nothing has come that changes them.
    var figures: WindowFigures?

    var custom: [CustomSeries] = []

    var wishes = Stabilization()
    var burst = BurstWindow()
    private(set) var changes: [RateLimits.Change] = []
    var history = EvaluationHistory()

    init(app: AppName) { self.app = app }

    // MARK: Samples

    mutating func record(_ sample: Sample) {
        guard !synthetic.contains(where: { $0.second == sample.second }) else { return }
        let interval = sample.interval.isFinite && sample.interval > 0.01 ? sample.interval : 1
        let load = NodeLoad(
            microRate: micro(Double(sample.requests) / interval),
            microConcurrency: micro(sample.requestSeconds / interval),
            inFlight: Int64(min(sample.inFlight, 1_000_000_000)), seconds: 1)
        figures = nil
        let position = nodePosition(sample.node, at: sample.second)
        nodes[position].set(load, latency: PackedHistogram(sample.latency), at: sample.second, merged: &merged)
        if let start = merged?.start(following: sample.second) { moveMerged(to: start) }
        for reading in sample.instances where reading.cpuPercent != nil || reading.memoryPercent != nil {
            var use = InstanceUse()
            if let cpu = reading.cpuPercent, cpu.isFinite {
                use.microCPU = micro(cpu)
                use.cpuSeconds = 1
            }
            if let memory = reading.memoryPercent, memory.isFinite {
                use.microMemory = micro(memory)
                use.memorySeconds = 1
            }
            let position = instancePosition(reading.instance, at: sample.second)
            instances[position].use.set(use, at: sample.second)
        }
    }

    mutating func inject(_ metrics: SimulatedMetrics, at second: Int64) {
        figures = nil
        for position in nodes.indices { nodes[position].remove(second, merged: &merged) }
        for position in instances.indices { instances[position].use.remove(second) }
        var latency = LatencyHistogram()
        if metrics.p95LatencyMs > 0 {
            // All requests of the second at that latency: any percentile of it is the one given.
            let requests = UInt64(max(1, min(metrics.rps.isFinite ? metrics.rps : 1, 1e6)))
            latency.record(microseconds: UInt64(min(metrics.p95LatencyMs * 1000, 1e12)), count: requests)
        }
        let load = NodeLoad(
            microRate: micro(metrics.rps), microConcurrency: micro(Double(metrics.activeConnections)),
            inFlight: Int64(min(max(0, metrics.activeConnections), 1_000_000_000)), seconds: 1)
        let use = InstanceUse(
            microCPU: micro(metrics.cpuPercent), cpuSeconds: 1, microMemory: micro(metrics.memoryPercent),
            memorySeconds: 1)
        synthetic.removeAll { $0.second == second || $0.second <= second - Int64(capacity) }
        let position = synthetic.firstIndex { $0.second > second } ?? synthetic.endIndex
        synthetic.insert(
            Synthetic(second: second, load: load, use: use, latency: PackedHistogram(latency)), at: position)
        merged = nil
    }

    private mutating func nodePosition(_ node: NodeID, at second: Int64) -> Int {
        if let position = nodes.firstIndex(where: { $0.node == node }) { return position }
        let before = nodes.count
        nodes.removeAll { $0.latest < second - Self.forgetSeconds }
        if nodes.count < before { merged = nil }
        nodes.append(NodeSeries(node: node, capacity: capacity))
        return nodes.count - 1
    }

    /// A few are compared faster than hashed.
    private static let fewInstances = 6

    func position(of instance: InstanceID) -> Int? {
        instances.count <= Self.fewInstances
            ? instances.firstIndex { $0.instance == instance } : instancePositions[instance]
    }

    private mutating func instancePosition(_ instance: InstanceID, at second: Int64) -> Int {
        if let position = position(of: instance) { return position }
        let before = instances.count
        instances.removeAll { $0.use.latest < second - Self.forgetSeconds }
        if instances.count < before {
            instancePositions = [:]
            for (position, series) in instances.enumerated() { instancePositions[series.instance] = position }
        }
        instances.append(InstanceSeries(instance: instance, capacity: capacity))
        instancePositions[instance] = instances.count - 1
        return instances.count - 1
    }

    private static func needed(_ seconds: Int) -> Int { seconds + Int(staleSeconds + aheadSeconds) }

    func isRetained(seconds: Int) -> Bool { Self.needed(seconds) <= capacity }

    /// Keeps at least `seconds` and what may come late.
    mutating func retain(seconds: Int) {
        let needed = Self.needed(seconds)
        guard needed > capacity else { return }
        while capacity < needed { capacity *= 2 }
        for position in nodes.indices { nodes[position].grow(to: capacity) }
        for position in instances.indices { instances[position].use.grow(to: capacity) }
        for position in custom.indices { custom[position].values.grow(to: capacity) }
    }

    /// Drops series from a clock that ran ahead and was set back: they would refuse all that comes now as too old.
    mutating func dropFuture(at second: Int64) {
        let limit = second + Self.aheadSeconds
        for position in nodes.indices.reversed() where nodes[position].latest > limit {
            nodes.remove(at: position)
            merged = nil
        }
        for position in instances.indices where instances[position].use.latest > limit {
            instances[position].use = SecondRing(capacity: capacity)
        }
        for position in custom.indices where custom[position].values.latest > limit {
            custom[position].values = SecondRing(capacity: capacity)
        }
        if let last = synthetic.last, last.second > limit {
            synthetic.removeAll { $0.second > limit }
            merged = nil
        }
    }

    // MARK: Changes

    /// - Parameter second: any order.
    mutating func noteScaled(from: Int, to: Int, at second: Int64) {
        guard from != to else { return }
        let change = RateLimits.Change(second: second, delta: to - from)
        // A leader that reads the history again, after it led before, must not count a change twice.
        guard !changes.contains(change) else { return }
        let newest = changes.last.map { $0.second <= second } ?? true
        let position = newest ? changes.endIndex : changes.firstIndex { $0.second > second } ?? changes.endIndex
        changes.insert(change, at: position)
        let latest = changes.last?.second ?? second
        let expired = changes.prefix { $0.second <= latest - 3_600 }.count
        changes.removeFirst(max(expired, changes.count - Self.largestChangeCount))
        if newest { burst.scaled(to: to) }
    }
}
