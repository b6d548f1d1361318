/// What kind of trouble an event tells of: the original's five categories of errors.
public enum EventCategory: String, Hashable, Sendable, CaseIterable {
    /// What was asked for can't be: a document, an image, a certificate.
    case validation
    /// Memory, disk or room on the nodes ran out.
    case resource
    /// A node, its container engine or PostgreSQL.
    case infrastructure
    /// What runs in the containers.
    case application
    /// What leads requests to them.
    case network

    /// What is done about it without anybody's help, and what a person may look at.
    public var recovery: String {
        switch self {
        case .validation: "Nothing was changed. Correct what the message names and send it again."
        case .resource: "What runs goes on; it is tried again by itself. Make room, or lower what the app asks for."
        case .infrastructure:
            "Instances of a lost node are placed elsewhere, state waits in the outbox; both go on when it is back."
        case .application: "The container is started again after a pause; a failed rollout goes back. The logs say why."
        case .network: "The last good configuration serves on. Correct what the message names."
        }
    }
}

extension EventKind {
    /// nil: nothing is wrong.
    public var category: EventCategory? {
        switch self {
        case .revisionRefused, .certificateRefused: .validation
        case .samplesDropped, .appHeld, .retentionFailed: .resource
        case .nodeLost, .hostUnreachable, .leaderLost, .engineLost, .storeLost, .certificateExpiring: .infrastructure
        case .instanceUnhealthy, .instanceExited, .instanceFailed, .rolloutFailed, .canaryFailed: .application
        case .proxyRejected, .proxyLost, .proxyDegraded: .network
        default: nil
        }
    }
}
