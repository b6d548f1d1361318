import OrchestryModel

/// The baseline of `evaluate`: keeps the same seconds in flat arrays and sums up each window from its first second to
/// its last.
struct NaiveAutoscaler {
    struct Reading {
        var ratePerInstance: Double
        var connectionsPerInstance: Double
        var p95Milliseconds: Double
        var cpuPercent: Double
        var wanted: Int
    }

    private let load: SyntheticLoad
    private let window: Int
    /// By app, node, second.
    private var traffic: [SyntheticLoad.Second]
    /// By app, instance, second.
    private var cpu: [Double]
    private var counts = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount)

    init(load: SyntheticLoad, window: Int) {
        self.load = load
        self.window = window
        let none = SyntheticLoad.Second(histogram: 0, requests: 0, requestSeconds: 0, inFlight: 0)
        traffic = Array(repeating: none, count: load.apps * load.nodes.count * window)
        cpu = Array(repeating: 0, count: load.apps * load.instancesPerApp * window)
    }

    mutating func record(_ second: Int64) {
        let slot = Int(second % Int64(window))
        for app in 0..<load.apps {
            for node in load.nodes.indices {
                traffic[(app * load.nodes.count + node) * window + slot] =
                    load.second(app: app, node: node, at: second)
            }
            for instance in 0..<load.instancesPerApp {
                cpu[(app * load.instancesPerApp + instance) * window + slot] =
                    load.cpu(app: app, instance: instance, at: second)
            }
        }
    }

    /// - Parameter second: the window ends before it; all its seconds were recorded.
    mutating func round(_ policy: ScalingPolicy, at second: Int64) -> [Reading] {
        var readings: [Reading] = []
        readings.reserveCapacity(load.apps)
        for app in 0..<load.apps { readings.append(reading(of: app, policy)) }
        return readings
    }

    private mutating func reading(of app: Int, _ policy: ScalingPolicy) -> Reading {
        var requests = 0
        var requestSeconds = 0.0
        var inFlight = 0
        var total: UInt64 = 0
        for position in counts.indices { counts[position] = 0 }
        let first = app * load.nodes.count * window
        for position in first..<first + load.nodes.count * window {
            let second = traffic[position]
            requests += second.requests
            requestSeconds += second.requestSeconds
            inFlight += second.inFlight
            for bucket in load.histograms[second.histogram].buckets {
                counts[bucket.index] += bucket.count
                total += bucket.count
            }
        }
        var used = 0.0
        let firstUse = app * load.instancesPerApp * window
        for position in firstUse..<firstUse + load.instancesPerApp * window { used += cpu[position] }
        let ready = Double(load.instancesPerApp)
        let seconds = Double(window)
        var reading = Reading(
            ratePerInstance: Double(requests) / seconds / ready,
            connectionsPerInstance: max(requestSeconds, Double(inFlight)) / seconds / ready,
            p95Milliseconds: percentile(0.95, of: total), cpuPercent: used / seconds / ready, wanted: 0)
        let factor = [
            policy.targetRPS.map { reading.ratePerInstance / $0 },
            policy.maxConnections.map { reading.connectionsPerInstance / $0 },
            policy.maxP95LatencyMilliseconds.map { reading.p95Milliseconds / $0 },
            policy.maxCPUPercent.map { reading.cpuPercent / $0 },
        ].compactMap(\.self).max()
        reading.wanted = Int((ready * (factor ?? 1) / (policy.scaleOutThresholdPercent / 100)).rounded(.up))
        return reading
    }

    private func percentile(_ fraction: Double, of total: UInt64) -> Double {
        let rank = max(1, UInt64((fraction * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, count) in counts.enumerated() {
            seen += count
            if seen >= rank { return LatencyHistogram.midpoint(ofBucket: index) / 1000 }
        }
        return .nan
    }
}
