import Autoscaling
import OrchestryModel
import Testing

/// What an evaluation reads from samples that come late, twice, out of order, or not at all.
struct MeasuringTests {
    private let policy = plainPolicy(rps: 50)
    private let four = ReplicaState(desired: 4, ready: ready(4))

    private func rps(_ scaler: Autoscaler, at second: Int64) -> Double {
        scaler.observed(app, policy: policy, ready: 4, at: second).rps
    }

    @Test func `traffic is the sum over nodes of their means`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 80...99) { sample($0, node: 1, rps: 100) }
        scaler.record(seconds: 80...99) { sample($0, node: 2, rps: $0 % 2 == 0 ? 20 : 40) }
        #expect(rps(scaler, at: 100) == 130)
    }

    @Test func `rates divide by the real interval`() {
        var scaler = Autoscaler()
        for second in Int64(80)...99 {
            scaler.record(Sample(app: app, node: node(1), second: second, interval: 1.25, requests: 125))
        }
        #expect(rps(scaler, at: 100) == 100)
    }

    @Test func `a sample on its way leaves no dip`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 70...99) { sample($0, node: 1, rps: 100) }
        scaler.record(seconds: 70...97) { sample($0, node: 2, rps: 100) }
        #expect(rps(scaler, at: 100) == 200)
        let evaluation = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(evaluation.factor(of: .rps)?.factor == 1)
        #expect(evaluation.factor(of: .rps)?.missing == 0)
    }

    @Test func `samples may come in any order and twice`() {
        var inOrder = Autoscaler()
        var shuffled = Autoscaler()
        var samples: [Sample] = []
        for second in Int64(60)...99 {
            for number in 1...3 {
                samples.append(
                    sample(
                        second, node: number, rps: Double((second * 7 + Int64(number)) % 50), concurrency: 2,
                        latencyMilliseconds: Double(second),
                        instances: [InstanceSample(instance: instance(number), cpuPercent: Double(second % 40))]))
            }
        }
        for one in samples { inOrder.record(one) }
        var random = Seeded(5)
        for one in (samples + samples.prefix(40)).shuffled(using: &random) { shuffled.record(one) }
        let policy = plainPolicy(rps: 50, latency: 250, connections: 80, cpu: 70)
        #expect(
            inOrder.evaluate(app, policy: policy, state: four, at: 100)
                == shuffled.evaluate(app, policy: policy, state: four, at: 100))
    }

    @Test func `a sample for the same second replaces the earlier`() throws {
        var scaler = Autoscaler()
        scaler.record(seconds: 80...99) { sample($0, rps: 900, latencyMilliseconds: 900) }
        let policy = plainPolicy(rps: 50, latency: 250)
        // The percentile window is in use when the replacements come.
        _ = scaler.evaluate(app, policy: policy, state: four, at: 100)
        scaler.record(seconds: 80...99) { sample($0, rps: 100, latencyMilliseconds: 100) }
        let evaluation = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(evaluation.factor(of: .rps)?.observed == 25)
        let latency = try #require(evaluation.factor(of: .latency)?.observed)
        #expect(abs(latency - 100) < 1)
    }

    @Test func `a dead node's traffic ends for growth but not at once for shrinking`() {
        var scaler = Autoscaler()
        var wanted: [Int64: Int] = [:]
        for second in Int64(0)..<170 {
            scaler.record(sample(second, node: 1, rps: 20))
            if second < 100 { scaler.record(sample(second, node: 2, rps: 140)) }
            if second == 130 { #expect(rps(scaler, at: 131) == 20) }
            wanted[second + 1] = scaler.evaluate(app, policy: policy, state: four, at: second + 1).wanted
        }
        for second in Int64(90)...160 { #expect(wanted[second] == 4, "at \(second)") }
        // A minute of silence: nobody waits for it any more.
        #expect(wanted[165] == 1)
    }

    @Test func `a node that comes back is not taken for a rise of the load`() {
        var scaler = Autoscaler()
        // 150 all the time: half a minute by node 1 alone, since second 99 by both.
        scaler.record(seconds: 60...98) { sample($0, node: 1, rps: 150) }
        scaler.record(seconds: 99...99) { sample($0, node: 1, rps: 75) }
        scaler.record(seconds: 99...99) { sample($0, node: 2, rps: 75) }
        #expect(scaler.evaluate(app, policy: policy, state: four, at: 100).wanted == 4)
    }

    @Test func `no samples: hold; stale samples: hold`() {
        var scaler = Autoscaler()
        let none = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(none.wanted == 4)
        #expect(none.limits.map(\.rule) == [.noMetrics])
        scaler.record(seconds: 100...120) { sample($0, rps: 1) }
        let stale = scaler.evaluate(app, policy: policy, state: four, at: 126)
        #expect(stale.wanted == 4)
        #expect(stale.limits.map(\.rule) == [.staleMetrics])
        #expect(stale.reason == "Hold at 4: the newest metrics are 5 s old")
        var fresh = Autoscaler()
        fresh.record(seconds: 100...120) { sample($0, rps: 1) }
        #expect(fresh.evaluate(app, policy: policy, state: four, at: 125).wanted == 1, "4 s old is not stale")
    }

    @Test func `an interval or a reading that is no number does no harm`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 80...99) { second in
            Sample(
                app: app, node: node(1), second: second, interval: second % 2 == 0 ? 0 : .nan, requests: 100,
                requestSeconds: .infinity, instances: readings(cpu: [.nan, -5, .infinity], memory: [nil, .nan]))
        }
        let policy = plainPolicy(rps: 50, cpu: 70)
        let evaluation = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(evaluation.factor(of: .rps)?.observed == 25)
        #expect(evaluation.wanted == 4)
    }

    @Test func `samples from a clock that ran ahead don't shut out later ones`() {
        var scaler = Autoscaler()
        scaler.record(sample(9_000, rps: 1_000, instances: readings(cpu: [99])))
        let policy = plainPolicy(rps: 50, cpu: 70)
        _ = scaler.evaluate(app, policy: policy, state: four, at: 80)
        scaler.record(seconds: 80...99) { sample($0, rps: 100, instances: readings(cpu: [20, 20, 20, 20])) }
        let evaluation = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(evaluation.factor(of: .rps)?.observed == 25)
        #expect(evaluation.factor(of: .cpu)?.observed == 20)
    }

    @Test func `requests that hang are seen in flight`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 80...99) { sample($0, inFlight: 480) }
        let policy = plainPolicy(latency: 250, connections: 80)
        let evaluation = scaler.evaluate(app, policy: policy, state: four, at: 100)
        #expect(evaluation.factor(of: .connections)?.factor == 1.5)
        // No latency of requests that never end: unknown, not zero.
        #expect(evaluation.factor(of: .latency)?.factor == nil)
        #expect(evaluation.wanted == 8)
    }

    @Test func `an injected second stands for the whole app`() throws {
        var scaler = Autoscaler()
        scaler.record(seconds: 80...99) { sample($0, node: 1, rps: 30, instances: readings(cpu: [10])) }
        scaler.record(seconds: 80...99) { sample($0, node: 2, rps: 30) }
        scaler.inject(
            SimulatedMetrics(rps: 5_060, p95LatencyMs: 700, activeConnections: 200, cpuPercent: 50), app: app,
            second: 99)
        // Real ones of that second are ignored, whether they came before or after.
        scaler.record(sample(99, node: 2, rps: 30))
        let policy = plainPolicy(rps: 50, latency: 250, connections: 80, cpu: 70)
        let seen = scaler.observed(app, policy: policy, ready: 1, at: 100)
        #expect(abs(seen.rps - (19 * 60 + 5_060) / 20) < 1e-6)
        #expect(seen.connections == 10)
        #expect(try #require(seen.cpuPercent) == 12)
        #expect(abs(try #require(seen.p95LatencyMilliseconds) - 700) < 7)
        let evaluation = scaler.evaluate(
            app, policy: policy, state: ReplicaState(desired: 1, ready: ready(1)), at: 100)
        #expect(evaluation.wanted > 10)
    }

    @Test func `an app without samples answers to an injected second alone, even the present one`() {
        var scaler = Autoscaler()
        scaler.inject(SimulatedMetrics(rps: 200), app: app, second: 100)
        let one = ReplicaState(desired: 1, ready: ready(1))
        #expect(scaler.evaluate(app, policy: policy, state: one, at: 100).wanted == 5)
    }

    @Test func `forgetting one app leaves the others`() {
        var scaler = Autoscaler()
        let names = ["a", "b", "c"].map { AppName(unchecked: $0) }
        for (index, name) in names.enumerated() {
            for second in Int64(80)...99 {
                scaler.record(Sample(app: name, node: node(1), second: second, requests: UInt64(index + 1)))
            }
        }
        scaler.forget(names[0])
        #expect(scaler.apps == [names[1], names[2]])
        #expect(scaler.observed(names[0], policy: policy, ready: 1, at: 100).coveredSeconds == 0)
        #expect(scaler.observed(names[1], policy: policy, ready: 1, at: 100).rps == 2)
        #expect(scaler.observed(names[2], policy: policy, ready: 1, at: 100).rps == 3)
    }

    @Test func `observing changes nothing`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 60...99) { sample($0, rps: Double($0), latencyMilliseconds: 10) }
        var twin = scaler
        let wide = plainPolicy(rps: 50, latency: 250, window: 300)
        _ = scaler.observed(app, policy: wide, ready: 3, at: 100)
        #expect(
            scaler.evaluate(app, policy: policy, state: four, at: 100)
                == twin.evaluate(app, policy: policy, state: four, at: 100))
    }

    @Test func `windows longer than what is kept at first grow into it`() {
        var scaler = Autoscaler()
        let long = plainPolicy(rps: 50, window: 300)
        for second in Int64(0)..<400 {
            scaler.record(sample(second, rps: second < 200 ? 0 : 150, latencyMilliseconds: 20))
            if second == 0 { scaler.retain(app, windowSeconds: 300) }
        }
        let seen = scaler.observed(app, policy: long, ready: 4, at: 400)
        #expect(seen.coveredSeconds == 300)
        #expect(seen.rps == 100)
    }

    // MARK: Slow twins

    @Test func `running totals equal totals counted afresh`() {
        for seed in UInt64(1)...200 {
            var random = Seeded(seed)
            var ring = SecondRing<NodeLoad>(capacity: 16)
            var now: Int64 = 1_000
            for _ in 0..<300 {
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<6:
                    let second = now - Int64.random(in: 0...20, using: &random)
                    let rate = Int64.random(in: 0...1_000, using: &random)
                    ring.set(NodeLoad(microRate: rate, seconds: 1), at: second)
                case 6: ring.remove(now - Int64.random(in: 0...20, using: &random))
                case 7: ring.grow(to: Int.random(in: 1...40, using: &random))
                default: now += Int64.random(in: 0...3, using: &random)
                }
                let from = now - Int64.random(in: 8...12, using: &random)
                let to = now - Int64.random(in: 0...2, using: &random)
                let afresh = ring.total(from: from, to: to)
                #expect(ring.slidingTotal(from: from, to: to) == afresh, "seed \(seed)")
                #expect(ring.value(before: from) == ring.value(at: from - 1), "seed \(seed)")
                #expect(ring.knownTotal(from: from, to: to) == afresh, "seed \(seed)")
            }
        }
    }

    @Test func `the running percentile equals that of a plain merge`() {
        for seed in UInt64(1)...30 {
            var random = Seeded(seed)
            var scaler = Autoscaler()
            var plain: [String: Sample] = [:]
            for second in Int64(1_000)..<1_090 {
                for number in 1...2 {
                    var one = sample(second - Int64.random(in: 0...4, using: &random), node: number)
                    for _ in 0..<Int.random(in: 0...5, using: &random) {
                        one.latency.record(
                            microseconds: UInt64.random(in: 1...90_000, using: &random),
                            count: UInt64.random(in: 1...9, using: &random))
                    }
                    scaler.record(one)
                    plain["\(number)/\(one.second)"] = one
                }
                let policy = plainPolicy(latency: 250, window: Int.random(in: 15...25, using: &random))
                let start = second - Int64(policy.windowSeconds) + 1
                var merged = LatencyHistogram()
                for one in plain.values where one.second >= start { merged.merge(one.latency) }
                let evaluation = scaler.evaluate(app, policy: policy, state: four, at: second + 1)
                #expect(
                    evaluation.factor(of: .latency)?.observed == merged.percentileMilliseconds(0.95) ?? 0,
                    "seed \(seed) at \(second)")
            }
        }
    }

    @Test func `what comes counts, not what an overloaded instance finishes`() {
        // 400 a second come from second 100 on; one instance finishes 70 of them.
        var scaler = Autoscaler()
        scaler.record(seconds: 60...99) { sample($0, rps: 20) }
        for second in Int64(100)...109 {
            scaler.record(sample(second, rps: 70, inFlight: UInt64(330 * (second - 99))))
        }
        var policy = plainPolicy(rps: 100, window: 10)
        policy.scaleOutThresholdPercent = 100
        let state = ReplicaState(desired: 1, ready: ready(1))
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 110)
        #expect(evaluation.factor(of: .rps)?.observed == 400)
        #expect(evaluation.wanted == 4)
        // The crowd goes: what finishes is what came, and nothing is taken off for it.
        for second in Int64(110)...119 { scaler.record(sample(second, rps: 90)) }
        let after = scaler.evaluate(app, policy: policy, state: state, at: 120)
        #expect(after.factor(of: .rps)?.observed == 90)
        // In two seconds the burst window sees it; what is in flight all the time is no arrival.
        var steady = Autoscaler()
        steady.record(seconds: 60...99) { sample($0, rps: 70, inFlight: 500) }
        #expect(
            steady.evaluate(app, policy: policy, state: state, at: 100).factor(of: .rps)?.observed == 70)
        for second in Int64(100)...101 {
            steady.record(sample(second, rps: 70, inFlight: 500 + UInt64(330 * (second - 99))))
        }
        let burst = steady.evaluate(app, policy: policy, state: state, at: 102)
        #expect(burst.wanted == 4)
        #expect(burst.burst?.observed == 400)
    }
}
