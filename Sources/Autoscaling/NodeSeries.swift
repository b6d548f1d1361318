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
    private var peaks = RecentPeaks()
    /// What was in flight in the newest second, at hand where an evaluation looks for it.
    private var newest = (second: Int64.min, inFlight: Int64(0))

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
        peaks.note(value, at: second)
        load.set(value, at: second)
        if second >= newest.second { newest = (second, value.inFlight) }
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
        if second == newest.second { newest.second = Int64.min }
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
        guard let last = to == newest.second ? newest.inFlight : load.value(at: to)?.inFlight,
            let before = load.value(before: from)
        else { return 0 }
        return max(0, last - before.inFlight) * 1_000_000
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

    /// No second from `from` on had more traffic than this; nil: not known, seconds that far back are not kept apart.
    func mostTraffic(from: Int64) -> MicroTraffic? { latest < from ? MicroTraffic() : peaks.bound(from: from) }

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

/// An upper bound of the traffic of any one of the newest seconds, kept as they come: tells without looking at them that
/// there was no burst.
private struct RecentPeaks: Sendable {
    /// 16 s each: between 16 and 32 s are covered.
    private static let shift: Int64 = 4
    private var period = Int64.min
    private var current = MicroTraffic()
    private var previous = MicroTraffic()

    mutating func note(_ load: NodeLoad, at second: Int64) {
        let other = second >> Self.shift
        if other > period {
            previous = other == period &+ 1 ? current : MicroTraffic()
            current = MicroTraffic()
            period = other
        }
        // As many came as finished and are in flight, at most: which of them were there before may not be known yet.
        let inFlight = load.inFlight * 1_000_000
        let most = MicroTraffic(rate: load.microRate + inFlight, concurrency: max(load.microConcurrency, inFlight))
        if other == period {
            current = MicroTraffic.larger(current, most)
        } else if other == period - 1 {
            previous = MicroTraffic.larger(previous, most)
        }
    }

    func bound(from: Int64) -> MicroTraffic? {
        from >> Self.shift >= period - 1 ? MicroTraffic.larger(current, previous) : nil
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
