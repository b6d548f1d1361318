import OrchestryModel

/// The merged latency histogram of one app over all nodes from a second on, as dense counts, so that a sample costs
/// only its own buckets to add when it comes and to take away when it expires, and a percentile the way from the last one.
struct LatencyWindow: Sendable {
    /// As many buckets as a packed index can name, so that none lies outside.
    private static let bucketCount = 1 << PackedHistogram.indexBits

    private var counts = [UInt32](repeating: 0, count: bucketCount)
    /// Where the last percentile was found, and how many values lie below: from one second to the next it moves by a few
    /// buckets, so that an evaluation looks at these only.
    private var pivot = 0
    private var below: UInt64 = 0
    private(set) var total: UInt64 = 0
    /// The first second merged; all that is later is merged too.
    private(set) var start: Int64
    /// The start that was asked for last.
    private var asked: Int64
    /// Seconds from the start to the newest sample, when last asked for; nil: the start stands still.
    private var behind: Int64?
    /// A start is followed over this many seconds at once.
    private static let longestStep: Int64 = 2

    init(start: Int64) {
        self.start = start
        asked = start
    }

    func covers(_ second: Int64) -> Bool { second >= start }

    /// Tells that all before `start` was taken away.
    mutating func begin(at start: Int64) { self.start = start }

    /// Notes what a percentile was asked of.
    mutating func ask(from start: Int64, newest: Int64) {
        behind = start > asked ? newest - start : nil
        asked = start
    }

    /// The start that will be asked for once there is a sample of `second`, if it moves on as before. Moving there when
    /// the sample comes costs less than at the evaluation: the counts are in cache then.
    func start(following second: Int64) -> Int64? {
        guard let behind, second > start else { return nil }
        let step = second - start - behind
        return step >= 1 && step <= Self.longestStep ? start + step : nil
    }

    mutating func add(_ histogram: PackedHistogram) {
        counts.withUnsafeMutableBufferPointer { counts in
            for bucket in histogram.buckets {
                let (index, count) = PackedHistogram.unpack(bucket)
                counts[index] &+= count
                total &+= UInt64(count)
                if index < pivot { below &+= UInt64(count) }
            }
        }
    }

    /// Takes away what `add` added.
    mutating func subtract(_ histogram: PackedHistogram) {
        counts.withUnsafeMutableBufferPointer { counts in
            for bucket in histogram.buckets {
                let (index, count) = PackedHistogram.unpack(bucket)
                counts[index] &-= count
                total &-= UInt64(count)
                if index < pivot { below &-= UInt64(count) }
            }
        }
    }

    /// As `LatencyHistogram.percentileMilliseconds`.
    func percentileMilliseconds(_ fraction: Double) -> Double? {
        place(of: fraction).map { LatencyHistogram.midpoint(ofBucket: $0.pivot) / 1000 }
    }

    /// The same; the next one is looked for from there.
    mutating func followedPercentileMilliseconds(_ fraction: Double) -> Double? {
        guard let place = place(of: fraction) else { return nil }
        (pivot, below) = place
        return LatencyHistogram.midpoint(ofBucket: pivot) / 1000
    }

    /// The bucket that holds the value of that rank, and how many values lie below it.
    private func place(of fraction: Double) -> (pivot: Int, below: UInt64)? {
        guard total > 0 else { return nil }
        let rank = max(1, UInt64((min(max(fraction, 0), 1) * Double(total)).rounded(.up)))
        var (pivot, below) = (pivot, below)
        while below >= rank {
            pivot -= 1
            below -= UInt64(counts[pivot])
        }
        while below + UInt64(counts[pivot]) < rank {
            below += UInt64(counts[pivot])
            pivot += 1
        }
        return (pivot, below)
    }
}

/// A histogram at a quarter of its size, since one is kept for each app, node and second: 11 bits of index and 21 of
/// count for each bucket. A bucket counts at most 2²⁰ − 1, so that an hour of them fits 32 bits.
struct PackedHistogram: Sendable {
    static let indexBits: UInt32 = 11
    private static let countBits: UInt32 = 32 - indexBits
    private static let largestCount: UInt64 = (1 << 20) - 1

    let buckets: [UInt32]

    init(_ histogram: LatencyHistogram = LatencyHistogram()) {
        buckets = histogram.buckets.map { bucket in
            UInt32(bucket.index) << Self.countBits | UInt32(min(bucket.count, Self.largestCount))
        }
    }

    static func unpack(_ bucket: UInt32) -> (index: Int, count: UInt32) {
        (Int(bucket >> countBits), bucket & ((1 << countBits) - 1))
    }
}
