import Synchronization

/// Wakes everybody who waits when something has changed. What changed is looked up by whoever wakes; a change between
/// looking and waiting is not missed, because waiting begins with the count that was seen before looking.
final class ChangeSignal: Sendable {
    private struct State {
        var count: UInt64 = 0
        var nextID: UInt64 = 0
        var waits: [UInt64: Wait] = [:]
    }
    private enum Wait {
        case beginning
        case waiting(CheckedContinuation<Void, Never>)
        /// Its time was up, or its task cancelled, before it had begun.
        case over
    }
    private let state = Mutex(State())

    /// How often there has been a change.
    var count: UInt64 { state.withLock { $0.count } }

    func notify() {
        let waits = state.withLock { state in
            state.count += 1
            // Those that are beginning see the count.
            defer { state.waits = state.waits.filter { if case .waiting = $0.value { false } else { true } } }
            return state.waits.values
        }
        for case .waiting(let continuation) in waits { continuation.resume() }
    }

    /// Returns at the first change after `seen`, after `limit`, or when the task is cancelled.
    func wait(after seen: UInt64, atMost limit: Duration) async {
        let id = state.withLock { state in
            state.nextID += 1
            state.waits[state.nextID] = .beginning
            return state.nextID
        }
        let timer = Task {
            do { try await Task.sleep(for: limit) } catch { return }  // Cancelled: the wait is over.
            self.end(id)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let begins = state.withLock { state in
                    guard state.count == seen, case .beginning = state.waits[id] else { return false }
                    state.waits[id] = .waiting(continuation)
                    return true
                }
                if !begins { continuation.resume() }
            }
        } onCancel: {
            end(id)
        }
        timer.cancel()
        state.withLock { state in state.waits[id] = nil }
    }

    private func end(_ id: UInt64) {
        let wait = state.withLock { state in
            // Without an entry it has returned already.
            state.waits[id].map { wait in
                state.waits[id] = .over
                return wait
            }
        }
        if case .waiting(let continuation) = wait { continuation.resume() }
    }
}
