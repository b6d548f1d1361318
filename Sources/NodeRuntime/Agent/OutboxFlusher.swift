import Logging
import MetricsCache
import OrchestryModel
import Synchronization

/// Moves this node's events and decisions from its outbox to PostgreSQL through whoever leads. What has not been
/// acknowledged stays and is sent again; PostgreSQL takes each once, by `(node, sequence)`.
final class OutboxFlusher: Sendable {
    /// Hands a batch to the leader; returns what PostgreSQL now has, nil: try again later.
    typealias Deliver =
        @Sendable (_ events: [Event], _ decisions: [ScalingDecision]) async -> (events: Int64, decisions: Int64)?

    private let outbox: Outbox
    private let logger: Logger
    private let deliver: Deliver
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    private static let batchSize = 500

    init(outbox: Outbox, logger: Logger, deliver: @escaping Deliver) {
        self.outbox = outbox
        self.logger = logger
        self.deliver = deliver
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// There may be something to send, or somebody to send it to.
    func wake() { signal.yield() }

    func stop() { signal.finish() }

    /// Runs until cancelled; also looks by itself each second.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { [signal] in
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(1))  // Cancelled: the condition ends the loop.
                    signal.yield()
                }
            }
            for await _ in signals {
                await flush()
                if Task.isCancelled { break }
            }
            group.cancelAll()
        }
    }

    private func flush() async {
        while !Task.isCancelled {
            do {
                let batch = try await outbox.pending(limit: Self.batchSize)
                if batch.events.isEmpty && batch.decisions.isEmpty { return }
                guard let done = await deliver(batch.events, batch.decisions) else { return }
                try await outbox.acknowledge(eventsUpTo: done.events, decisionsUpTo: done.decisions)
                if batch.events.count < Self.batchSize && batch.decisions.count < Self.batchSize { return }
            } catch {
                logger.error("The outbox can't be read; nothing is lost, trying again", metadata: ["error": "\(error)"])
                return
            }
        }
    }
}
