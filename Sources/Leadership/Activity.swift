import OrchestryModel

/// On what a leader's right to act rests (L2).
public enum ActivityMode: String, Hashable, Sendable {
    /// A valid lease confirmed as `quorum`, and valid promises of a majority.
    case quorum
    /// A valid lease confirmed as `solo`, while under no promise to another.
    case solo
    /// Valid promises of all voters; the lease may have lapsed. Desired state can't change.
    case unanimous
}

/// Whether a node may act as leader at one instant.
public enum Activity: Hashable, Sendable {
    case inactive
    /// `until` (exclusive, the node's own clock): when this ground ends unless something arrives before.
    case active(Epoch, mode: ActivityMode, until: Instant)

    public var isActive: Bool {
        switch self {
        case .inactive: false
        case .active: true
        }
    }
}

/// Why a node stopped acting under an epoch.
public enum DeactivationReason: String, Hashable, Sendable {
    /// A higher epoch exists.
    case deposed
    /// PostgreSQL says the lease is another's.
    case leaseLost
    /// The lease ran out and not every voter's promise is valid. The node may become active again under this epoch.
    case leaseLapsed
    /// Too few promises are valid. The node may become active again under this epoch.
    case promisesLapsed
    /// L7: told to leave for good.
    case left
    /// L7: told to let another lead.
    case steppedDown
}
