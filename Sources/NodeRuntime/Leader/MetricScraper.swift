import Autoscaling
import OrchestryModel
import Scheduling

/// Turns pages into readings; remembers counters, whose growth counts.
struct MetricScraper: Sendable {
    struct Target: Sendable {
        var app: AppName
        var instance: InstanceID
        var endpoint: Endpoint
        var path: String
        var metrics: [ScalingPolicy.CustomMetric]
    }
    private struct Key: Hashable {
        var instance: InstanceID
        var metric: String
    }
    private var counters: [AppName: [Key: (value: Double, at: Instant)]] = [:]

    /// What is to be fetched of an app, one entry for each page.
    static func targets(_ application: Application, ready: [InstanceStatus]) -> [Target] {
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

    mutating func readings(of target: Target, page: String, at now: Instant, second: Int64) -> [CustomReading] {
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
    mutating func keep(_ instances: Set<InstanceID>, of app: AppName) {
        guard let known = counters[app], known.contains(where: { !instances.contains($0.key.instance) }) else { return }
        counters[app] = known.filter { instances.contains($0.key.instance) }
    }

    mutating func forget(_ app: AppName) { counters[app] = nil }
}

extension LeaderTerm {
    private static let fetchesAtOnce = 32

    /// The leader asks every ready instance of apps with metrics of their own, each second. It alone: only it decides by
    /// them, and a new one has the first readings a second later; until then nothing shrinks.
    func scrapeEachSecond() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            guard surroundings.isActive(epoch) else { continue }
            var targets: [MetricScraper.Target] = []
            for name in applications.keys.sorted() {
                guard let application = applications[name], application.status == .running,
                    application.spec.scaling.customMetrics != nil
                else { continue }
                let ready = reconciler.instances(of: name).filter { $0.state == .ready }
                scraper.keep(Set(ready.map(\.instance)), of: name)
                targets += MetricScraper.targets(application, ready: ready)
            }
            guard !targets.isEmpty else { continue }
            let fetch = surroundings.fetchPage
            await withTaskGroup(of: (MetricScraper.Target, String?).self) { group in
                var waiting = targets[...]
                for target in waiting.prefix(Self.fetchesAtOnce) {
                    group.addTask { (target, await fetch(target.endpoint, target.path)) }
                }
                waiting = waiting.dropFirst(Self.fetchesAtOnce)
                for await (target, page) in group {
                    if let next = waiting.popFirst() {
                        group.addTask { (next, await fetch(next.endpoint, next.path)) }
                    }
                    guard let page else { continue }
                    let readings = scraper.readings(
                        of: target, page: page, at: surroundings.clock.now(),
                        second: surroundings.clock.wall().wholeSecond)
                    surroundings.scaling.record(readings, app: target.app)
                }
            }
        }
    }
}
