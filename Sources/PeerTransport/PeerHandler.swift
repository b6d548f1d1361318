import OrchestryModel
import WireProtocol

/// Receives what peers say. Called on event loops, possibly several at once: every call must return soon and may call
/// `PeerTransport.send` and `reply`.
///
/// For one peer: `peerConnected`, then messages, then `peerDisconnected`, and so on. Election messages are the
/// exception: they are handed over whenever a control connection stands, also while the bulk connection does not.
/// A message that was already being handed over may end a moment after `peerDisconnected`.
public protocol PeerHandler: Sendable {
    /// Both connections to the peer stand. What was sent before is lost: this is the moment to say it again.
    func peerConnected(_ peer: NodeInfo)
    /// At least one of them is gone. `reason` is for the operator.
    func peerDisconnected(_ peer: NodeID, reason: String)
    /// - Parameter correlation: 0: one-way. Otherwise a request: answer with `reply(_:to:correlation:)`.
    func received(_ message: Message, correlation: UInt64, from: NodeID)
    /// The same, with the length of the message's frame, for handlers that bound what they keep.
    func received(_ message: Message, correlation: UInt64, bytes: Int, from: NodeID)
    /// How much of what this peer has caused is not done yet, in pieces of work; asked after each of its messages.
    ///
    /// At `PeerTransportConfiguration.backlogLimit` its bulk connection is not read from until half is done, and its
    /// requests on control are answered `unavailable`; with 64 times as much it is disconnected.
    func backlog(of peer: NodeID) -> Int
}

extension PeerHandler {
    public func received(_ message: Message, correlation: UInt64, bytes: Int, from peer: NodeID) {
        received(message, correlation: correlation, from: peer)
    }
    public func backlog(of peer: NodeID) -> Int { 0 }
}
