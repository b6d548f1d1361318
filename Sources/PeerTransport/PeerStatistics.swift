import OrchestryModel
import Synchronization

/// What a transport has counted since it was made.
public struct PeerStatistics: Hashable, Sendable {
    public var framesSent: UInt64 = 0
    public var bytesSent: UInt64 = 0
    public var framesReceived: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// Sample batches that gave way to newer ones.
    public var sampleBatchesDropped: UInt64 = 0
    /// Messages that `send` returned false for because too much was waiting.
    public var messagesRefused: UInt64 = 0
    /// Connections closed because of what the peer sent or who it was, or turned away at the door.
    public var connectionsRefused: UInt64 = 0
    /// Peers that were connected and are not any more, times counted.
    public var disconnections: UInt64 = 0
    /// Answers nobody waited for any more.
    public var lateReplies: UInt64 = 0
    /// Connections that were replaced without a gap.
    public var renewals: UInt64 = 0
    /// Requests answered with `unavailable` because too much of the peer's was not done yet.
    public var requestsRefused: UInt64 = 0
    /// Election messages and Pings ignored because they came too fast.
    public var floodDropped: UInt64 = 0
}

/// What has been counted for one peer.
public struct PeerTraffic: Hashable, Sendable {
    public var framesSent: UInt64 = 0
    public var bytesSent: UInt64 = 0
    public var framesReceived: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var sampleBatchesDropped: UInt64 = 0
    public var messagesRefused: UInt64 = 0
    public var requestsRefused: UInt64 = 0
    public var floodDropped: UInt64 = 0
    public var renewals: UInt64 = 0
    /// How often it became connected.
    public var connections: UInt64 = 0
    /// The latest round trip of a Ping on the control connection; nil: not measured yet.
    public var roundTrip: Duration?
}

/// The same, while counting. Sums only: each counter is right, a snapshot need not be of one moment.
final class Counters: Sendable {
    /// Of one peer, or of all: what is counted for each is in both.
    final class Traffic: Sendable {
        let framesSent = Atomic<UInt64>(0)
        let bytesSent = Atomic<UInt64>(0)
        let framesReceived = Atomic<UInt64>(0)
        let bytesReceived = Atomic<UInt64>(0)
        let sampleBatchesDropped = Atomic<UInt64>(0)
        let messagesRefused = Atomic<UInt64>(0)
        let requestsRefused = Atomic<UInt64>(0)
        let floodDropped = Atomic<UInt64>(0)
        let renewals = Atomic<UInt64>(0)
        let connections = Atomic<UInt64>(0)
        /// Nanoseconds; 0: not measured.
        let roundTrip = Atomic<UInt64>(0)

        var snapshot: PeerTraffic {
            let trip = roundTrip.load(ordering: .relaxed)
            return PeerTraffic(
                framesSent: framesSent.load(ordering: .relaxed), bytesSent: bytesSent.load(ordering: .relaxed),
                framesReceived: framesReceived.load(ordering: .relaxed),
                bytesReceived: bytesReceived.load(ordering: .relaxed),
                sampleBatchesDropped: sampleBatchesDropped.load(ordering: .relaxed),
                messagesRefused: messagesRefused.load(ordering: .relaxed),
                requestsRefused: requestsRefused.load(ordering: .relaxed),
                floodDropped: floodDropped.load(ordering: .relaxed), renewals: renewals.load(ordering: .relaxed),
                connections: connections.load(ordering: .relaxed),
                roundTrip: trip == 0 ? nil : .nanoseconds(Int64(clamping: trip)))
        }
    }

    let all = Traffic()
    let connectionsRefused = Atomic<UInt64>(0)
    let disconnections = Atomic<UInt64>(0)
    let lateReplies = Atomic<UInt64>(0)
    private let byPeer = Mutex<[NodeID: Traffic]>([:])
    /// More names than any cluster has nodes: a holder of the shared secret could make up new ones for ever.
    private static let mostPeers = 1000
    private let unnamed = Traffic()

    func peer(_ id: NodeID) -> Traffic {
        byPeer.withLock { peers in
            if let known = peers[id] { return known }
            guard peers.count < Self.mostPeers else { return unnamed }
            let fresh = Traffic()
            peers[id] = fresh
            return fresh
        }
    }

    var traffic: [NodeID: PeerTraffic] { byPeer.withLock { $0.mapValues(\.snapshot) } }

    var snapshot: PeerStatistics {
        let all = all.snapshot
        return PeerStatistics(
            framesSent: all.framesSent, bytesSent: all.bytesSent, framesReceived: all.framesReceived,
            bytesReceived: all.bytesReceived, sampleBatchesDropped: all.sampleBatchesDropped,
            messagesRefused: all.messagesRefused, connectionsRefused: connectionsRefused.load(ordering: .relaxed),
            disconnections: disconnections.load(ordering: .relaxed),
            lateReplies: lateReplies.load(ordering: .relaxed), renewals: all.renewals,
            requestsRefused: all.requestsRefused, floodDropped: all.floodDropped)
    }
}
