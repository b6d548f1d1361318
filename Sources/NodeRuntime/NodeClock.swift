import Foundation
import Glibc
import OrchestryModel

/// The one place where a node reads its clocks. `ContinuousClock` counts through suspend, as leadership needs.
package struct NodeClock: Sendable {
    private let origin = ContinuousClock.now
    /// `origin` by the clock behind `ContinuousClock`, which does not show its readings.
    private let originOnMachine: Int64

    package init() {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        originOnMachine = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Monotonic, never negative, starts near zero when the node does.
    package func now() -> Instant {
        Instant(nanoseconds: (ContinuousClock.now - origin).inNanoseconds)
    }

    /// A reading of this clock as all processes of this machine would read it, for logs: nanoseconds since it started.
    func onMachine(_ instant: Instant) -> Int64 { originOnMachine + instant.nanoseconds }

    package func wall() -> WallTime {
        WallTime(seconds: Date().timeIntervalSince1970)
    }
}
