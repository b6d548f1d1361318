import OrchestryModel

/// Which of the two connections of a pair this is.
public enum ChannelKind: UInt8, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case control = 0
    case bulk = 1
    public var description: String { self == .control ? "control" : "bulk" }
}

/// The protocol versions this release speaks. From version 2 on it will be the latest and the one before.
public enum WireVersion {
    public static let supported: ClosedRange<UInt16> = 1...1

    /// - Returns: the highest version in both ranges; nil when there is none.
    public static func highestCommon(
        with peer: ClosedRange<UInt16>, own: ClosedRange<UInt16> = supported
    ) -> UInt16? {
        let highest = min(peer.upperBound, own.upperBound)
        return highest >= max(peer.lowerBound, own.lowerBound) ? highest : nil
    }
}

/// Optional abilities in the Hello exchange, a bit each; unknown ones are ignored.
public enum PeerFeatures {
    /// Understands Renew, and a new connection that goes on where the standing one of its channel ends.
    public static let renewal: UInt64 = 1
    /// In Hello: this connection is to go on where the standing one ends. In HelloAccepted: it does.
    public static let continues: UInt64 = 2
    /// Understands HeldRequests, and routes of apps that scale to zero.
    public static let activation: UInt64 = 4
    /// Understands ExecRequest and ExecData, and what streams ask of other nodes: `followLog`, `eventsAfter`, `overview`.
    public static let streams: UInt64 = 8
    /// What this release can do.
    public static let own = renewal | activation | streams
}

/// How the node that dials introduces itself. The frame is at most 1 KiB.
public struct Hello: Hashable, Sendable {
    static let magic: [UInt8] = Array("ORCH".utf8)

    public var versions: ClosedRange<UInt16>
    public var cluster: ClusterID
    public var node: NodeInfo
    /// Random, chosen when the process starts: tells a restarted node from a lost connection.
    public var incarnation: UInt64
    public var channel: ChannelKind
    /// `PeerFeatures`; unknown bits are ignored.
    public var features: UInt64
    /// Empty with TLS, 32 random bytes without.
    public var nonce: [UInt8]

    public init(
        versions: ClosedRange<UInt16> = WireVersion.supported, cluster: ClusterID, node: NodeInfo,
        incarnation: UInt64, channel: ChannelKind, features: UInt64 = 0, nonce: [UInt8] = []
    ) {
        self.versions = versions
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.channel = channel
        self.features = features
        self.nonce = nonce
    }
}

/// The last word of the Hello exchange, from the node that was dialled.
public struct HelloAccepted: Hashable, Sendable {
    /// The version both speak from here on.
    public var version: UInt16
    public var node: NodeInfo
    public var incarnation: UInt64
    /// As `Hello.features`.
    public var features: UInt64

    public init(version: UInt16, node: NodeInfo, incarnation: UInt64, features: UInt64 = 0) {
        self.version = version
        self.node = node
        self.incarnation = incarnation
        self.features = features
    }
}
