import OrchestryModel

/// One window of one app, summed up from its first second to its last.
struct WindowSum {
    /// What `evaluate` compares; per instance but for the latency.
    struct Reading {
        var rate: Double
        var connections: Double
        var p95Milliseconds: Double
        var cpuPercent: Double
        var wanted: Int
    }

    var requests = 0
    var requestSeconds = 0.0
    var inFlight = 0
    var cpuPercent = 0.0
    private var connections = 0.0
    /// By bucket: one dense array, used again for each app, so that it stays in cache.
    private var counts = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount)
    private var total: UInt64 = 0

    mutating func reset() {
        (requests, requestSeconds, inFlight, cpuPercent, connections, total) = (0, 0, 0, 0, 0, 0)
        for position in counts.indices { counts[position] = 0 }
    }

    /// Of two measures of a node's concurrency the larger one counts.
    mutating func endNode() {
        connections += max(requestSeconds, Double(inFlight))
        (requestSeconds, inFlight) = (0, 0)
    }

    mutating func add(bucket: Int, count: UInt64) {
        counts[bucket] += count
        total += count
    }

    func reading(_ policy: ScalingPolicy, seconds: Int, ready: Int) -> Reading {
        let (seconds, ready) = (Double(seconds), Double(ready))
        var reading = Reading(
            rate: Double(requests) / seconds / ready,
            connections: connections / seconds / ready,
            p95Milliseconds: percentile(0.95), cpuPercent: cpuPercent / seconds / ready, wanted: 0)
        let factors = [
            policy.targetRPS.map { reading.rate / $0 }, policy.maxConnections.map { reading.connections / $0 },
            policy.maxP95LatencyMilliseconds.map { reading.p95Milliseconds / $0 },
            policy.maxCPUPercent.map { reading.cpuPercent / $0 },
        ]
        let factor = factors.compactMap(\.self).max() ?? 1
        reading.wanted = Int((ready * factor / (policy.scaleOutThresholdPercent / 100)).rounded(.up))
        return reading
    }

    private func percentile(_ fraction: Double) -> Double {
        let rank = max(1, UInt64((fraction * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, count) in counts.enumerated() {
            seen += count
            if seen >= rank { return LatencyHistogram.midpoint(ofBucket: index) / 1000 }
        }
        return .nan
    }
}

/// What was in flight before the window and at its end, by app and node: requests that came in it and have not finished.
private struct InFlight {
    private var before: [Int]
    private var last: [Int]

    init(_ load: SyntheticLoad) {
        before = Array(repeating: 0, count: load.apps * load.nodes.count)
        last = before
    }

    mutating func note(_ value: Int, leaving old: Int, of series: Int) {
        before[series] = old
        last[series] = value
    }

    func growth(of series: Range<Int>) -> Int {
        series.reduce(0) { $0 + max(0, last[$1] - before[$1]) }
    }
}

/// The baseline of `evaluate`: keeps the samples of the window as they came.
struct SampleRecomputation {
    private let load: SyntheticLoad
    private let window: Int
    /// By app; in each, by second and node.
    private var samples: [[Sample?]]
    private var inFlight: InFlight
    private var sum = WindowSum()

    init(load: SyntheticLoad, window: Int) {
        self.load = load
        self.window = window
        samples = Array(repeating: Array(repeating: nil, count: window * load.nodes.count), count: load.apps)
        inFlight = InFlight(load)
    }

    /// - Parameter batch: as `SyntheticLoad.samples` orders it.
    mutating func record(_ batch: [Sample]) {
        for (position, sample) in batch.enumerated() {
            let (node, app) = position.quotientAndRemainder(dividingBy: load.apps)
            let slot = Int(sample.second % Int64(window)) * load.nodes.count + node
            inFlight.note(
                Int(sample.inFlight), leaving: Int(samples[app][slot]?.inFlight ?? 0),
                of: app * load.nodes.count + node)
            samples[app][slot] = sample
        }
    }

    mutating func round(_ policy: ScalingPolicy) -> [WindowSum.Reading] {
        samples.enumerated().map { app, window in
            sum.reset()
            sum.requests += inFlight.growth(of: app * load.nodes.count..<(app + 1) * load.nodes.count)
            for node in load.nodes.indices {
                for slot in stride(from: node, to: window.count, by: load.nodes.count) {
                    guard let sample = window[slot] else { continue }
                    sum.requests += Int(sample.requests)
                    sum.requestSeconds += sample.requestSeconds
                    sum.inFlight += Int(sample.inFlight)
                    for instance in sample.instances { sum.cpuPercent += instance.cpuPercent ?? 0 }
                    for bucket in sample.latency.buckets { sum.add(bucket: bucket.index, count: bucket.count) }
                }
                sum.endNode()
            }
            return sum.reading(policy, seconds: self.window, ready: load.instancesPerApp)
        }
    }
}

/// The best case of summing up afresh: nothing but the numbers, each app's next to each other.
struct FlatRecomputation {
    private struct Second {
        var requests: Int32 = 0
        var inFlight: Int32 = 0
        var requestSeconds = 0.0
        /// All instances of the node.
        var cpuPercent = 0.0
        var buckets: Int32 = 0
    }

    private let load: SyntheticLoad
    private let window: Int
    /// By app, node, second.
    private var seconds: [Second]
    /// As many for each of `seconds` as a histogram may have buckets: 11 bits of index, 21 of count.
    private var buckets: [UInt32]
    private var inFlight: InFlight
    private var sum = WindowSum()

    init(load: SyntheticLoad, window: Int) {
        self.load = load
        self.window = window
        seconds = Array(repeating: Second(), count: load.apps * load.nodes.count * window)
        buckets = Array(repeating: 0, count: seconds.count * SyntheticLoad.largestHistogram)
        inFlight = InFlight(load)
    }

    /// - Parameter batch: as `SyntheticLoad.samples` orders it.
    mutating func record(_ batch: [Sample]) {
        for (position, sample) in batch.enumerated() {
            let series = position % load.apps * load.nodes.count + position / load.apps
            let slot = series * window + Int(sample.second % Int64(window))
            inFlight.note(Int(sample.inFlight), leaving: Int(seconds[slot].inFlight), of: series)
            seconds[slot] = Second(
                requests: Int32(sample.requests), inFlight: Int32(sample.inFlight),
                requestSeconds: sample.requestSeconds,
                cpuPercent: sample.instances.reduce(0) { $0 + ($1.cpuPercent ?? 0) },
                buckets: Int32(sample.latency.buckets.count))
            for (offset, bucket) in sample.latency.buckets.enumerated() {
                buckets[slot * SyntheticLoad.largestHistogram + offset] =
                    UInt32(bucket.index) << 21 | UInt32(bucket.count)
            }
        }
    }

    mutating func round(_ policy: ScalingPolicy) -> [WindowSum.Reading] {
        let perApp = load.nodes.count * window
        return (0..<load.apps).map { app in
            sum.reset()
            sum.requests += inFlight.growth(of: app * load.nodes.count..<(app + 1) * load.nodes.count)
            for slot in app * perApp..<(app + 1) * perApp {
                let second = seconds[slot]
                sum.requests += Int(second.requests)
                sum.requestSeconds += second.requestSeconds
                sum.inFlight += Int(second.inFlight)
                sum.cpuPercent += second.cpuPercent
                let first = slot * SyntheticLoad.largestHistogram
                for position in first..<first + Int(second.buckets) {
                    sum.add(bucket: Int(buckets[position] >> 21), count: UInt64(buckets[position] & (1 << 21 - 1)))
                }
                if (slot + 1).isMultiple(of: window) { sum.endNode() }
            }
            return sum.reading(policy, seconds: window, ready: load.instancesPerApp)
        }
    }
}
