import OrchestryModel

/// What a container has used so far, read once.
public struct UsageReading: Hashable, Sendable {
    /// CPU time of all its processes since it was started.
    public var cpuNanoseconds: UInt64
    /// In use now, without page cache that the kernel could drop at once.
    public var memoryBytes: Int64
    /// When it was read, by this node's monotonic clock.
    public var at: Instant
    public init(cpuNanoseconds: UInt64, memoryBytes: Int64, at: Instant) {
        self.cpuNanoseconds = cpuNanoseconds
        self.memoryBytes = memoryBytes
        self.at = at
    }
}

/// Usage between two readings of one container, as percentages of its limits.
package struct UsageDelta: Hashable, Sendable {
    /// 100 is the whole limit; short bursts may show a little more. nil without an earlier reading, and when the counter or
    /// the clock went backwards.
    package let cpuPercent: Double?
    /// nil when there is no limit.
    package let memoryPercent: Double?

    /// - Parameter previous: of the same container; nil for the first.
    package init(previous: UsageReading?, current: UsageReading, limits: AppSpec.Resources) {
        memoryPercent =
            limits.memoryBytes > 0 ? max(0, Double(current.memoryBytes)) * 100 / Double(limits.memoryBytes) : nil
        guard let previous, current.at > previous.at, current.cpuNanoseconds >= previous.cpuNanoseconds,
            limits.cpuMillicores > 0
        else {
            cpuPercent = nil
            return
        }
        let used = Double(current.cpuNanoseconds - previous.cpuNanoseconds)
        let elapsed = Double((current.at - previous.at).inNanoseconds)
        cpuPercent = used / elapsed * 100_000 / Double(limits.cpuMillicores)
    }
}
