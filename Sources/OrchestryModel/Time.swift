/// A point on one node's monotonic clock, in nanoseconds since an arbitrary origin.
/// Never compared with another machine's, never stored: only differences have a meaning.
public struct Instant: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let nanoseconds: Int64
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    public static let zero = Instant(nanoseconds: 0)
    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }
    public static func + (left: Instant, right: Duration) -> Instant {
        Instant(nanoseconds: left.nanoseconds + right.inNanoseconds)
    }
    public static func - (left: Instant, right: Duration) -> Instant {
        Instant(nanoseconds: left.nanoseconds - right.inNanoseconds)
    }
    public static func - (left: Instant, right: Instant) -> Duration {
        .nanoseconds(left.nanoseconds - right.nanoseconds)
    }
    public var description: String { "t+\(Double(nanoseconds / 1_000) / 1_000_000)s" }
}

extension Duration {
    /// Whole nanoseconds; exact for anything under 292 years.
    public var inNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
    /// Seconds as a floating-point number.
    public var inSeconds: Double { Double(inNanoseconds) / 1e9 }
    /// Milliseconds as a floating-point number.
    public var inMilliseconds: Double { Double(inNanoseconds) / 1e6 }
}

/// Wall-clock time for people and records, in milliseconds since 1970 UTC. Never used to decide anything about leadership.
public struct WallTime: Hashable, Comparable, Sendable, Codable {
    public let milliseconds: Int64
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }
    public init(seconds: Double) { milliseconds = Int64((seconds * 1000).rounded()) }
    /// Seconds since 1970, as the original's JSON shows times.
    public var seconds: Double { Double(milliseconds) / 1000 }
    /// The whole second this time lies in: the key of samples.
    public var wholeSecond: Int64 { milliseconds >= 0 ? milliseconds / 1000 : (milliseconds - 999) / 1000 }
    public static func < (left: WallTime, right: WallTime) -> Bool { left.milliseconds < right.milliseconds }
    public init(from decoder: any Decoder) throws {
        milliseconds = try decoder.singleValueContainer().decode(Int64.self)
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(milliseconds)
    }
}
