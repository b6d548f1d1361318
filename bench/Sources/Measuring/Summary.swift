import Foundation

/// What a set of measurements looks like.
package struct Summary: Hashable, Sendable {
    package var count: Int
    package var p50: Double
    package var p95: Double
    package var p99: Double
    package var max: Double

    /// - Returns: nil for no values.
    package init?(_ values: [Double]) {
        guard let largest = values.max() else { return nil }
        let sorted = values.sorted()
        count = values.count
        p50 = Self.percentile(0.5, of: sorted)
        p95 = Self.percentile(0.95, of: sorted)
        p99 = Self.percentile(0.99, of: sorted)
        max = largest
    }

    /// By nearest rank: the smallest value that at least `fraction` of all are not above. Never one that was not
    /// measured, so of fewer than 100 values the p99 is the largest.
    /// - Parameters:
    ///   - fraction: 0…1.
    ///   - sorted: ascending, not empty.
    package static func percentile(_ fraction: Double, of sorted: [Double]) -> Double {
        precondition(!sorted.isEmpty, "a percentile of nothing")
        // 0.95 × 20 is a little more than 19 in binary: without the margin its rank would be 20.
        let rank = Int((fraction * Double(sorted.count) - 1e-9).rounded(.up))
        return sorted[Swift.min(Swift.max(rank, 1), sorted.count) - 1]
    }

    package static let columns = ["n", "p50", "p95", "p99", "max"]
    /// In the order of `columns`.
    package var values: [Double?] { [Double(count), p50, p95, p99, max] }
}

/// Nanoseconds of a clock that is never set.
package func uptimeNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// How long `body` takes, in nanoseconds.
package func nanoseconds<Value>(of body: () throws -> Value) rethrows -> (duration: Double, value: Value) {
    let start = uptimeNanoseconds()
    let value = try body()
    return (Double(uptimeNanoseconds() - start), value)
}
