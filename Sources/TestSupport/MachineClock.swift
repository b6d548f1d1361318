import NIOCore

/// The machine's monotonic clock in nanoseconds, the same for all its processes: the one `orchestryd` logs as
/// `monotonic.ns`.
public func machineNanoseconds() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds) }
