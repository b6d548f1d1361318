import OrchestryModel

/// Turns pages in Prometheus' text format into readings; remembers counters, whose growth counts.
package struct MetricScraper: Sendable {
    /// One page of one instance, and what is wanted of it.
    package struct Target: Sendable {
        package var app: AppName
        package var instance: InstanceID
        package var endpoint: Endpoint
        package var path: String
        package var metrics: [ScalingPolicy.CustomMetric]
        package init(
            app: AppName, instance: InstanceID, endpoint: Endpoint, path: String, metrics: [ScalingPolicy.CustomMetric]
        ) {
            self.app = app
            self.instance = instance
            self.endpoint = endpoint
            self.path = path
            self.metrics = metrics
        }
    }
    private struct Key: Hashable {
        var instance: InstanceID
        var metric: String
    }
    private var counters: [AppName: [Key: (value: Double, at: Instant)]] = [:]

    package init() {}

    /// What is to be fetched of an app, one entry for each page.
    package static func targets(_ application: Application, ready: [InstanceStatus]) -> [Target] {
        let metrics = application.spec.scaling.customMetrics ?? []
        guard !metrics.isEmpty else { return [] }
        return ready.flatMap { status -> [Target] in
            guard let endpoint = status.endpoint else { return [] }
            let pages = Dictionary(grouping: metrics) { "\($0.port ?? endpoint.port) \($0.path)" }
            return pages.keys.sorted().compactMap { key in
                guard let group = pages[key], let first = group.first else { return nil }
                return Target(
                    app: application.name, instance: status.instance,
                    endpoint: Endpoint(host: endpoint.host, port: first.port ?? endpoint.port), path: first.path,
                    metrics: group)
            }
        }
    }

    /// - Parameters:
    ///   - now: of the same clock each time: a counter's growth is divided by the time between two readings.
    ///   - second: since 1970, of the readings.
    /// - Returns: nothing for a metric that the page does not show, nor for a counter that has not been read before or has
    ///   started anew.
    package mutating func readings(of target: Target, page: String, at now: Instant, second: Int64) -> [CustomReading] {
        let page = PrometheusPage(page)
        return target.metrics.compactMap { metric in
            guard var value = page.value(of: metric.metric, labels: metric.labels) else { return nil }
            if metric.kind == .counter {
                let key = Key(instance: target.instance, metric: metric.name)
                let previous = counters[target.app]?.updateValue((value, now), forKey: key)
                if counters[target.app] == nil { counters[target.app] = [key: (value, now)] }
                // The first reading, and the one after a restart, have nothing to be compared with.
                guard let previous, now > previous.at, value >= previous.value else { return nil }
                value = (value - previous.value) / (now - previous.at).inSeconds
            }
            return CustomReading(metric: metric.name, instance: target.instance, second: second, value: value)
        }
    }

    /// Drops counters of instances that are gone.
    package mutating func keep(_ instances: Set<InstanceID>, of app: AppName) {
        guard let known = counters[app], known.contains(where: { !instances.contains($0.key.instance) }) else { return }
        counters[app] = known.filter { instances.contains($0.key.instance) }
    }

    package mutating func forget(_ app: AppName) { counters[app] = nil }
}
