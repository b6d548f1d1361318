/// A mergeable log-linear histogram of durations in microseconds: exact below 64 µs, then 64 buckets per power of two,
/// so a percentile read from it is within 1/128 (0.8%) of the true value. Layout after Gil Tene's HdrHistogram.
///
/// Bucket of value v: `v` when v < 64; otherwise, with `shift = floor(log2 v) − 6`, `shift·64 + (v >> shift)`.
/// Values of 2³² µs (71 min) and more count in the last bucket, 1727. The same rule is in the proxy's Lua code.
public struct LatencyHistogram: Hashable, Sendable {
    public static let bucketCount = 1728
    private static let largest: UInt64 = (1 << 32) - 1

    /// Bucket index → count, sorted by index, no zero counts.
    public private(set) var buckets: [Bucket]
    public struct Bucket: Hashable, Sendable {
        /// 0…1727.
        public var index: Int
        public var count: UInt64
        public init(index: Int, count: UInt64) {
            self.index = index
            self.count = count
        }
    }

    public init() { buckets = [] }

    /// - Parameter buckets: any order; indices outside 0…1727 are clamped, equal ones added, zero counts dropped.
    public init(buckets: [Bucket]) {
        var sorted = buckets.filter { $0.count > 0 }
        for position in sorted.indices {
            sorted[position].index = min(max(sorted[position].index, 0), Self.bucketCount - 1)
        }
        sorted.sort { $0.index < $1.index }
        self.buckets = []
        self.buckets.reserveCapacity(sorted.count)
        for bucket in sorted {
            if let last = self.buckets.indices.last, self.buckets[last].index == bucket.index {
                self.buckets[last].count += bucket.count
            } else {
                self.buckets.append(bucket)
            }
        }
    }

    /// The bucket of a duration.
    public static func index(ofMicroseconds value: UInt64) -> Int {
        let clamped = min(value, largest)
        if clamped < 64 { return Int(clamped) }
        let shift = 63 - clamped.leadingZeroBitCount - 6
        return shift * 64 + Int(clamped >> UInt64(shift))
    }

    /// The middle of a bucket, in microseconds.
    public static func midpoint(ofBucket index: Int) -> Double {
        if index < 128 { return Double(index) }
        let shift = index / 64 - 1
        let lower = UInt64(index - shift * 64) << UInt64(shift)
        return Double(lower) + Double((UInt64(1) << UInt64(shift)) - 1) / 2
    }

    public var count: UInt64 { buckets.reduce(0) { $0 + $1.count } }
    public var isEmpty: Bool { buckets.isEmpty }

    public mutating func record(microseconds value: UInt64, count: UInt64 = 1) {
        guard count > 0 else { return }
        let index = Self.index(ofMicroseconds: value)
        let position = buckets.partitioningIndex { $0.index >= index }
        if position < buckets.count, buckets[position].index == index {
            buckets[position].count += count
        } else {
            buckets.insert(Bucket(index: index, count: count), at: position)
        }
    }

    public mutating func merge(_ other: LatencyHistogram) {
        guard !other.isEmpty else { return }
        guard !isEmpty else {
            self = other
            return
        }
        var merged: [Bucket] = []
        merged.reserveCapacity(buckets.count + other.buckets.count)
        var left = 0
        var right = 0
        while left < buckets.count || right < other.buckets.count {
            if right == other.buckets.count
                || (left < buckets.count && buckets[left].index < other.buckets[right].index)
            {
                merged.append(buckets[left])
                left += 1
            } else if left == buckets.count || other.buckets[right].index < buckets[left].index {
                merged.append(other.buckets[right])
                right += 1
            } else {
                merged.append(
                    Bucket(index: buckets[left].index, count: buckets[left].count + other.buckets[right].count))
                left += 1
                right += 1
            }
        }
        buckets = merged
    }

    /// The smallest recorded duration that at least `fraction` of all are not above, in milliseconds.
    /// - Parameter fraction: 0…1, for example 0.95.
    /// - Returns: nil when nothing was recorded.
    public func percentileMilliseconds(_ fraction: Double) -> Double? {
        let total = count
        guard total > 0 else { return nil }
        let rank = max(1, UInt64((min(max(fraction, 0), 1) * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for bucket in buckets {
            seen += bucket.count
            if seen >= rank { return Self.midpoint(ofBucket: bucket.index) / 1000 }
        }
        return nil
    }
}

extension Array {
    /// The first index for which `predicate` holds, where all after it hold too (binary search); `endIndex` if none.
    func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
