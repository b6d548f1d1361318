import DockerEngine
import Logging
import OrchestryModel
import Scheduling

/// Which of the containers that bear this node's labels are what they say.
extension Agent {
    /// - Returns: one container for each instance that is not managed yet, and those that are one too many, each with the
    ///   container that stays in its place.
    func sort(_ containers: [ManagedContainer]) -> (
        kept: [ManagedContainer], surplus: [(ManagedContainer, keeping: String)]
    ) {
        var kept: [ManagedContainer] = []
        var surplus: [(ManagedContainer, keeping: String)] = []
        for (instance, group) in Dictionary(grouping: containers, by: \.instance).sorted(by: { $0.key < $1.key }) {
            guard let managed = instances[instance] else {
                let readable = group.filter { $0.assignment != nil }
                // What can't be read is nobody's to remove.
                kept += group.filter { $0.assignment == nil }
                guard let best = readable.max(by: Self.isWorse) else { continue }
                kept.append(best)
                surplus += readable.filter { $0.id != best.id }.map { ($0, best.id) }
                continue
            }
            // While the one that is known does not run, another may be the one that is being made in its place.
            guard let known = managed.lifecycle.status.containerID,
                group.contains(where: { $0.id == known && $0.isRunning })
            else { continue }
            surplus += group.filter { $0.id != known && $0.assignment != nil }.map { ($0, known) }
        }
        return (kept, surplus)
    }

    /// Running rather than ended, of the later leader, started later.
    private static func isWorse(_ left: ManagedContainer, than right: ManagedContainer) -> Bool {
        if left.isRunning != right.isRunning { return right.isRunning }
        if left.epoch != right.epoch { return left.epoch < right.epoch }
        let (one, other) = (left.startedAt?.milliseconds ?? 0, right.startedAt?.milliseconds ?? 0)
        return one == other ? left.id < right.id : one < other
    }

    func removeDuplicate(_ container: ManagedContainer, of kept: String) -> Job {
        let (engine, logger) = (engine, logger)
        onEvent(
            .duplicateRemoved, container.app,
            "\(container.instance) has two containers on \(node): \(container.id.prefix(12)) is removed, "
                + "\(kept.prefix(12)) stays",
            [
                "instance": .string(container.instance.rawValue), "container": .string(container.id),
                "kept": .string(kept),
            ])
        return {
            do {
                try await engine.remove(container.id)
            } catch {
                // Found again when the engine or this node is next started.
                logger.error(
                    "A second container of an instance could not be removed",
                    metadata: ["container": "\(container.id)", "error": "\(error)"])
            }
        }
    }

    /// Written by a later release, perhaps, to which this node will be upgraded again.
    func ignore(_ container: ManagedContainer) {
        guard ignored.insert(container.id).inserted else { return }
        logger.error(
            "A container of this node has a label this release can't read; it is left alone",
            metadata: ["container": "\(container.id)", "instance": "\(container.instance)"])
        onEvent(
            .containerIgnored, container.app,
            "Container \(container.id.prefix(12)) on \(node) says that it is \(container.instance), in a form this release "
                + "can't read: it is left alone. If no other release needs it: docker rm -f \(container.id.prefix(12))",
            ["instance": .string(container.instance.rawValue), "container": .string(container.id)])
    }
}
