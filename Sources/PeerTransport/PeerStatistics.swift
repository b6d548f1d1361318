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
    /// Connections closed because of what the peer sent or who it was.
    public var connectionsRefused: UInt64 = 0
    /// Peers that were connected and are not any more, times counted.
    public var disconnections: UInt64 = 0
    /// Answers nobody waited for any more.
    public var lateReplies: UInt64 = 0
}

/// The same, while counting. Sums only: each counter is right, a snapshot need not be of one moment.
final class Counters: Sendable {
    let framesSent = Atomic<UInt64>(0)
    let bytesSent = Atomic<UInt64>(0)
    let framesReceived = Atomic<UInt64>(0)
    let bytesReceived = Atomic<UInt64>(0)
    let sampleBatchesDropped = Atomic<UInt64>(0)
    let messagesRefused = Atomic<UInt64>(0)
    let connectionsRefused = Atomic<UInt64>(0)
    let disconnections = Atomic<UInt64>(0)
    let lateReplies = Atomic<UInt64>(0)

    var snapshot: PeerStatistics {
        PeerStatistics(
            framesSent: framesSent.load(ordering: .relaxed), bytesSent: bytesSent.load(ordering: .relaxed),
            framesReceived: framesReceived.load(ordering: .relaxed),
            bytesReceived: bytesReceived.load(ordering: .relaxed),
            sampleBatchesDropped: sampleBatchesDropped.load(ordering: .relaxed),
            messagesRefused: messagesRefused.load(ordering: .relaxed),
            connectionsRefused: connectionsRefused.load(ordering: .relaxed),
            disconnections: disconnections.load(ordering: .relaxed),
            lateReplies: lateReplies.load(ordering: .relaxed))
    }
}
