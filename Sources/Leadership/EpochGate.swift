import OrchestryModel

/// L5 on an agent: whose orders it obeys. Pure.
///
/// In memory it keeps the highest epoch seen. What survives its restart are the epochs its containers carry as labels;
/// until those have been read it can't tell an order of the past from one of today, so it takes no commands. Routing
/// tables it takes: a node routes also while its container engine is down.
public struct EpochGate: Hashable, Sendable {
    public enum Order: Hashable, Sendable { case command, routingTable }

    /// The highest epoch seen in any order or label.
    public private(set) var highest = Epoch.none
    /// Whether `adopt` was called: before that commands are refused.
    public private(set) var knowsLabels = false

    public init() {}

    /// Takes note of what the containers of this node say; empty: there are none. May be called again.
    public mutating func adopt(_ labels: some Sequence<Epoch>) {
        knowsLabels = true
        for label in labels { highest = max(highest, label) }
    }

    /// Whether an order of this epoch may be obeyed; raises `highest`, also by an order that is refused for coming too
    /// early.
    public mutating func admit(_ order: Order, of epoch: Epoch) -> Bool {
        guard epoch >= highest else { return false }
        highest = epoch
        switch order {
        case .command: return knowsLabels
        case .routingTable: return true
        }
    }
}
