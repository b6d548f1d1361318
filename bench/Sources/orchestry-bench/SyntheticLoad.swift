import Autoscaling
import OrchestryModel

/// Traffic that is different for each app, node and second, and the same in each run.
struct SyntheticLoad {
    /// The most requests of a second, and therefore buckets of a histogram.
    static let largestHistogram = 20
    let firstSecond: Int64 = 1_800_000_000
    let apps: Int
    let nodes: [NodeID]
    let instancesPerApp: Int
    let names: [AppName]
    let states: [ReplicaState]
    /// Histograms of a second of 5 to 20 requests, which samples choose from.
    private let histograms: [LatencyHistogram]
    private let instances: [[InstanceID]]

    init(apps: Int, nodes: Int, instances instancesPerApp: Int) {
        self.apps = apps
        self.nodes = (0..<nodes).map { NodeID(unchecked: "node-\($0)") }
        self.instancesPerApp = instancesPerApp
        names = (0..<apps).map { AppName(unchecked: "app-\($0)") }
        instances = (0..<apps).map { app in
            (0..<instancesPerApp).map { InstanceID(unchecked: "app-\(app)-1-\(100_000 + $0)") }
        }
        let start = firstSecond
        states = instances.map { ids in
            // Ready long ago: no instance is warming up.
            ReplicaState(
                desired: ids.count, ready: Dictionary(uniqueKeysWithValues: ids.map { ($0, start - 3_600) }))
        }
        histograms = (0..<64).map { position in
            var histogram = LatencyHistogram()
            for request in 0..<(5 + position % 16) {
                // Between 2 and 34 ms.
                histogram.record(microseconds: 2_000 + Self.mixed(position, request, 1) % 32_000)
            }
            return histogram
        }
    }

    /// One app's second on one node.
    private struct Second {
        var histogram: Int
        var requests: Int
        var requestSeconds: Double
        var inFlight: Int
    }

    private func second(app: Int, node: Int, at second: Int64) -> Second {
        let random = Self.mixed(app, node, Int(second))
        let histogram = Int(random % 64)
        return Second(
            histogram: histogram, requests: 5 + histogram % 16, requestSeconds: Double(random >> 32 & 0xFFFF) / 1e6,
            inFlight: Int(random >> 48 & 3))
    }

    /// Percent of the limit.
    private func cpu(app: Int, instance: Int, at second: Int64) -> Double {
        Double(30 + Self.mixed(app, instance + 1_000, Int(second)) % 40)
    }

    /// One sample per app and node, as they arrive within a second: by node, then app.
    func samples(at second: Int64) -> [Sample] {
        var samples: [Sample] = []
        samples.reserveCapacity(apps * nodes.count)
        for (node, id) in nodes.enumerated() {
            for app in 0..<apps {
                let traffic = self.second(app: app, node: node, at: second)
                var sample = Sample(
                    app: names[app], node: id, second: second, requests: UInt64(traffic.requests),
                    statusClasses: [0, UInt64(traffic.requests), 0, 0, 0], requestSeconds: traffic.requestSeconds,
                    inFlight: UInt64(traffic.inFlight),
                    // Each its own copy, as from a decoder.
                    latency: LatencyHistogram(buckets: histograms[traffic.histogram].buckets))
                for instance in 0..<instancesPerApp where (app + instance) % nodes.count == node {
                    sample.instances.append(
                        InstanceSample(
                            instance: instances[app][instance],
                            cpuPercent: cpu(app: app, instance: instance, at: second),
                            memoryPercent: 40, requests: UInt64(traffic.requests)))
                }
                samples.append(sample)
            }
        }
        return samples
    }

    /// The finishing steps of SplitMix64 (Steele, Lea, Flood 2014) over three numbers.
    static func mixed(_ first: Int, _ second: Int, _ third: Int) -> UInt64 {
        var value = UInt64(truncatingIfNeeded: first) &* 0x9E37_79B9_7F4A_7C15
        value ^= UInt64(truncatingIfNeeded: second) &* 0xC2B2_AE3D_27D4_EB4F
        value ^= UInt64(truncatingIfNeeded: third) &* 0x1656_67B1_9E37_79F9
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
