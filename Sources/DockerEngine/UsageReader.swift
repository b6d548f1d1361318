import Dispatch
import OrchestryModel
import Synchronization

/// Reads CPU and memory use of containers: from the kernel's accounting files where they can be read (about 30 µs a
/// container), else from the engine's statistics stream (a reading each second, a connection for each container).
public final class UsageReader: Sendable {
    // Serial, so one thread: the files' reads block, and never on an event loop or the cooperative pool.
    private let queue = DispatchQueue(label: "orchestry.usage")
    private let groups = Mutex<[String: ControlGroup]>([:])
    private let root: String
    private let fallback: StatisticsFollower?

    /// Without a fallback: containers without readable files have no readings.
    public convenience init() { self.init(engine: nil) }

    /// - Parameters:
    ///   - engine: for containers without readable files; nil: those have no readings.
    ///   - root: where the kernel shows its control groups.
    package init(engine: DockerEngine?, root: String = "/sys/fs/cgroup") {
        self.root = root
        fallback = engine.map { StatisticsFollower(engine: $0) }
    }

    /// Ends the streams of the fallback; `read` must not be called any more.
    public func shutdown() { fallback?.follow([]) }

    /// - Parameter containerIDs: all running containers of interest: what is kept of others is forgotten.
    /// - Returns: by container; one that has ended, or has no reading yet, is left out.
    public func read(_ containerIDs: [String]) async -> [String: UsageReading] {
        let (readings, unreadable) = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: self.readFiles(containerIDs)) }
        }
        guard let fallback else { return readings }
        fallback.follow(unreadable)
        return readings.merging(fallback.latest()) { fromFiles, _ in fromFiles }
    }

    /// Runs on `queue`.
    private func readFiles(_ containerIDs: [String]) -> ([String: UsageReading], unreadable: Set<String>) {
        let known = groups.withLock { $0 }
        var found: [String: ControlGroup] = [:]
        var readings: [String: UsageReading] = [:]
        var unreadable: Set<String> = []
        for id in containerIDs {
            guard let group = known[id] ?? ControlGroup.find(id, root: root) else {
                unreadable.insert(id)
                continue
            }
            // Kept even when it can't be read any more: the container has ended, which is no case for the fallback.
            found[id] = group
            if let reading = group.read() { readings[id] = reading }
        }
        groups.withLock { $0 = found }
        return (readings, unreadable)
    }
}
