import OrchestryModel
import ProxyConfig
import Testing

struct CounterTests {
    static let text = """
        counters 1 1700000000000-42-256
        a api 0 0 0 0 0 0 0
        h
        a web 2 123456 1 90 3 4 2
        h 5:60 70:39 1727:1
        i web-1-aaaaaa 70 2 1
        i web-1-bbbbbb 30 0 -1
        end

        """

    @Test func `counters are read`() throws {
        let counters = try ProxyCounters.parse(Self.text)
        let web = try #require(counters.apps[app("web")])
        #expect(counters.start == "1700000000000-42-256")
        #expect(counters.apps.count == 2)
        #expect(counters.apps[app("api")] == ProxyCounters.App())
        #expect(web.requests == 100)
        #expect(web.statusClasses == [1, 90, 3, 4, 2])
        #expect(web.inFlight == 2)
        #expect(web.requestMicroseconds == 123_456)
        #expect(web.latency.count == 100)
        #expect(web.instances[instance("web-1-aaaaaa")] == .init(requests: 70, errors: 2, inFlight: 1))
        #expect(web.instances[instance("web-1-bbbbbb")] == .init(requests: 30))
    }

    @Test(arguments: [
        ("", 0), ("counters 2 x\nend\n", 1), ("counters 1 x\n", 1), ("counters 1 x\nh 1:1\nend\n", 2),
        ("counters 1 x\na web 1 2 3\nend\n", 2), ("counters 1 x\na WEB 0 0 0 0 0 0 0\nend\n", 2),
        ("counters 1 x\na web 0 0 0 0 0 0 0\nh 1728:1\nend\n", 3),
        ("counters 1 x\na web 0 0 0 0 0 0 0\ni web-1 1 2\nend\n", 3), ("counters 1 x\nend\nend\n", 3),
        ("counters 1 x\nz\nend\n", 2),
    ])
    func `what is no reading of counters is refused`(_ text: String, _ line: Int) {
        #expect(throws: ProxyCounters.ParseError(line: line)) { try ProxyCounters.parse(text) }
    }

    private func counters(
        start: String = "s", ok: UInt64, failed: UInt64 = 0, microseconds: UInt64, buckets: [(Int, UInt64)],
        requests: UInt64, errors: UInt64 = 0, inFlight: UInt64 = 0
    ) -> ProxyCounters {
        ProxyCounters(
            start: start,
            apps: [
                app("web"): ProxyCounters.App(
                    inFlight: inFlight, requestMicroseconds: microseconds, statusClasses: [0, ok, 0, 0, failed],
                    latency: LatencyHistogram(buckets: buckets.map { .init(index: $0.0, count: $0.1) }),
                    instances: [instance("web-1"): .init(requests: requests, errors: errors, inFlight: inFlight)])
            ])
    }

    private func sample(_ previous: ProxyCounters?, _ current: ProxyCounters) throws -> Sample {
        let samples = CounterDelta.samples(
            from: previous, to: current, interval: 1.01, node: NodeID(unchecked: "n1"), second: 1_700_000_000)
        #expect(samples.count == 1)
        return try #require(samples.first)
    }

    @Test func `a sample is the difference of two readings`() throws {
        let before = counters(ok: 10, failed: 1, microseconds: 1_000_000, buckets: [(3, 6), (9, 5)], requests: 11)
        let after = counters(
            ok: 30, failed: 2, microseconds: 3_500_000, buckets: [(3, 6), (7, 1), (9, 25)], requests: 32, errors: 1,
            inFlight: 4)
        #expect(
            try sample(before, after)
                == Sample(
                    app: app("web"), node: NodeID(unchecked: "n1"), second: 1_700_000_000, interval: 1.01,
                    requests: 21, statusClasses: [0, 20, 0, 0, 1], requestSeconds: 2.5, inFlight: 4,
                    latency: LatencyHistogram(buckets: [.init(index: 7, count: 1), .init(index: 9, count: 20)]),
                    instances: [InstanceSample(instance: instance("web-1"), requests: 21, errors: 1, inFlight: 4)]))
    }

    @Test func `after a restart all that was counted is new`() throws {
        let before = counters(start: "old", ok: 10, microseconds: 10, buckets: [(3, 10)], requests: 10)
        let after = counters(start: "new", ok: 12, microseconds: 20, buckets: [(3, 12)], requests: 12)
        let result = try sample(before, after)
        #expect(result.requests == 12)
        #expect(result.latency.count == 12)
        #expect(result.instances.map(\.requests) == [12])
    }

    @Test func `counts that went backwards are counted from zero`() throws {
        let before = counters(ok: 10, microseconds: 10, buckets: [(3, 10)], requests: 10)
        let after = counters(ok: 4, microseconds: 5, buckets: [(3, 4)], requests: 4)
        let result = try sample(before, after)
        #expect(result.requests == 4)
        #expect(result.latency.count == 4)
        #expect(result.requestSeconds == 0.000_005)
        #expect(result.instances.map(\.requests) == [4])
    }

    @Test func `without an earlier reading only gauges are known`() throws {
        let now = counters(ok: 1000, microseconds: 99, buckets: [(3, 1000)], requests: 1000, inFlight: 3)
        let result = try sample(nil, now)
        #expect(result.requests == 0)
        #expect(result.latency.isEmpty)
        #expect(result.requestSeconds == 0)
        #expect(result.inFlight == 3)
        #expect(result.instances == [InstanceSample(instance: instance("web-1"), inFlight: 3)])
    }

    @Test func `an app that is new since the last reading counts in full`() throws {
        let before = ProxyCounters(start: "s", apps: [:])
        let after = counters(ok: 5, microseconds: 50, buckets: [(3, 5)], requests: 5)
        #expect(try sample(before, after).requests == 5)
    }
}
