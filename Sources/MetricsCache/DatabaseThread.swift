import Dispatch
import Foundation
import Synchronization

/// A thread that owns something which may not leave it, and runs jobs on it in order.
final class DatabaseThread<Resource>: Sendable {
    private typealias Job = @Sendable (inout Resource?) -> Void
    private struct State {
        var jobs: [Job] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)  // Its own thread waits on it.
    private let ended = DispatchSemaphore(value: 0)  // Waited on by `shutdown` only.

    /// Starts the thread and waits until it has made the resource.
    init<Failure: Error>(
        name: String, _ make: @escaping @Sendable () throws(Failure) -> Resource
    ) throws(Failure) {
        let outcome = Outcome<Failure>()
        let thread = Thread {
            var resource: Resource?
            do throws(Failure) {
                resource = try make()
            } catch {
                outcome.failure.withLock { $0 = error }
            }
            let isMade = resource != nil
            outcome.known.signal()
            if isMade { self.work(&resource) }
        }
        thread.name = name
        thread.start()
        outcome.known.wait()
        if let failure = outcome.failure.withLock({ $0 }) { throw failure }
    }

    /// - Parameter body: gets nil once the thread is closed, then at once and on the caller's thread.
    func submit(_ body: @escaping @Sendable (inout Resource?) -> Void) {
        let isAccepted = state.withLock { state in
            if !state.isClosed { state.jobs.append(body) }
            return !state.isClosed
        }
        if isAccepted {
            wake.signal()
        } else {
            var none: Resource?
            body(&none)
        }
    }

    /// As `submit`, and waits for the result.
    func run<Value: Sendable>(_ body: @escaping @Sendable (inout Resource?) -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            submit { resource in continuation.resume(returning: body(&resource)) }
        }
    }

    /// Lets the jobs at hand finish, then the resource go.
    /// - Returns: false when it was closed before.
    @discardableResult
    func close() -> Bool {
        let isFirst = state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        if isFirst { wake.signal() }
        return isFirst
    }

    /// As `close`, and waits until the resource is gone. Not to be called from a job.
    func shutdown() {
        if close() { ended.wait() }
    }

    private func work(_ resource: inout Resource?) {
        while true {
            wake.wait()
            let (jobs, isClosed) = state.withLock { state in
                defer { state.jobs = [] }
                return (state.jobs, state.isClosed)
            }
            for job in jobs { job(&resource) }
            guard isClosed else { continue }
            resource = nil
            ended.signal()
            return
        }
    }
}

/// What came of making a resource on another thread.
private final class Outcome<Failure: Error>: Sendable {
    let failure = Mutex<Failure?>(nil)
    let known = DispatchSemaphore(value: 0)  // Waited on once, at open.
}
