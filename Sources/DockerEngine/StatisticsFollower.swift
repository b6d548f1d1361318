import AsyncHTTPClient
import Logging
import NIOHTTP1
import OrchestryModel
import Synchronization

/// Follows the engine's statistics streams of some containers and keeps each one's latest reading.
final class StatisticsFollower: Sendable {
    private struct State {
        var tasks: [String: Task<Void, Never>] = [:]
        var latest: [String: UsageReading] = [:]
    }
    private let state = Mutex(State())
    private let engine: DockerEngine

    init(engine: DockerEngine) { self.engine = engine }

    deinit { for task in state.withLock({ $0.tasks }).values { task.cancel() } }

    /// Follows exactly these containers from now on. One whose stream has ended is followed anew.
    func follow(_ containerIDs: Set<String>) {
        state.withLock { state in
            for (id, task) in state.tasks where !containerIDs.contains(id) {
                task.cancel()
                state.tasks[id] = nil
                state.latest[id] = nil
            }
            for id in containerIDs where state.tasks[id] == nil {
                // Owned here: cancelled as soon as nobody asks for the container any more.
                state.tasks[id] = Task { [weak self, engine] in
                    do {
                        var lines = LineSplitter()
                        for try await chunk in try await engine.transport.stream(Self.call(id, engine)) {
                            for line in try lines.feed(chunk) { try self?.take(line, id) }
                        }
                    } catch {
                        engine.logger.debug(
                            "statistics stream ended", metadata: ["container.id": "\(id)", "error": "\(error)"])
                    }
                    self?.ended(id)
                }
            }
        }
    }

    func latest() -> [String: UsageReading] { state.withLock { $0.latest } }

    private static func call(_ id: String, _ engine: DockerEngine) -> EngineTransport.Call {
        EngineTransport.Call(
            operation: "follow statistics", method: .GET, path: "/containers/\(id)/stats", query: [("stream", "1")],
            timeout: engine.configuration.requestTimeout)
    }

    private func take(_ line: [UInt8], _ id: String) throws {
        guard !line.isEmpty else { return }
        let document = try EngineJSON.decode(StatisticsDocument.self, from: line)
        // A container that has ended still gets a line, without memory.
        guard let memory = document.memory_stats.usage else { return }
        let details = document.memory_stats.stats
        let cache = details?.total_inactive_file ?? details?.inactive_file ?? 0
        let reading = UsageReading(
            cpuNanoseconds: document.cpu_stats.cpu_usage.total_usage, memoryBytes: max(0, memory - cache),
            at: MonotonicClock.now())
        state.withLock { if $0.tasks[id] != nil { $0.latest[id] = reading } }
    }

    private func ended(_ id: String) {
        guard !Task.isCancelled else { return }
        state.withLock {
            $0.tasks[id] = nil
            $0.latest[id] = nil
        }
    }
}
