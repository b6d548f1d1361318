import Leadership
import OrchestryModel

/// A leader's order on its way to an agent.
struct SimulatedCommand: Hashable, Sendable {
    var epoch: Epoch
    var sender: Int
    /// Whether its leader was active, by its own clock, at the instant it sent this.
    var wasActive: Bool
    /// A container is made, with the epoch as its label; else one is removed.
    var makesContainer: Bool
}

/// A node's agent: ends with the node's process, its containers go on.
struct SimulatedAgent: Sendable {
    var gate = EpochGate()
    /// Epochs of the containers that run, oldest first.
    var labels: [Epoch] = []
    /// For the check: the highest epoch obeyed since the start, or in the labels then.
    var floor = Epoch.none
    /// The epoch obeyed last since the start.
    var obeyed = Epoch.none

    private static let mostContainers = 4

    mutating func start() {
        gate = EpochGate()
        obeyed = .none
        floor = labels.max() ?? .none
    }

    mutating func obey(_ command: SimulatedCommand) {
        floor = max(floor, command.epoch)
        obeyed = command.epoch
        if command.makesContainer {
            if labels.count == Self.mostContainers { labels.removeFirst() }
            labels.append(command.epoch)
        } else if !labels.isEmpty {
            labels.removeFirst()
        }
    }
}
