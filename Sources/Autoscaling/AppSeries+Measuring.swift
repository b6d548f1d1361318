import OrchestryModel

/// A rate and a concurrency, in millionths: sums over nodes are the same in any order.
struct MicroTraffic: Sendable {
    var rate: Int64 = 0
    var concurrency: Int64 = 0

    static func + (left: MicroTraffic, right: MicroTraffic) -> MicroTraffic {
        MicroTraffic(rate: left.rate + right.rate, concurrency: left.concurrency + right.concurrency)
    }
    static func += (left: inout MicroTraffic, right: MicroTraffic) { left = left + right }

    static func larger(_ left: MicroTraffic, _ right: MicroTraffic) -> MicroTraffic {
        MicroTraffic(rate: max(left.rate, right.rate), concurrency: max(left.concurrency, right.concurrency))
    }

    /// This, with `part` of it (0…1) replaced.
    func mixed(with other: MicroTraffic, part: Double) -> MicroTraffic {
        MicroTraffic(
            rate: rate + Int64((Double(other.rate - rate) * part).rounded()),
            concurrency: concurrency + Int64((Double(other.concurrency - concurrency) * part).rounded()))
    }
}

/// Seconds whose strongest one does not count.
struct SettledTraffic {
    private var sum = MicroTraffic()
    private var strongest = MicroTraffic()
    private var known: Int64 = 0

    /// - Parameter second: nil: not known.
    mutating func add(_ second: MicroTraffic?) {
        guard let second else { return }
        sum += second
        strongest = MicroTraffic.larger(strongest, second)
        known += 1
    }

    /// Zero for fewer than two known seconds.
    var mean: MicroTraffic {
        guard known > 1 else { return MicroTraffic() }
        return MicroTraffic(
            rate: (sum.rate - strongest.rate) / (known - 1),
            concurrency: (sum.concurrency - strongest.concurrency) / (known - 1))
    }
}

/// Traffic of an app over one window, summed over its nodes.
struct TrafficReading: Sendable {
    /// What was certainly seen: silence counts as none.
    var low = MicroTraffic()
    /// The same with silence counted as the last that was known.
    var high = MicroTraffic()
    /// Seconds of the window since anything was known of the app.
    var coveredSeconds = 0
    /// Nodes whose newest sample is late, and whose traffic is therefore only assumed.
    var silentNodes = 0
    /// Something was reported in the window.
    var isKnown: Bool { coveredSeconds > 0 }

    /// Requests per second.
    var lowRate: Double { Double(low.rate) / 1e6 }
    var highRate: Double { Double(high.rate) / 1e6 }
    /// Mean number of requests in flight.
    var lowConcurrency: Double { Double(low.concurrency) / 1e6 }
    var highConcurrency: Double { Double(high.concurrency) / 1e6 }
}

extension AppSeries {
    /// The last second an evaluation at `second` looks at: the one before, which is complete; or `second` itself
    /// where it was given by hand.
    func windowEnd(at second: Int64) -> Int64 { synthetic.last?.second == second ? second : second - 1 }

    /// The newest second any node reported, or that was given by hand; nil: none.
    var newest: Int64? {
        var newest = synthetic.last?.second ?? Int64.min
        for position in nodes.indices { newest = max(newest, nodes[position].latest) }
        return newest == Int64.min ? nil : newest
    }

    /// The first second of `start...end` of which anything is known; `end + 1`: none.
    private func earliest(from start: Int64, to end: Int64) -> Int64 {
        var earliest = end + 1
        for position in nodes.indices where nodes[position].latest >= start {
            if let first = nodes[position].first(from: start, to: min(end, earliest - 1)) { earliest = first }
        }
        for entry in synthetic where entry.second >= start && entry.second <= end {
            earliest = min(earliest, entry.second)
        }
        return earliest
    }

    /// Moves the running totals (one window per series has them) to where `traffic` will read them.
    mutating func slide(seconds: Int, end: Int64) {
        let start = end - Int64(seconds) + 1
        let from = min(max(start, earliest(from: start, to: end)), end)
        for position in nodes.indices where nodes[position].latest != Int64.min {
            let nodeEnd = Self.windowEnd(nodes[position].latest, end)
            nodes[position].slide(from: nodeEnd - (end - from), to: nodeEnd)
        }
    }

    /// Where the window of a node ends whose newest second is `latest`: there, unless it is late.
    private static func windowEnd(_ latest: Int64, _ end: Int64) -> Int64 {
        latest >= end - lateSeconds ? latest : end
    }

    /// Each node is read over its own newest seconds, so that a sample on its way leaves no dip. Up to `lateSeconds`
    /// absent from a node's window are taken as lost (the mean of the others stands for them); more count as zero in
    /// the low figures and as the mean in the high ones.
    /// - Parameter seconds: length of the window that ends with `end`.
    func traffic(seconds: Int, end: Int64) -> TrafficReading {
        let start = end - Int64(seconds) + 1
        let earliest = earliest(from: start, to: end)
        var given = NodeLoad.zero
        for entry in synthetic where entry.second >= start && entry.second <= end { given += entry.load }
        var reading = TrafficReading()
        var anyReal = false
        for position in nodes.indices {
            let from = min(max(start, earliest), end)
            if add(nodeAt: position, to: &reading, from: from, end: end) { anyReal = true }
        }
        guard earliest <= end else { return reading }
        reading.coveredSeconds = Int(end - earliest + 1)
        if given.seconds > 0 { mix(given, into: &reading, anyReal: anyReal) }
        return reading
    }

    /// Traffic of the short window without its strongest second: one odd second (a reading that is wrong, a second's worth
    /// of retries) is no burst, a step is one from its second second on. Seconds given by hand count as they are.
    ///
    /// The larger of two figures, neither of which is more than what came in a second. Each node's own newest seconds
    /// show a step soonest, but miss traffic that goes from node to node, as that of a few kept connections does: the sum
    /// over all nodes, up to the second that all have reported, has it.
    /// - Returns: `low` only.
    func burstTraffic(seconds: Int, end: Int64) -> TrafficReading {
        let start = end - Int64(seconds) + 1
        if synthetic.contains(where: { $0.second >= start && $0.second <= end }) {
            return traffic(seconds: seconds, end: end)
        }
        let earliest = earliest(from: start, to: end)
        guard earliest <= end else { return TrafficReading() }
        var reading = TrafficReading(coveredSeconds: Int(end - earliest + 1))
        var common = end
        for position in nodes.indices where nodes[position].latest >= max(start, end - Self.lateSeconds) {
            common = min(common, nodes[position].latest)
        }
        reading.low = withUnsafeTemporaryAllocation(of: MicroTraffic?.self, capacity: seconds) { sums in
            sums.initialize(repeating: nil)
            var own = MicroTraffic()
            for position in nodes.indices {
                own += settledTraffic(ofNodeAt: position, seconds: seconds, end: end, common: common, sums: sums)
            }
            var together = SettledTraffic()
            for sum in sums { together.add(sum) }
            return MicroTraffic.larger(own, together.mean)
        }
        return reading
    }

    /// At least what `burstTraffic` would find, without looking at the seconds; nil: not known.
    func mostBurstTraffic(seconds: Int, end: Int64) -> MicroTraffic? {
        guard synthetic.isEmpty else { return nil }
        var most = MicroTraffic()
        for position in nodes.indices {
            guard let bound = nodes[position].mostTraffic(from: end - Self.lateSeconds - Int64(seconds) + 1) else {
                return nil
            }
            most += bound
        }
        return most
    }

    /// One node's part in the burst window, without its own strongest second.
    /// - Parameter sums: of the seconds up to `common`, to which the node's are added.
    private func settledTraffic(
        ofNodeAt position: Int, seconds: Int, end: Int64, common: Int64,
        sums: UnsafeMutableBufferPointer<MicroTraffic?>
    ) -> MicroTraffic {
        let latest = nodes[position].latest
        let first = common - Int64(seconds) + 1
        let isHeard = latest != Int64.min && latest >= end - Int64(seconds) + 1
        let nodeEnd = Self.windowEnd(latest, end)
        var settled = SettledTraffic()
        guard isHeard, nodeEnd == common else {
            nodes[position].forEachTraffic(from: first, to: common) { second, traffic in
                sums[Int(second - first)] = (sums[Int(second - first)] ?? MicroTraffic()) + traffic
            }
            guard isHeard else { return MicroTraffic() }
            nodes[position].forEachTraffic(from: nodeEnd - Int64(seconds) + 1, to: nodeEnd) { settled.add($1) }
            return settled.mean
        }
        nodes[position].forEachTraffic(from: first, to: common) { second, traffic in
            sums[Int(second - first)] = (sums[Int(second - first)] ?? MicroTraffic()) + traffic
            settled.add(traffic)
        }
        return settled.mean
    }

    /// - Returns: whether the node has a sample in the window.
    private func add(
        nodeAt position: Int, to reading: inout TrafficReading, from start: Int64, end: Int64
    ) -> Bool {
        let latest = nodes[position].latest
        guard latest != Int64.min else { return false }
        let onTime = latest >= end - Self.lateSeconds
        let nodeEnd = Self.windowEnd(latest, end)
        let length = end - start
        let nodeStart = nodeEnd - length
        var total = nodes[position].load.knownTotal(from: nodeStart, to: nodeEnd)
        total.microRate += nodes[position].growth(from: nodeStart, to: nodeEnd)
        let span = max(nodeEnd - nodeStart + 1, 1)
        let absent = span - total.seconds
        let low = Self.mean(total, over: onTime && absent <= Self.lateSeconds ? total.seconds : span)
        var high = onTime ? Self.mean(total, over: total.seconds) : low
        if !onTime, end - latest <= Self.silentNodeSeconds {
            reading.silentNodes += 1
            let last = nodes[position].load.total(from: latest - max(length, Self.lateSeconds), to: latest)
            high = Self.mean(last, over: last.seconds)
        }
        reading.low += low
        reading.high += MicroTraffic.larger(high, low)
        return total.seconds > 0
    }

    /// Seconds given by hand stand for themselves; the real ones for the rest of the window.
    private func mix(_ given: NodeLoad, into reading: inout TrafficReading, anyReal: Bool) {
        let mean = Self.mean(given, over: given.seconds)
        let part = anyReal ? Double(given.seconds) / Double(max(reading.coveredSeconds, 1)) : 1
        reading.low = reading.low.mixed(with: mean, part: part)
        reading.high = reading.high.mixed(with: mean, part: part)
    }

    /// Concurrency is the larger of two measures of the same thing: time of finished requests ÷ time, and requests in
    /// flight when looked at. Only the second one sees requests that hang.
    private static func mean(_ total: NodeLoad, over seconds: Int64) -> MicroTraffic {
        guard seconds > 0 else { return MicroTraffic() }
        let concurrency = max(total.microConcurrency, total.inFlight * 1_000_000)
        return MicroTraffic(
            rate: (total.microRate + seconds / 2) / seconds, concurrency: (concurrency + seconds / 2) / seconds)
    }

    /// The p95 over all nodes from a second on (a node whose clock is a little ahead: all it has).
    /// - Returns: milliseconds; nil when no request finished.
    mutating func p95Milliseconds(from start: Int64, end: Int64) -> Double? {
        guard start <= end else { return nil }
        if let begun = merged?.start, abs(start - begun) < end - start {
            moveMerged(to: start)
        } else {
            merged = mergedAfresh(from: start, end: end)
        }
        let newest = max(end, newest ?? end)
        merged?.ask(from: start, newest: newest)
        return merged?.followedPercentileMilliseconds(0.95)
    }

    /// The same without moving the merged window.
    func p95MillisecondsAside(from start: Int64, end: Int64) -> Double? {
        guard start <= end else { return nil }
        if merged?.start == start { return merged?.percentileMilliseconds(0.95) }
        return mergedAfresh(from: start, end: end).percentileMilliseconds(0.95)
    }

    private func mergedAfresh(from start: Int64, end: Int64) -> LatencyWindow {
        var window = LatencyWindow(start: start)
        let last = min(max(end, newest ?? end), end + Self.aheadSeconds + 1)
        for second in start...last { forEachLatency(at: second) { window.add($0) } }
        return window
    }

    mutating func moveMerged(to start: Int64) {
        guard merged?.start != start, var window = merged.take() else { return }
        if window.start <= start {
            for second in window.start..<start { forEachLatency(at: second) { window.subtract($0) } }
        } else {
            for second in start..<window.start { forEachLatency(at: second) { window.add($0) } }
        }
        window.begin(at: start)
        merged = window
    }

    private func forEachLatency(at second: Int64, _ body: (PackedHistogram) -> Void) {
        for position in nodes.indices {
            if let latency = nodes[position].latency(at: second) { body(latency) }
        }
        if let last = synthetic.last, second <= last.second {
            for entry in synthetic where entry.second == second { body(entry.latency) }
        }
    }

    /// CPU and memory of the ready instances over the window `start...end`.
    mutating func use(
        of ready: [InstanceID: Int64], starting: Int, policy: ScalingPolicy, start: Int64, end: Int64
    ) -> (cpu: ReplicaArithmetic.Levels, memory: ReplicaArithmetic.Levels) {
        var cpu = LevelSum()
        var memory = LevelSum()
        for (instance, since) in ready {
            let warm = since + Int64(policy.warmupSeconds)
            guard let position = position(of: instance) else {
                if end < warm { cpu.setAside += 1 } else { cpu.missing += 1 }
                memory.missing += 1
                continue
            }
            let isFresh = instances[position].use.latest >= end - Self.staleSeconds
            if end < warm {
                cpu.setAside += 1
                let total = instances[position].use.total(from: start, to: end)
                memory.add(total.microMemory, total.memorySeconds, isFresh: isFresh)
            } else {
                let total = instances[position].use.slidingTotal(from: max(start, warm), to: end)
                cpu.add(total.microCPU, total.cpuSeconds, isFresh: isFresh)
                memory.add(total.microMemory, total.memorySeconds, isFresh: isFresh)
            }
        }
        mixGiven(into: &cpu, &memory, instances: ready.count, start: start, end: end)
        // As the HPA: a silent instance counts as using all it was given, or the target where that is higher.
        return (
            cpu.levels(starting: starting, missingLevel: max(policy.maxCPUPercent ?? 100, 100)),
            memory.levels(starting: starting, missingLevel: max(policy.maxMemoryPercent ?? 100, 100))
        )
    }

    /// CPU and memory of all instances with a fresh reading, whether they are ready or not. Moves nothing.
    func freshUse(
        start: Int64, end: Int64
    ) -> (cpu: ReplicaArithmetic.Levels, memory: ReplicaArithmetic.Levels) {
        var cpu = LevelSum()
        var memory = LevelSum()
        var fresh = 0
        for position in instances.indices where instances[position].use.latest >= end - Self.staleSeconds {
            let total = instances[position].use.knownTotal(from: start, to: end)
            cpu.add(total.microCPU, total.cpuSeconds, isFresh: true)
            memory.add(total.microMemory, total.memorySeconds, isFresh: true)
            fresh += 1
        }
        mixGiven(into: &cpu, &memory, instances: fresh, start: start, end: end)
        return (cpu.levels(starting: 0, missingLevel: 100), memory.levels(starting: 0, missingLevel: 100))
    }

    private func mixGiven(
        into cpu: inout LevelSum, _ memory: inout LevelSum, instances: Int, start: Int64, end: Int64
    ) {
        var given = InstanceUse.zero
        for entry in synthetic where entry.second >= start && entry.second <= end { given += entry.use }
        guard given.cpuSeconds > 0 else { return }
        let part = Double(given.cpuSeconds) / Double(max(end - start + 1, given.cpuSeconds))
        cpu.mix(given.microCPU / given.cpuSeconds, part: part, instances: instances)
        memory.mix(given.microMemory / given.memorySeconds, part: part, instances: instances)
    }

    private struct LevelSum {
        var micro: Int64 = 0
        var measured = 0
        var missing = 0
        var setAside = 0

        mutating func add(_ total: Int64, _ seconds: Int64, isFresh: Bool) {
            guard isFresh, seconds > 0 else {
                missing += 1
                return
            }
            micro += total / seconds
            measured += 1
        }

        /// Seconds given by hand hold for every ready instance.
        mutating func mix(_ given: Int64, part: Double, instances: Int) {
            let real = measured > 0 ? Double(micro) / Double(measured) : Double(given)
            let mean = real + (Double(given) - real) * part
            micro = Int64(mean.rounded()) * Int64(instances)
            measured = instances
            missing = 0
            setAside = 0
        }

        func levels(starting: Int, missingLevel: Double) -> ReplicaArithmetic.Levels {
            ReplicaArithmetic.Levels(
                sum: Double(micro) / 1e6, measured: measured, missing: missing, setAside: setAside + starting,
                missingLevel: missingLevel)
        }
    }
}
