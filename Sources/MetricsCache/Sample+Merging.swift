import OrchestryModel

extension Sample {
    /// Several seconds of one app on one node as a single sample: counts, durations and intervals add up, so that rates
    /// and mean concurrency come out right; the histograms merge; what is a level (requests in flight, CPU, memory) is
    /// the mean of the seconds that have it.
    /// - Parameters:
    ///   - samples: of the same app and node.
    ///   - second: the result's.
    /// - Returns: nil for no samples.
    static func merging(_ samples: [Sample], second: Int64) -> Sample? {
        guard let first = samples.first else { return nil }
        var merged = Sample(app: first.app, node: first.node, second: second, interval: 0)
        var inFlight = Mean()
        var instances: [InstanceID: Parts] = [:]
        for sample in samples {
            merged.interval += sample.interval
            merged.requests += sample.requests
            for index in merged.statusClasses.indices where index < sample.statusClasses.count {
                merged.statusClasses[index] += sample.statusClasses[index]
            }
            merged.requestSeconds += sample.requestSeconds
            inFlight.add(Double(sample.inFlight))
            merged.latency.merge(sample.latency)
            for instance in sample.instances { instances[instance.instance, default: Parts()].add(instance) }
        }
        merged.inFlight = inFlight.rounded
        merged.instances = instances.sorted { $0.key < $1.key }.map { $1.sample(of: $0) }
        return merged
    }

    private struct Mean {
        private var sum = 0.0
        private var count = 0.0
        mutating func add(_ value: Double?) {
            guard let value else { return }
            sum += value
            count += 1
        }
        var value: Double? { count > 0 ? sum / count : nil }
        var rounded: UInt64 { UInt64((value ?? 0).rounded()) }
    }

    private struct Parts {
        private var cpu = Mean()
        private var memory = Mean()
        private var inFlight = Mean()
        private var requests: UInt64 = 0
        private var errors: UInt64 = 0
        mutating func add(_ sample: InstanceSample) {
            cpu.add(sample.cpuPercent)
            memory.add(sample.memoryPercent)
            inFlight.add(Double(sample.inFlight))
            requests += sample.requests
            errors += sample.errors
        }
        func sample(of instance: InstanceID) -> InstanceSample {
            InstanceSample(
                instance: instance, cpuPercent: cpu.value, memoryPercent: memory.value, requests: requests,
                errors: errors, inFlight: inFlight.rounded)
        }
    }
}
