import Glibc

/// The machine's monotonic clock in nanoseconds, the same for all its processes: the one `orchestryd` logs as
/// `monotonic.ns`.
public func machineNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
