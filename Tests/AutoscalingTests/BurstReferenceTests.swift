import Autoscaling
import OrchestryModel
import Testing

/// The autoscaler looks for a burst only where the strongest of the last seconds leaves room for one. Against the rule
/// itself, computed from the samples.
struct BurstReferenceTests {
    /// Seconds and what came in them, without the strongest; nil: fewer than two known.
    private static func settled(_ seconds: [Int64]) -> Int64 {
        seconds.count < 2 ? 0 : (seconds.reduce(0, +) - (seconds.max() ?? 0)) / Int64(seconds.count - 1)
    }

    /// Requests × 10⁶ per second, of the short window that ends with `end`.
    private static func burst(_ samples: [Sample], seconds: Int64, end: Int64) -> Int64 {
        let nodes = Dictionary(grouping: samples, by: \.node).values.map { own in
            Dictionary(own.map { ($0.second, $0) }, uniquingKeysWith: { $1 })
        }
        func rate(_ node: [Int64: Sample], _ second: Int64) -> Int64? {
            guard let value = node[second] else { return nil }
            let growth = node[second - 1].map { max(0, Int64(value.inFlight) - Int64($0.inFlight)) } ?? 0
            return Int64((Double(value.requests) / value.interval * 1e6).rounded()) + growth * 1_000_000
        }
        let start = end - seconds + 1
        guard nodes.contains(where: { node in (start...end).contains { node[$0] != nil } }) else { return 0 }
        var (own, common) = (Int64(0), end)
        for node in nodes {
            guard let latest = node.keys.max(), latest >= start else { continue }
            let isOnTime = latest >= end - 2
            let last = isOnTime ? latest : end
            own += settled((last - seconds + 1...last).compactMap { rate(node, $0) })
            if isOnTime { common = min(common, latest) }
        }
        let together = (common - seconds + 1...common).compactMap { second -> Int64? in
            let rates = nodes.compactMap { rate($0, second) }
            return rates.isEmpty ? nil : rates.reduce(0, +)
        }
        return max(own, settled(together))
    }

    @Test func `a burst is seen exactly when the rule says so`() throws {
        var (with, without) = (0, 0)
        for seed in UInt64(1)...2_000 {
            var random = Seeded(seed)
            let window = Int.random(in: 20...150, using: &random)
            // Anywhere in the periods that the strongest seconds are kept of.
            let end = Int64.random(in: 1_000...1_063, using: &random)
            var samples: [Sample] = []
            for number in 1...3 where number == 1 || Bool.random(using: &random) {
                let lag = Int64.random(in: -1...4, using: &random)
                let base = Double.random(in: 0...60, using: &random)
                let begun = Int64.random(in: 1...12, using: &random)
                let jump = Double.random(in: 0...90, using: &random)
                for second in end - 50...end - lag where Int.random(in: 0..<8, using: &random) > 0 {
                    let rps = base * Double.random(in: 0.6...1.4, using: &random) + (second > end - begun ? jump : 0)
                    samples.append(
                        sample(
                            second, node: number, rps: rps, inFlight: UInt64.random(in: 0...12, using: &random)))
                }
            }
            samples.shuffle(using: &random)
            var scaler = Autoscaler()
            for sample in samples { scaler.record(sample) }
            let found = scaler.evaluate(
                app, policy: plainPolicy(rps: 50, window: window), state: ReplicaState(desired: 1, ready: ready(1)),
                at: end + 1
            ).burst
            let seconds = Int64(BurstWindow.seconds(ofWindow: window))
            let expected = Double(Self.burst(samples, seconds: seconds, end: end)) / 1e6
            // The capacity is 80% of the target.
            if expected / 50 / 0.8 >= BurstWindow.threshold {
                #expect(found?.observed == expected, "seed \(seed)")
                with += 1
            } else {
                #expect(found == nil, "seed \(seed)")
                without += 1
            }
        }
        #expect(with > 200 && without > 200, "\(with) with, \(without) without")
    }
}
