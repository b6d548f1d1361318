import OrchestryModel

/// Turns two readings of the counters into one sample per app: what the proxy saw in between. CPU and memory are left
/// nil for whoever measures them.
public enum CounterDelta {
    /// - Parameters:
    ///   - previous: nil when there is no earlier reading: how long `current` took to add up is then unknown, so the
    ///     samples carry the gauges only.
    ///   - interval: between the two readings, seconds.
    ///   - second: the wall-clock second the samples stand for.
    /// - Returns: sorted by app, instances sorted. An app without earlier counts, or whose counts went backwards
    ///   (nginx restarted, or its place in the counters was given up and taken again), is counted from zero.
    public static func samples(
        from previous: ProxyCounters?, to current: ProxyCounters, interval: Double, node: NodeID, second: Int64
    ) -> [Sample] {
        current.apps.sorted { $0.key < $1.key }.map { name, app in
            var sample = Sample(app: name, node: node, second: second, interval: interval, inFlight: app.inFlight)
            let since: ProxyCounters.App
            if let previous {
                let earlier = previous.start == current.start ? previous.apps[name] : nil
                since = change(from: earlier ?? ProxyCounters.App(), to: app)
            } else {
                since = change(from: app, to: app)
            }
            sample.statusClasses = since.statusClasses
            sample.requests = since.requests
            sample.requestSeconds = Double(since.requestMicroseconds) / 1_000_000
            sample.latency = since.latency
            sample.instances = since.instances.sorted { $0.key < $1.key }.compactMap { instance, counts in
                // Instances that left and have been quiet since are no longer of interest.
                guard counts.requests > 0 || counts.inFlight > 0 || counts.errors > 0 else { return nil }
                return InstanceSample(
                    instance: instance, requests: counts.requests, errors: counts.errors, inFlight: counts.inFlight,
                    latency: counts.latency)
            }
            return sample
        }
    }

    private static func change(from old: LatencyHistogram, to new: LatencyHistogram) -> LatencyHistogram {
        let earlier = Dictionary(
            old.buckets.map { ($0.index, $0.count) }, uniquingKeysWith: { first, _ in first })
        return LatencyHistogram(
            buckets: new.buckets.map { bucket in
                let before = earlier[bucket.index] ?? 0
                let count = bucket.count >= before ? bucket.count - before : bucket.count
                return LatencyHistogram.Bucket(index: bucket.index, count: count)
            })
    }

    private static func change(from old: ProxyCounters.App, to new: ProxyCounters.App) -> ProxyCounters.App {
        var base = old
        let backwards =
            new.requestMicroseconds < old.requestMicroseconds
            || zip(new.statusClasses, old.statusClasses).contains { $0 < $1 }
        if backwards { base = ProxyCounters.App() }
        var result = new
        result.requestMicroseconds -= base.requestMicroseconds
        result.statusClasses = zip(new.statusClasses, base.statusClasses).map { $0 - $1 }
        result.latency = change(from: base.latency, to: new.latency)
        for (instance, counts) in new.instances {
            guard let before = base.instances[instance], before.requests <= counts.requests,
                before.errors <= counts.errors
            else { continue }
            // Without an earlier reading of them it is not known since when they add up.
            result.instances[instance]?.latency = counts.latency.map { times in
                before.latency.map { change(from: $0, to: times) } ?? LatencyHistogram()
            }
            result.instances[instance]?.requests = counts.requests - before.requests
            result.instances[instance]?.errors = counts.errors - before.errors
        }
        return result
    }
}
