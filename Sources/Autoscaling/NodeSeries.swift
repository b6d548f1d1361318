import OrchestryModel

/// The newest seconds of one app on one node.
struct NodeSeries: Sendable {
    let node: NodeID
    private(set) var load: SecondRing<NodeLoad>
    /// By the ring's index; holds what the load at that index belongs to.
    private var latencies: [PackedHistogram]
    /// Since this second every one that was reported showed no request, and none in flight; seconds that were not are
    /// few (`AppSeries.staleSeconds` in a row at most).
    private(set) var quietSince = Int64.min

    init(node: NodeID, capacity: Int) {
        self.node = node
        load = SecondRing(capacity: capacity)
        latencies = Array(repeating: PackedHistogram(), count: capacity)
    }

    var latest: Int64 { load.latest }

    func latency(at second: Int64) -> PackedHistogram? {
        load.value(at: second) == nil ? nil : latencies[load.index(of: second)]
    }

    /// - Parameter merged: kept true to the seconds it covers.
    mutating func set(
        _ value: NodeLoad, latency: PackedHistogram, at second: Int64, merged: inout LatencyWindow?
    ) {
        let index = load.index(of: second)
        if let other = load.displaced(by: second) {
            guard other <= second else { return }
            if merged?.covers(other) == true { merged?.subtract(latencies[index]) }
        }
        noteQuiet(value, at: second)
        load.set(value, at: second)
        latencies[index] = latency
        if merged?.covers(second) == true { merged?.add(latency) }
    }

    private mutating func noteQuiet(_ value: NodeLoad, at second: Int64) {
        let isBusy = value.microRate > 0 || value.microConcurrency > 0 || value.inFlight > 0
        if isBusy {
            quietSince = max(quietSince, second + 1)
        } else if latest == SecondRing<NodeLoad>.never || second - latest > AppSeries.staleSeconds {
            // What came in between is not known.
            quietSince = max(quietSince, second)
        }
    }

    mutating func remove(_ second: Int64, merged: inout LatencyWindow?) {
        guard load.value(at: second) != nil else { return }
        let index = load.index(of: second)
        if merged?.covers(second) == true { merged?.subtract(latencies[index]) }
        load.remove(second)
        latencies[index] = PackedHistogram()
    }

    /// The first second that was reported in `from...to`.
    func first(from: Int64, to: Int64) -> Int64? {
        load.isKnown(from: from, to: to) { $0.seconds == to - from + 1 } ? from : load.first(from: from, to: to)
    }

    mutating func slide(from: Int64, to: Int64) { _ = load.slidingTotal(from: from, to: to) }

    /// Requests × 10⁶ that came within `from...to` and have not finished: what is in flight at its end and was not before
    /// it. Instances that are overloaded finish what they can, not what comes. 0 where either is not known, and never less:
    /// what a proxy that restarts drops has not been served.
    func growth(from: Int64, to: Int64) -> Int64 {
        guard let last = load.value(at: to), let before = load.value(before: from) else { return 0 }
        return max(0, last.inFlight - before.inFlight) * 1_000_000
    }

    /// What came in each known second of `from...to`, with `growth`.
    func forEachTraffic(from: Int64, to: Int64, _ body: (Int64, MicroTraffic) -> Void) {
        var before = load.value(at: from - 1)?.inFlight
        for second in from...to {
            guard let value = load.value(at: second) else {
                before = nil
                continue
            }
            let growth = before.map { max(0, value.inFlight - $0) * 1_000_000 } ?? 0
            let concurrency = max(value.microConcurrency, value.inFlight * 1_000_000)
            body(second, MicroTraffic(rate: value.microRate + growth, concurrency: concurrency))
            before = value.inFlight
        }
    }

    mutating func grow(to capacity: Int) {
        guard capacity > load.capacity else { return }
        let old = load
        load.grow(to: capacity)
        var grown = Array(repeating: PackedHistogram(), count: load.capacity)
        for index in 0..<old.capacity {
            if let second = old.displaced(by: Int64(index)) {
                grown[load.index(of: second)] = latencies[index]
            }
        }
        latencies = grown
    }
}

/// The newest seconds of one instance, as measured by the node it runs on.
struct InstanceSeries: Sendable {
    let instance: InstanceID
    var use: SecondRing<InstanceUse>

    init(instance: InstanceID, capacity: Int) {
        self.instance = instance
        use = SecondRing(capacity: capacity)
    }
}
