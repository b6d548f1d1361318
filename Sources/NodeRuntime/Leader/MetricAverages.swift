import Autoscaling
import OrchestryModel
import PostgresStore

/// Thins what is observed each second to one stored row per app and ten seconds.
struct MetricAverages {
    private struct Sums {
        var since: Int64
        var count = 0.0
        var rps = 0.0
        var connections = 0.0
        var cpu: (sum: Double, count: Double) = (0, 0)
        var memory: (sum: Double, count: Double) = (0, 0)
        var worstP95: Double?
    }
    private var sums: [AppName: Sums] = [:]
    private static let seconds: Int64 = 10

    /// - Returns: a row when ten seconds are full. Its p95 is the worst of them: percentiles can't be averaged.
    mutating func add(_ observed: ObservedMetrics, app: AppName, replicas: Int, at wall: WallTime) -> MetricRow? {
        var entry = sums[app] ?? Sums(since: wall.wholeSecond)
        entry.count += 1
        entry.rps += observed.rps
        entry.connections += observed.connections
        if let cpu = observed.cpuPercent { entry.cpu = (entry.cpu.sum + cpu, entry.cpu.count + 1) }
        if let memory = observed.memoryPercent { entry.memory = (entry.memory.sum + memory, entry.memory.count + 1) }
        if let p95 = observed.p95LatencyMilliseconds { entry.worstP95 = max(entry.worstP95 ?? 0, p95) }
        guard wall.wholeSecond - entry.since >= Self.seconds else {
            sums[app] = entry
            return nil
        }
        sums[app] = nil
        return MetricRow(
            app: app, time: wall, cpuPercent: entry.cpu.count > 0 ? entry.cpu.sum / entry.cpu.count : nil,
            memoryPercent: entry.memory.count > 0 ? entry.memory.sum / entry.memory.count : nil,
            rps: entry.rps / entry.count, latencyP95Milliseconds: entry.worstP95,
            activeConnections: Int((entry.connections / entry.count).rounded()), replicas: replicas)
    }

    mutating func forget(_ app: AppName) { sums[app] = nil }
}
