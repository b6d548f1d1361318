import Logging
import MetricsCache
import OrchestryModel
import Synchronization

/// Keeps events in the order they happened on their way into the outbox, many in one durable write when they come fast.
final class EventRecorder: Sendable {
    private let outbox: Outbox
    private let logger: Logger
    private let onDurable: @Sendable () -> Void
    private let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private let recorded = Mutex<[String: UInt64]>([:])

    init(outbox: Outbox, logger: Logger, onDurable: @escaping @Sendable () -> Void) {
        self.outbox = outbox
        self.logger = logger
        self.onDurable = onDurable
        (events, continuation) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .unbounded)
    }

    func record(_ event: Event) {
        recorded.withLock { $0[event.kind, default: 0] += 1 }
        continuation.yield(event)
    }

    /// Returns when the event is durable, ahead of others that wait.
    /// - Throws: as the outbox, when it can't be kept.
    func keep(_ event: Event) async throws {
        _ = try await outbox.append(events: [event], decisions: [])
        recorded.withLock { $0[event.kind, default: 0] += 1 }
        onDurable()
    }

    /// How many of each kind this process has recorded.
    var counts: [String: UInt64] { recorded.withLock { $0 } }

    /// No more events; `run` returns when those recorded are durable.
    func finish() { continuation.finish() }

    func run() async {
        for await event in events {
            var wait = Duration.milliseconds(100)
            while true {
                do {
                    _ = try await outbox.append(events: [event], decisions: [])
                    onDurable()
                    break
                } catch {
                    // A full disk passes; until then the events wait here, in order.
                    logger.error(
                        "An event can't be kept yet", metadata: ["kind": "\(event.kind)", "error": "\(error)"])
                    do { try await Task.sleep(for: wait) } catch { return }
                    wait = min(wait * 2, .seconds(5))
                }
            }
        }
    }
}
