import OrchestryModel

/// How a node that does not vote, a worker, knows who leads: an active leader sends it a Heartbeat about once a second,
/// at once when it connects, and at the beginning of its term (`proto-spec/lease.md`, "Nodes that don't vote"). Pure.
///
/// Nothing is promised by it: a worker's knowledge only says where its reports and its clients' requests go. What it may be
/// ordered to do is decided by the epoch of each order (`EpochGate`).
public struct LeaderTracker: Hashable, Sendable {
    public enum Input: Hashable, Sendable {
        /// From one of the cluster's controllers.
        case heartbeat(Epoch, from: NodeID)
        /// The node is not connected any more.
        case disconnected(NodeID)
        /// L5: this node's agent obeyed, or its containers carry, this epoch.
        case epochSeen(Epoch)
        case tick
    }

    public enum Output: Hashable, Sendable {
        /// The leader this node reports to, and its epoch; nil with the highest epoch seen: it knows none now.
        case leaderChanged(NodeID?, Epoch)
        /// L5: the sender leads under an epoch that this node's agent won't obey. Told so, it gives that epoch up; silence
        /// would leave a cluster whose PostgreSQL forgot an epoch without this node for ever.
        case refuse(NodeID, highest: Epoch)
    }

    public struct Leader: Hashable, Sendable {
        public var node: NodeID
        public var epoch: Epoch
        var heardAt: Instant
    }

    /// How long a leader counts after it was heard last.
    public let silenceLimit: Duration
    /// As of the last input.
    public private(set) var leader: Leader?
    public private(set) var highestEpoch = Epoch.none

    /// - Parameter silenceLimit: a few times the interval of heartbeats to workers.
    public init(silenceLimit: Duration = .seconds(3)) { self.silenceLimit = silenceLimit }

    /// The one door.
    public mutating func handle(_ input: Input, at now: Instant) -> [Output] {
        let before = leader
        var outputs: [Output] = []
        if let known = leader, now >= known.heardAt + silenceLimit { leader = nil }
        switch input {
        case .tick: break
        case .heartbeat(let epoch, let sender):
            if epoch < highestEpoch {
                outputs.append(.refuse(sender, highest: highestEpoch))
            } else if leader.map({ epoch > $0.epoch || sender == $0.node }) ?? true {
                // An epoch is one node's: what another says under the same is nobody's word.
                highestEpoch = epoch
                leader = Leader(node: sender, epoch: epoch, heardAt: now)
            }
        case .disconnected(let node): if leader?.node == node { leader = nil }
        case .epochSeen(let epoch):
            highestEpoch = max(highestEpoch, epoch)
            // An order of the next leader came before its heartbeat: the one known so far leads no more.
            if let known = leader, known.epoch < epoch { leader = nil }
        }
        if leader?.node != before?.node || leader?.epoch != before?.epoch {
            outputs.append(.leaderChanged(leader?.node, leader?.epoch ?? highestEpoch))
        }
        return outputs
    }

    /// When to send `tick` at the latest; nil: nothing is due.
    public var nextDeadline: Instant? { leader.map { $0.heardAt + silenceLimit } }
}
