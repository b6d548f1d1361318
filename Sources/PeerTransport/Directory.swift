import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// Where to send: a copy of the links' state that any thread may read. Only the links write it.
final class Directory: Sendable {
    struct Entry: Sendable {
        var info: NodeInfo
        /// `PeerFeatures` it has.
        var features: UInt64 = 0
        var control: Connection?
        var bulk: Connection?
        var isConnected: Bool { control != nil && bulk != nil }
    }

    private let entries = Mutex<[NodeID: Entry]>([:])

    subscript(node: NodeID) -> Entry? {
        get { entries.withLock { $0[node] } }
    }

    func set(_ entry: Entry?, for node: NodeID) { entries.withLock { $0[node] = entry } }

    /// Sorted by id.
    var connected: [NodeInfo] {
        entries.withLock { $0.values.filter(\.isConnected).map(\.info) }.sorted { $0.id < $1.id }
    }
}

extension Directory.Entry {
    /// The connection for a message whose frame has `bytes`; nil: not connected.
    func connection(for type: MessageType, bytes: Int) -> Connection? {
        // Elections must work while the bulk connection is down.
        if type.isUrgent { return control }
        guard isConnected else { return nil }
        switch type.route {
        case .control, .either, .handshake: return control
        case .bulk: return bulk
        case .bySize: return bytes <= WireLimits.forwardOnControl ? control : bulk
        }
    }
}
