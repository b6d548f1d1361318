import Synchronization

/// Lets asynchronous sections in, in the order they asked: one at a time, or a few. Not re-entrant.
final class AsyncLock: Sendable {
    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state: Mutex<State>

    /// - Parameter places: how many sections run at once; at least 1.
    init(places: Int = 1) { state = Mutex(State(free: places)) }

    /// Runs `body` on the caller's actor when there is a place and everybody who asked earlier has had one.
    func withLock<Value: Sendable, Failure: Error>(
        isolation: isolated (any Actor)? = #isolation, _ body: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        await acquire()
        defer { release() }
        return try await body()
    }

    private func acquire(isolation: isolated (any Actor)? = #isolation) async {
        await withCheckedContinuation { continuation in
            let free = state.withLock { state in
                if state.free == 0 {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if free { continuation.resume() }
        }
    }

    private func release() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
