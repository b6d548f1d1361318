import OrchestryModel
import Synchronization
import WireProtocol

/// One end of an exec session on this node: carries out what `ExecFlow` decides. The other end is on another node, or here.
///
/// What arrives waits until it is asked for; the flow keeps that below a window. One task sends, one asks.
final class ExecLink: Sendable {
    private struct State {
        var flow: ExecFlow
        /// What was offered has not been transmitted yet.
        var isSending = false
        var sender: CheckedContinuation<Void, Never>?
        /// Of what was handed over last.
        var unconsumed = 0
        var transmit: (@Sendable (ExecFrame) -> Bool)?
        var farewells: [@Sendable (ExecFlow.Outcome) -> Void] = []
    }
    private let state: Mutex<State>
    private let arrived: AsyncStream<ExecFrame>
    private let arrivals: AsyncStream<ExecFrame>.Continuation

    init(_ side: ExecFlow.Side) {
        state = Mutex(State(flow: ExecFlow(side)))
        // Bounded by the flow's window.
        (arrived, arrivals) = AsyncStream.makeStream(of: ExecFrame.self, bufferingPolicy: .unbounded)
    }

    /// - Parameter transmit: hands a frame to the other end, in order; false: it can't be reached any more. To be set before
    ///   anything is sent.
    func connect(_ transmit: @escaping @Sendable (ExecFrame) -> Bool) { state.withLock { $0.transmit = transmit } }

    /// Two ends on the same node.
    static func joined() -> (asking: ExecLink, running: ExecLink) {
        let (asking, running) = (ExecLink(.asking), ExecLink(.running))
        asking.connect { [weak running] frame in
            running?.receive(frame)
            return running != nil
        }
        running.connect { [weak asking] frame in
            asking?.receive(frame)
            return asking != nil
        }
        return (asking, running)
    }

    /// nil: it is not over.
    var outcome: ExecFlow.Outcome? { state.withLock { $0.flow.outcome } }

    /// - Parameter farewell: called once when the session is over, at once if it is.
    func whenOver(_ farewell: @escaping @Sendable (ExecFlow.Outcome) -> Void) {
        let outcome = state.withLock { state in
            if state.flow.outcome == nil { state.farewells.append(farewell) }
            return state.flow.outcome
        }
        if let outcome { farewell(outcome) }
    }

    /// Returns when the frame is on its way; false: the session is over.
    func send(_ frame: ExecFrame) async -> Bool {
        let actions = state.withLock { state in
            state.isSending = true
            return state.flow.handle(.offered(frame))
        }
        perform(actions)
        await withCheckedContinuation { continuation in
            let isDone = state.withLock { state in
                guard state.isSending, state.flow.outcome == nil else { return true }
                state.sender = continuation
                return false
            }
            if isDone { continuation.resume() }
        }
        return outcome == nil
    }

    /// What comes next; nil: the session is over and there is nothing more, or the task was cancelled. What came before counts as
    /// consumed.
    func next() async -> ExecFrame? {
        let actions = state.withLock { state in
            defer { state.unconsumed = 0 }
            return state.unconsumed > 0 ? state.flow.handle(.consumed(state.unconsumed)) : []
        }
        perform(actions)
        var iterator = arrived.makeAsyncIterator()
        let frame = await iterator.next()
        if let frame { state.withLock { $0.unconsumed = frame.cost } }
        return frame
    }

    /// From the other end, in the order of its sending.
    func receive(_ frame: ExecFrame) { perform(state.withLock { $0.flow.handle(.received(frame)) }) }

    /// Does nothing when it is over.
    func end(_ reason: String) { perform(state.withLock { $0.flow.handle(.end(reason: reason)) }) }

    func lose(_ reason: String) { perform(state.withLock { $0.flow.handle(.lost(reason: reason)) }) }

    /// Outside of the lock, since the other end may be on this node. Frames still leave in order: one task sends, and what
    /// waited for credit goes before that task is told.
    private func perform(_ actions: [ExecFlow.Action]) {
        for action in actions {
            switch action {
            case .transmit(let frame):
                let transmit = state.withLock { $0.transmit }
                if transmit?(frame) != true { lose("the other node can't be reached, or takes nothing more") }
            case .deliver(let frame): arrivals.yield(frame)
            case .transmitted: release()
            case .over(let outcome):
                arrivals.finish()
                release()
                let farewells = state.withLock { state in
                    defer { state.farewells = [] }
                    return state.farewells
                }
                for farewell in farewells { farewell(outcome) }
            }
        }
    }

    private func release() {
        let sender = state.withLock { state in
            defer { state.sender = nil }
            state.isSending = false
            return state.sender
        }
        sender?.resume()
    }
}
