import OrchestryModel

/// How long to wait before a container is started again: 1 s doubling to 60 s, each between 80% and 100% of that so
/// that instances that crashed together do not come back together.
///
/// One restart after a run that had been ready is free of any wait: a container that was killed, or died for the first
/// time in a long while, should be back at once. 60 s of health make it forget everything.
package struct BackOff: Hashable, Sendable {
    package static let shortest = Duration.seconds(1)
    package static let longest = Duration.seconds(60)
    /// A run that was ready for this long without a break clears the record.
    package static let forgivenAfter = Duration.seconds(60)

    /// Failures since the last reset, the free one not counted.
    package private(set) var failures = 0
    private var freeRestartUsed = false

    package init() {}

    package mutating func reset() { self = BackOff() }

    /// Notes a failure and returns the wait before the next attempt.
    /// - Parameter wasReady: whether the run that failed had ever been ready.
    package mutating func delay(wasReady: Bool, using generator: inout some RandomNumberGenerator) -> Duration {
        if wasReady, failures == 0, !freeRestartUsed {
            freeRestartUsed = true
            return .zero
        }
        failures += 1
        let doublings = min(failures - 1, 6)  // 2⁶ s is past the longest already.
        let nominal = min(Self.shortest * (1 << doublings), Self.longest)
        return .nanoseconds(Int64.random(in: nominal.inNanoseconds * 4 / 5...nominal.inNanoseconds, using: &generator))
    }
}
