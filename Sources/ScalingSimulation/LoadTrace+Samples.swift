import OrchestryModel

extension LoadTrace {
    /// The load that samples show, summed over nodes.
    /// - Parameters:
    ///   - samples: of one app: of single seconds, or of minutes, which then stand for each of their seconds.
    ///   - seconds: what the trace covers. Seconds without a sample go on as the last one, unmeasured.
    /// - Returns: nil when no sample falls into the range.
    public init?(_ samples: [Sample], over seconds: Range<Int64>) {
        var sums: [Int64: Second] = [:]
        for sample in samples {
            let interval = sample.interval.isFinite && sample.interval > 0.01 ? sample.interval : 1
            let length = interval > 30 ? Int64(60) : 1
            var part = Second()
            part.add(sample, interval: interval)
            for second in sample.second..<sample.second + length where seconds.contains(second) {
                sums[second, default: Second()].merge(part)
            }
        }
        guard let first = sums.keys.min() else { return nil }
        var points: [LoadPoint] = []
        points.reserveCapacity(Int(seconds.upperBound - first))
        for second in first..<seconds.upperBound {
            if let sum = sums[second] {
                points.append(sum.point(at: second))
            } else if var held = points.last {
                held.second = second
                held.isMeasured = false
                points.append(held)
            }
        }
        self.init(points)
    }

    private struct Second {
        var rps = 0.0
        var connections = 0.0
        var cpu: Double?
        var memory: (sum: Double, count: Double) = (0, 0)
        var latency = LatencyHistogram()

        mutating func add(_ sample: Sample, interval: Double) {
            rps = Double(sample.requests) / interval
            connections = max(sample.requestSeconds / interval, Double(sample.inFlight))
            latency = sample.latency
            for instance in sample.instances {
                if let percent = instance.cpuPercent, percent.isFinite { cpu = (cpu ?? 0) + percent }
                if let percent = instance.memoryPercent, percent.isFinite {
                    memory = (memory.sum + percent, memory.count + 1)
                }
            }
        }

        mutating func merge(_ other: Second) {
            rps += other.rps
            connections += other.connections
            if let percent = other.cpu { cpu = (cpu ?? 0) + percent }
            memory = (memory.sum + other.memory.sum, memory.count + other.memory.count)
            if latency.buckets.isEmpty { latency = other.latency } else { latency.merge(other.latency) }
        }

        func point(at second: Int64) -> LoadPoint {
            LoadPoint(
                second: second, rps: rps, connections: connections,
                p95Milliseconds: latency.percentileMilliseconds(0.95) ?? 0, cpuPercent: cpu,
                memoryPercent: memory.count > 0 ? memory.sum / memory.count : nil)
        }
    }
}
