import Foundation
import NIOCore
import OrchestryModel

/// The one place where a node reads its clocks. `ContinuousClock` counts through suspend, as leadership needs.
package struct NodeClock: Sendable {
    private let origin = ContinuousClock.now
    /// `origin` by the machine's monotonic clock: `ContinuousClock` does not show its readings.
    private let originOnMachine = Int64(NIODeadline.now().uptimeNanoseconds)

    package init() {}

    /// Monotonic, never negative, starts near zero when the node does.
    package func now() -> Instant {
        Instant(nanoseconds: (ContinuousClock.now - origin).inNanoseconds)
    }

    /// A reading of this clock as all processes of this machine would read it, for logs: nanoseconds since it started,
    /// those it was suspended left out up to this process's start.
    func onMachine(_ instant: Instant) -> Int64 { originOnMachine + instant.nanoseconds }

    package func wall() -> WallTime {
        WallTime(seconds: Date().timeIntervalSince1970)
    }
}
