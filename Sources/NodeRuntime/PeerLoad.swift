import OrchestryModel
import Synchronization

/// How much of what each peer has caused is not done yet, so that one that asks for too much waits instead of filling
/// the memory.
final class PeerLoad: Sendable {
    /// A message counts one piece of work, and one more for each of these: what is decoded takes a few times its bytes.
    private static let bytesAPiece = 4096

    private let pieces = Mutex<[NodeID: Int]>([:])

    static func weight(bytes: Int) -> Int { 1 + bytes / bytesAPiece }

    func add(_ weight: Int, for peer: NodeID) { pieces.withLock { $0[peer, default: 0] += weight } }

    func remove(_ weight: Int, for peer: NodeID) {
        pieces.withLock { pieces in
            let left = (pieces[peer] ?? 0) - weight
            pieces[peer] = left > 0 ? left : nil
        }
    }

    func of(_ peer: NodeID) -> Int { pieces.withLock { $0[peer] ?? 0 } }
}
