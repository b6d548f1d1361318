import Autoscaling
import OrchestryModel
import Testing

/// What instances say of themselves, as readings.
struct MetricScraperTests {
    private let one = InstanceID(unchecked: "web-1-a")
    private let other = InstanceID(unchecked: "web-1-b")

    private func metric(
        _ name: String, _ kind: ScalingPolicy.CustomMetric.Kind, path: String = "/metrics", port: Int? = nil
    ) -> ScalingPolicy.CustomMetric {
        ScalingPolicy.CustomMetric(
            name: name, metric: "\(name)_total", labels: [:], kind: kind, target: 10, path: path, port: port)
    }

    private func target(_ instance: InstanceID, _ metrics: [ScalingPolicy.CustomMetric]) -> MetricScraper.Target {
        MetricScraper.Target(
            app: app, instance: instance, endpoint: Endpoint(host: "10.0.0.1", port: 80), path: "/metrics",
            metrics: metrics)
    }

    @Test func `a counter is its growth per second, by the time that has really passed`() {
        var scraper = MetricScraper()
        let target = target(one, [metric("jobs", .counter)])
        func read(_ value: String, at seconds: Double) -> [Double] {
            scraper.readings(
                of: target, page: "jobs_total \(value)\n", at: .zero + .seconds(seconds), second: Int64(seconds)
            ).map(\.value)
        }
        #expect(read("100", at: 1) == [], "nothing to compare with")
        #expect(read("130", at: 2) == [30])
        #expect(read("130", at: 3) == [0])
        #expect(read("190", at: 5) == [30], "two seconds passed")
        #expect(read("5", at: 6) == [], "the instance started again")
        #expect(read("9", at: 7) == [4])
        #expect(read("NaN", at: 8) == [], "no number")
    }

    @Test func `instances and metrics have counters of their own`() {
        var scraper = MetricScraper()
        let metrics = [metric("jobs", .counter), metric("mails", .counter), metric("depth", .gauge)]
        func read(_ instance: InstanceID, _ page: String, at second: Int64) -> [String: Double] {
            let readings = scraper.readings(
                of: target(instance, metrics), page: page, at: .zero + .seconds(Double(second)), second: second)
            #expect(readings.allSatisfy { $0.instance == instance && $0.second == second })
            return Dictionary(uniqueKeysWithValues: readings.map { ($0.metric, $0.value) })
        }
        #expect(read(one, "jobs_total 10\nmails_total 1\ndepth_total 7\n", at: 1) == ["depth": 7])
        #expect(read(other, "jobs_total 1000\n", at: 1) == [:])
        #expect(
            read(one, "jobs_total 12\nmails_total 5\ndepth_total 6\n", at: 2) == ["jobs": 2, "mails": 4, "depth": 6])
        #expect(read(other, "jobs_total 1500\n", at: 2) == ["jobs": 500])
        // What is gone is forgotten: should the name come back, it starts anew. Those that are left go on.
        scraper.keep([one], of: app)
        #expect(read(other, "jobs_total 9000\n", at: 3) == [:])
        #expect(read(one, "jobs_total 13\n", at: 3) == ["jobs": 1])
        scraper.forget(app)
        #expect(read(one, "jobs_total 14\n", at: 4) == [:])
    }

    @Test func `each page is asked for once, from the port that is named or the app's own`() {
        var spec = AppSpec(name: app, image: "web:1", ports: [])
        spec.scaling.customMetrics = [
            metric("jobs", .counter), metric("depth", .gauge), metric("mails", .gauge, path: "/more", port: 9_100),
        ]
        let application = Application(
            spec: spec, document: [:], revision: 1, status: .running, replicas: 2, createdAt: .init(milliseconds: 0),
            updatedAt: .init(milliseconds: 0))
        let instances = [one, other].enumerated().map { number, instance in
            InstanceStatus(
                instance: instance, app: app, revision: 1, node: NodeID(unchecked: "a"), state: .ready,
                endpoint: number == 0 ? Endpoint(host: "10.0.0.7", port: 80) : nil, since: .init(milliseconds: 0))
        }
        let targets = MetricScraper.targets(application, ready: instances)
        #expect(
            targets.map { "\($0.instance) \($0.endpoint)\($0.path) \($0.metrics.map(\.name))" } == [
                "web-1-a 10.0.0.7:80/metrics [\"jobs\", \"depth\"]", "web-1-a 10.0.0.7:9100/more [\"mails\"]",
            ])
    }
}
