import WireProtocol

/// Why a request to a peer has no answer, or why the transport could not start.
public enum PeerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No connection to this node now.
    case notConnected
    /// Too much waits to be sent to this node already.
    case queueFull
    /// The message breaks a rule of the protocol and was not sent.
    case notEncodable(WireError)
    /// No answer in time. The request may have been carried out.
    case timedOut
    /// A connection to the node was lost before the answer. The request may have been carried out.
    case disconnected
    /// The node answered with an error.
    case remote(ErrorCode, message: String)
    /// The calling task was cancelled.
    case cancelled
    /// The transport has been shut down.
    case shutDown
    case cannotStart(String)

    /// Whether asking again, perhaps after a moment, may help.
    public var isRetryable: Bool {
        switch self {
        case .notConnected, .queueFull, .timedOut, .disconnected: true
        case .remote(let code, _): code == .unavailable
        case .notEncodable, .cancelled, .shutDown, .cannotStart: false
        }
    }

    public var description: String {
        switch self {
        case .notConnected: "not connected"
        case .queueFull: "too much waits to be sent"
        case .notEncodable(let error): "the message can't be sent: \(error)"
        case .timedOut: "no answer in time"
        case .disconnected: "the connection was lost before the answer"
        case .remote(let code, let message): "the node answered \(code): \(message)"
        case .cancelled: "cancelled"
        case .shutDown: "the transport is shut down"
        case .cannotStart(let reason): "the transport can't start: \(reason)"
        }
    }
}
