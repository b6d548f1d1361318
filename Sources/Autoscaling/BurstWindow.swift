/// Knative's panic mode under another name: a short window at twice the capacity or more scales out at once, and for
/// a whole window after the last such second the count does not fall.
///
/// Differs from Knative: overload is the plain quotient, not the rounded-up wish ÷ ready, which calls any load above
/// one instance's capacity a burst of two.
public struct BurstWindow: Hashable, Sendable {
    /// Load ÷ capacity of the ready instances from which a burst begins.
    public static let threshold = 2.0

    /// The last second over the threshold; nil: not in a burst.
    public private(set) var lastTrigger: Int64?
    /// The highest count granted in this burst.
    public private(set) var peak: Int

    public init(lastTrigger: Int64? = nil, peak: Int = 0) {
        self.lastTrigger = lastTrigger
        self.peak = peak
    }

    /// A tenth of the window, at least 2 s.
    public static func seconds(ofWindow windowSeconds: Int) -> Int { max(2, windowSeconds / 10) }

    /// - Parameter overload: as of `desired`.
    static func begins(at overload: Double) -> Bool { overload >= threshold - 1e-9 }

    public var isActive: Bool { lastTrigger != nil }

    /// - Parameters:
    ///   - stable: wish by the long window.
    ///   - burst: wish by the short window.
    ///   - overload: load of the short window ÷ what the ready instances can carry.
    ///   - windowSeconds: the long window.
    /// - Returns: `stable` outside a burst; inside it the highest of both wishes and what was granted before.
    public mutating func desired(
        stable: Int, burst: Int, overload: Double, windowSeconds: Int, at second: Int64
    ) -> Int {
        if Self.begins(at: overload) {
            lastTrigger = second
        } else if let last = lastTrigger {
            // A clock that stepped back must not prolong the burst.
            if last > second { lastTrigger = second }
            if second - last > Int64(windowSeconds) {
                lastTrigger = nil
                peak = 0
            }
        }
        return isActive ? max(stable, burst, peak) : stable
    }

    /// Tells what became of the wish after all limits.
    public mutating func grant(_ count: Int) {
        if isActive { peak = max(peak, count) }
    }

    /// The count was changed, perhaps by a person: that is what doesn't fall from here on.
    mutating func scaled(to count: Int) {
        if isActive { peak = count }
    }
}
