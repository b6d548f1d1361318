import Foundation
import OrchestryModel

/// The one place where a node reads its clocks. `ContinuousClock` counts through suspend, as leadership needs.
package struct NodeClock: Sendable {
    private let origin = ContinuousClock.now

    package init() {}

    /// Monotonic, never negative, starts near zero when the node does.
    package func now() -> Instant {
        Instant(nanoseconds: (ContinuousClock.now - origin).inNanoseconds)
    }

    package func wall() -> WallTime {
        WallTime(seconds: Date().timeIntervalSince1970)
    }
}
