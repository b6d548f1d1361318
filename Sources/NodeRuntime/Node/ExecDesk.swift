import OrchestryModel
import Synchronization
import WireProtocol

/// The exec sessions of this node with others, by whom they are with.
final class ExecDesk: Sendable {
    struct Key: Hashable, Sendable {
        var peer: NodeID
        var session: UInt64
        /// Whether the command runs here.
        var isRunner: Bool
    }

    /// Commands that may run here at once for clients: each costs a connection to the engine and up to two windows.
    static let mostRunning = 200

    private struct State {
        var links: [Key: ExecLink] = [:]
        var running = 0
        var isClosed = false
    }
    private let state = Mutex(State())
    /// A frame of this process' predecessor must not meet a session of this one.
    private let numbers = Atomic<UInt64>(UInt64.random(in: 1...(1 << 48)))

    func makeNumber() -> UInt64 { numbers.add(1, ordering: .relaxed).oldValue }

    /// Keeps the link until it is over.
    /// - Returns: false when there is a session of that number, or this node stops.
    func add(_ link: ExecLink, _ key: Key) -> Bool {
        let isAdded = state.withLock { state in
            guard state.links[key] == nil, !state.isClosed else { return false }
            state.links[key] = link
            return true
        }
        if isAdded { link.whenOver { [weak self] _ in self?.state.withLock { $0.links[key] = nil } } }
        return isAdded
    }

    /// - Returns: false when as many commands run as may; else one more does until it is given back.
    func takePlace() -> Bool {
        state.withLock { state in
            guard state.running < Self.mostRunning, !state.isClosed else { return false }
            state.running += 1
            return true
        }
    }
    func giveBackPlace() { state.withLock { $0.running -= 1 } }

    /// - Returns: false when there is no such session.
    func receive(_ frame: ExecFrame, _ key: Key) -> Bool {
        guard let link = state.withLock({ $0.links[key] }) else { return false }
        link.receive(frame)
        return true
    }

    /// The peer is not connected any more.
    func lose(_ peer: NodeID, reason: String) {
        for link in state.withLock({ $0.links.filter { $0.key.peer == peer }.map(\.value) }) { link.lose(reason) }
    }

    /// Ends all, and takes no more: the node stops.
    func close(_ reason: String) {
        let links = state.withLock { state in
            state.isClosed = true
            return Array(state.links.values)
        }
        for link in links { link.end(reason) }
    }

    var count: Int { state.withLock { $0.links.count } }
}
