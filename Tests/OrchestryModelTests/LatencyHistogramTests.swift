import OrchestryModel
import Testing

struct LatencyHistogramTests {
    /// SplitMix64, so that failures repeat.
    private struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    /// Durations of all magnitudes, 1 µs to an hour.
    private func durations(_ count: Int, seed: UInt64) -> [UInt64] {
        var random = Seeded(state: seed)
        return (0..<count).map { _ in
            let magnitude = UInt64.random(in: 0...31, using: &random)
            return (1 << magnitude) + UInt64.random(in: 0..<(1 << magnitude), using: &random)
        }
    }

    private func histogram(_ durations: some Sequence<UInt64>) -> LatencyHistogram {
        var histogram = LatencyHistogram()
        for duration in durations { histogram.record(microseconds: duration) }
        return histogram
    }

    /// Worked out by hand from the rule `shift·64 + (v >> shift)`; the proxy's Lua code has the same.
    @Test(
        arguments: [
            (0, 0), (1, 1), (63, 63), (64, 64), (127, 127), (128, 128), (129, 128), (130, 129), (255, 191), (256, 192),
            (1_000, 317), (1_000_000, 954), ((1 << 32) - 1, 1727), (1 << 32, 1727), (UInt64.max, 1727),
        ] as [(UInt64, Int)])
    func `a duration has its bucket`(microseconds: UInt64, bucket: Int) {
        #expect(LatencyHistogram.index(ofMicroseconds: microseconds) == bucket)
    }

    @Test func `buckets never fall as durations rise, and none is skipped`() {
        var previous = 0
        for value in UInt64(1)...70_000 {
            let index = LatencyHistogram.index(ofMicroseconds: value)
            #expect(index == previous || index == previous + 1, "at \(value)")
            previous = index
        }
    }

    @Test func `the middle of a bucket is within 1 in 128 of all that is in it`() {
        for value in durations(20_000, seed: 7) {
            let middle = LatencyHistogram.midpoint(ofBucket: LatencyHistogram.index(ofMicroseconds: value))
            #expect(abs(middle - Double(value)) <= Double(value) / 128, "\(value) µs became \(middle)")
        }
    }

    @Test(arguments: [0.5, 0.9, 0.95, 0.99, 1.0])
    func `percentiles are within one percent of the sorted truth`(fraction: Double) throws {
        for seed in UInt64(1)...20 {
            let values = durations(1 + Int(seed) * 37, seed: seed)
            let rank = max(1, Int((fraction * Double(values.count)).rounded(.up)))
            let truth = Double(values.sorted()[rank - 1]) / 1000
            let read = try #require(histogram(values).percentileMilliseconds(fraction))
            #expect(abs(read - truth) <= truth / 100, "seed \(seed): \(read) for \(truth)")
        }
    }

    @Test func `merging is the same as recording everything in one`() {
        for seed in UInt64(1)...50 {
            let left = durations(Int(seed % 7) * 10, seed: seed)
            let right = durations(Int(seed % 5) * 20, seed: seed + 1000)
            var merged = histogram(left)
            merged.merge(histogram(right))
            #expect(merged == histogram(left + right), "seed \(seed)")
            var other = histogram(right)
            other.merge(histogram(left))
            #expect(other == merged, "seed \(seed), the other way round")
            #expect(merged.count == UInt64(left.count + right.count))
        }
    }

    /// Two nodes, one fast and busy, one slow and idle: the mean of their p95s is far from the p95 of all requests.
    @Test func `the p95 of a merge is not the mean of the p95s`() throws {
        var fast = LatencyHistogram()
        fast.record(microseconds: 10_000, count: 990)
        var slow = LatencyHistogram()
        slow.record(microseconds: 1_000_000, count: 10)
        var merged = fast
        merged.merge(slow)
        let read = try #require(merged.percentileMilliseconds(0.95))
        #expect(abs(read - 10) < 0.1)
    }

    @Test func `the order of recording doesn't show`() {
        let values = durations(500, seed: 3)
        #expect(histogram(values) == histogram(values.reversed()))
        #expect(histogram(values).buckets.map(\.index) == histogram(values).buckets.map(\.index).sorted())
    }

    @Test func `a count records that many`() {
        var one = LatencyHistogram()
        one.record(microseconds: 500, count: 3)
        one.record(microseconds: 500, count: 0)
        #expect(one == histogram([500, 500, 500]))
        #expect(one.count == 3)
    }

    @Test func `raw buckets are put in order, joined, cut to range, and empty ones dropped`() {
        let made = LatencyHistogram(buckets: [
            .init(index: 9_999, count: 1), .init(index: 5, count: 2), .init(index: 3, count: 0),
            .init(index: -4, count: 7), .init(index: 5, count: 4),
        ])
        #expect(
            made.buckets == [
                .init(index: 0, count: 7), .init(index: 5, count: 6), .init(index: 1727, count: 1),
            ])
    }

    @Test func `an empty histogram has no percentile`() {
        let empty = LatencyHistogram()
        #expect(empty.isEmpty)
        #expect(empty.percentileMilliseconds(0.95) == nil)
        var merged = LatencyHistogram()
        merged.merge(empty)
        #expect(merged.isEmpty)
    }

    @Test func `fractions outside 0 to 1 mean the ends`() throws {
        let three = histogram([10, 20, 30])
        #expect(three.percentileMilliseconds(-1) == 0.01)
        #expect(three.percentileMilliseconds(0) == 0.01)
        #expect(three.percentileMilliseconds(7) == 0.03)
    }
}
