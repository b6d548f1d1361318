import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// Requests that wait for their answer.
final class RequestTable: Sendable {
    typealias Outcome = Result<Message, PeerError>

    private struct Pending {
        var node: NodeID
        var continuation: CheckedContinuation<Outcome, Never>
        var timeout: Scheduled<Void>?
        /// Lines of log chunks that came before the last one.
        var lines: [String] = []
    }

    private struct State {
        var pending: [UInt64: Pending] = [:]
        var isClosed = false
    }

    /// Request ids are even and start at 2 (`proto-spec/framing.md`).
    private let nextID = Atomic<UInt64>(2)
    private let state = Mutex(State())
    /// More log lines than this under one request are cut off: the peer has lost its way.
    private static let lineLimit = 100_000

    func makeID() -> UInt64 { nextID.add(2, ordering: .relaxed).oldValue }

    /// - Returns: false after `closeAll`; the continuation is then already resumed.
    @discardableResult
    func add(_ id: UInt64, node: NodeID, continuation: CheckedContinuation<Outcome, Never>) -> Bool {
        let added = state.withLock { state in
            guard !state.isClosed else { return false }
            state.pending[id] = Pending(node: node, continuation: continuation)
            return true
        }
        if !added { continuation.resume(returning: .failure(.shutDown)) }
        return added
    }

    func setTimeout(_ timeout: Scheduled<Void>, for id: UInt64) {
        let kept = state.withLock {
            $0.pending[id]?.timeout = timeout; return $0.pending[id] != nil
        }
        if !kept { timeout.cancel() }
    }

    /// Resumes the request once; later calls for the same id do nothing.
    func finish(_ id: UInt64, _ outcome: Outcome) {
        guard let pending = state.withLock({ $0.pending.removeValue(forKey: id) }) else { return }
        resume(pending, outcome)
    }

    /// - Returns: false when nobody waits for this answer from this node.
    func answer(_ id: UInt64, _ message: Message, from node: NodeID) -> Bool {
        enum Found { case nothing, more, complete(Pending, Message) }
        let found = state.withLock { state -> Found in
            guard var pending = state.pending[id], pending.node == node else { return .nothing }
            guard case .logChunk(let lines, let isLast) = message else {
                state.pending[id] = nil
                return .complete(pending, message)
            }
            pending.lines += lines.prefix(Self.lineLimit - pending.lines.count)
            guard isLast else {
                state.pending[id] = pending
                return .more
            }
            state.pending[id] = nil
            return .complete(pending, .logChunk(lines: pending.lines, isLast: true))
        }
        switch found {
        case .nothing: return false
        case .more: return true
        case .complete(let pending, .error(let code, let text)):
            resume(pending, .failure(.remote(code, message: text)))
            return true
        case .complete(let pending, let message):
            resume(pending, .success(message))
            return true
        }
    }

    func failAll(to node: NodeID) {
        let failed = state.withLock { state in
            let ids = state.pending.filter { $0.value.node == node }.map(\.key)
            return ids.compactMap { state.pending.removeValue(forKey: $0) }
        }
        for pending in failed { resume(pending, .failure(.disconnected)) }
    }

    func closeAll() {
        let failed = state.withLock { state in
            state.isClosed = true
            defer { state.pending = [:] }
            return Array(state.pending.values)
        }
        for pending in failed { resume(pending, .failure(.shutDown)) }
    }

    private func resume(_ pending: Pending, _ outcome: Outcome) {
        pending.timeout?.cancel()
        pending.continuation.resume(returning: outcome)
    }
}
