import Logging
import OrchestryModel
import PostgresStore
import Synchronization

/// Writes what the leader observes (instances, nodes, metrics) to PostgreSQL behind its back: the newest state of each
/// instance wins, so a slow or absent database costs freshness and a bounded amount of memory, never an order.
final class ObservationWriter: Sendable {
    private struct Pending {
        var instances: [InstanceID: InstanceStatus?] = [:]
        var nodes: [NodeID: (info: NodeInfo, seenAt: WallTime)] = [:]
        var metrics: [MetricRow] = []
        /// The newest state of each rollout, by app and revision.
        var rollouts: [AppName: [Int: RolloutRecord]] = [:]
        var drained: Set<NodeID> = []
        var isEmpty: Bool {
            instances.isEmpty && nodes.isEmpty && metrics.isEmpty && rollouts.isEmpty && drained.isEmpty
        }
    }
    /// Ten minutes of 100 apps while PostgreSQL is away; older rows are dropped first.
    private static let mostMetricRows = 6_000

    private let store: StateStore
    private let epoch: Epoch
    private let node: NodeID
    private let logger: Logger
    private let pending = Mutex(Pending())

    init(store: StateStore, epoch: Epoch, node: NodeID, logger: Logger) {
        self.store = store
        self.epoch = epoch
        self.node = node
        self.logger = logger
    }

    func save(_ status: InstanceStatus) { pending.withLock { $0.instances[status.instance] = .some(status) } }
    func forget(_ instance: InstanceID) { pending.withLock { $0.instances[instance] = .some(nil) } }
    func saw(_ info: NodeInfo, at wall: WallTime) { pending.withLock { $0.nodes[info.id] = (info, wall) } }
    func save(_ record: RolloutRecord) {
        pending.withLock { $0.rollouts[record.app, default: [:]][record.revision] = record }
    }
    func drained(_ node: NodeID) { pending.withLock { _ = $0.drained.insert(node) } }
    /// Somebody has set something else since: nothing older may be written after it.
    func forgetDrained(_ node: NodeID) { pending.withLock { _ = $0.drained.remove(node) } }
    func add(_ rows: [MetricRow]) {
        pending.withLock {
            $0.metrics += rows
            if $0.metrics.count > Self.mostMetricRows { $0.metrics.removeFirst($0.metrics.count - Self.mostMetricRows) }
        }
    }

    /// Writes what has gathered, five times a second at most. Runs until cancelled or fenced off.
    func run() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .milliseconds(200)) } catch { return }
            let batch = pending.withLock { pending in
                defer { pending = Pending() }
                return pending
            }
            if batch.isEmpty { continue }
            do {
                try await store.write(changes(of: batch), epoch: epoch, leader: node)
            } catch {
                if error.isFenced { return }
                logger.debug("Observations are not stored yet", metadata: ["error": "\(error)"])
                putBack(batch)
                try? await Task.sleep(for: .seconds(1))  // Cancelled: the loop's condition ends it.
            }
        }
    }

    private func changes(of batch: Pending) -> [StateChange] {
        var changes: [StateChange] = []
        for (instance, status) in batch.instances.sorted(by: { $0.key < $1.key }) {
            changes.append(status.map(StateChange.saveInstance) ?? .removeInstance(instance))
        }
        for (_, seen) in batch.nodes.sorted(by: { $0.key < $1.key }) {
            changes.append(.saveNode(seen.info, seenAt: seen.seenAt))
        }
        for (_, records) in batch.rollouts.sorted(by: { $0.key < $1.key }) {
            changes += records.sorted { $0.key < $1.key }.map { .saveRollout($0.value) }
        }
        changes += batch.drained.sorted().map { .endNodeDrain($0) }
        if !batch.metrics.isEmpty { changes.append(.appendMetrics(batch.metrics)) }
        return changes
    }

    /// Newer observations made meanwhile win over those that failed to be written.
    private func putBack(_ batch: Pending) {
        pending.withLock { pending in
            pending.instances.merge(batch.instances) { newer, _ in newer }
            pending.nodes.merge(batch.nodes) { newer, _ in newer }
            pending.metrics.insert(contentsOf: batch.metrics, at: 0)
            pending.drained.formUnion(batch.drained)
            for (app, records) in batch.rollouts {
                pending.rollouts[app, default: [:]].merge(records) { newer, _ in newer }
            }
        }
    }
}
