import Dispatch
import Foundation
import Logging
import Synchronization

/// A few threads, each with a connection of its own, that take jobs from one queue. libpq never runs anywhere else.
///
/// All workers keep their connections open while idle, and reconnect by themselves: so the first job of a new leader
/// finds a session that is ready, and the loss and the return of PostgreSQL are noticed when nobody asks for anything.
final class ConnectionPool: Sendable {
    private struct State {
        var queue: [any PoolJob] = []
        var isClosed = false
        /// nil until the first attempt to connect has ended.
        var isAvailable: Bool?
    }

    private let configuration: StoreConfiguration
    private let purpose: String
    private let settings: [(name: String, value: String)]
    private let logger: Logger
    private let warmUp: @Sendable (DatabaseConnection, Deadline) -> Void
    private let availabilityChanged: @Sendable (Bool) -> Void
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)  // Its own thread waits on it.
    private let size: Int

    /// - Parameters:
    ///   - purpose: what the connections are for, shown in `pg_stat_activity` and in logs.
    ///   - settings: values by name, in force for all that is done.
    ///   - warmUp: run once on a connection that was opened while there was nothing else to do. It must change nothing,
    ///     and its failure is of no consequence.
    ///   - availabilityChanged: called from a worker's thread with false when PostgreSQL can't be connected to any more
    ///     (or not from the beginning), and with true when it can be again.
    init(
        _ configuration: StoreConfiguration, size: Int, purpose: String, settings: [(name: String, value: String)],
        logger: Logger,
        warmUp: @escaping @Sendable (DatabaseConnection, Deadline) -> Void = { _, _ in },
        availabilityChanged: @escaping @Sendable (Bool) -> Void
    ) {
        self.configuration = configuration
        self.size = max(size, 1)
        self.purpose = purpose
        self.settings = settings
        self.logger = logger
        self.warmUp = warmUp
        self.availabilityChanged = availabilityChanged
    }

    /// Starts the threads. They end after `shutdown`, and keep the pool alive until then.
    func start() {
        for index in 0..<size {
            let thread = Thread { self.work(index: index) }
            thread.name = "postgres-\(purpose)-\(index)"
            thread.start()
        }
    }

    var isAvailable: Bool { state.withLock { $0.isAvailable ?? false } }

    /// Ends the threads once they have finished what they are doing; waiting jobs fail.
    func shutdown() {
        let waiting = state.withLock { state in
            state.isClosed = true
            defer { state.queue = [] }
            return state.queue
        }
        for job in waiting { job.fail(.unavailable("the store is shut down")) }
        for _ in 0..<size { wake.signal() }
    }

    /// Runs `body` on a worker's thread with a live connection.
    /// - Returns: within `timeout` and 20 ms in any case, also when the worker is held up (by name resolution); the
    ///   body may then still be running, and its error is `.outcomeUnknown`. The same when the calling task is
    ///   cancelled.
    func run<Value: Sendable>(
        within timeout: Duration,
        _ body: @escaping @Sendable (DatabaseConnection, Deadline) throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let deadline = ContinuousClock.now.advanced(by: timeout)
        let job = Job(deadline: deadline, body: body)
        let isAccepted = state.withLock { state in
            if !state.isClosed { state.queue.append(job) }
            return !state.isClosed
        }
        guard isAccepted else { throw .unavailable("the store is shut down") }
        wake.signal()
        let result = await withTaskGroup(of: Result<Value, StoreError>?.self) { group in
            group.addTask { await job.result() }
            group.addTask {
                // Cancelled as soon as the job is done, which is what ends it early.
                try? await Task.sleep(until: deadline.advanced(by: .milliseconds(20)), clock: .continuous)
                job.abandon()
                return nil
            }
            defer { group.cancelAll() }
            for await case .some(let result) in group { return result }
            return .failure(.unavailable("cancelled"))
        }
        return try result.get()
    }

    // MARK: Workers

    private func work(index: Int) {
        var connection: DatabaseConnection?
        var pause = Duration.zero
        while true {
            // The first worker looks often: it is the one that notices that PostgreSQL is gone.
            let idle = connection == nil ? Int(pause.inWholeMilliseconds) : index == 0 ? 1000 : 5000
            _ = wake.wait(timeout: .now() + .milliseconds(idle))
            let (job, isClosed) = state.withLock { state in
                (state.queue.isEmpty ? nil : state.queue.removeFirst(), state.isClosed)
            }
            if let job {
                job.run { deadline throws(StoreError) in try connect(&connection, deadline: deadline) }
                if connection?.isBroken == true { connection = nil }
            } else if isClosed {
                return
            } else {
                let deadline = ContinuousClock.now.advanced(by: configuration.operationTimeout)
                let previous = connection
                // A failure has been logged and reported; the next attempt follows after the pause.
                if let opened = try? connect(&connection, deadline: deadline), opened !== previous {
                    warmUp(opened, deadline)
                    if opened.isBroken { connection = nil }
                }
            }
            // The others follow the first at a distance: a PostgreSQL that refuses is not asked by all at once.
            let longest = Duration.seconds(index == 0 ? 1 : 5)
            pause = connection == nil ? min(max(pause * 2, .milliseconds(100)), longest) : .zero
        }
    }

    @discardableResult
    private func connect(
        _ connection: inout DatabaseConnection?, deadline: Deadline
    ) throws(StoreError) -> DatabaseConnection {
        if let connection, connection.isAlive() { return connection }
        connection = nil
        do throws(StoreError) {
            let opened = try DatabaseConnection.open(
                configuration, purpose: purpose, settings: settings, deadline: deadline)
            connection = opened
            report(available: true, reason: "")
            return opened
        } catch {
            report(available: false, reason: error.description)
            throw error
        }
    }

    private func report(available: Bool, reason: String) {
        let previous = state.withLock { state in
            defer { state.isAvailable = available }
            return state.isAvailable
        }
        guard previous != available else { return }
        if !available {
            logger.warning("PostgreSQL lost", metadata: ["purpose": "\(purpose)", "reason": "\(reason)"])
            availabilityChanged(false)
        } else if previous == false {
            logger.info("PostgreSQL is back", metadata: ["purpose": "\(purpose)"])
            availabilityChanged(true)
        }
    }
}

/// What the pool's queue holds.
private protocol PoolJob: Sendable {
    /// Runs it, unless its caller has given up.
    /// - Parameter connect: gives a live connection or says why there is none.
    func run(_ connect: (Deadline) throws(StoreError) -> DatabaseConnection)
    func fail(_ error: StoreError)
}

/// One call of the pool: a body to run, and one caller waiting for its result.
private final class Job<Value: Sendable>: PoolJob {
    private typealias Waiting = CheckedContinuation<Result<Value, StoreError>, Never>
    private enum State {
        case queued(Waiting?)
        case running(Waiting?)
        case done(Result<Value, StoreError>)
    }

    private let deadline: Deadline
    private let body: @Sendable (DatabaseConnection, Deadline) throws(StoreError) -> Value
    private let state = Mutex(State.queued(nil))

    init(
        deadline: Deadline, body: @escaping @Sendable (DatabaseConnection, Deadline) throws(StoreError) -> Value
    ) {
        self.deadline = deadline
        self.body = body
    }

    func result() async -> Result<Value, StoreError> {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let known: Result<Value, StoreError>? = state.withLock { state in
                    switch state {
                    case .queued:
                        state = .queued(continuation)
                        return nil
                    case .running:
                        state = .running(continuation)
                        return nil
                    case .done(let result): return result
                    }
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            abandon()
        }
    }

    /// Lets the caller go. Does nothing once there is a result.
    func abandon() {
        finish { isRunning in
            isRunning
                ? .failure(.outcomeUnknown("no answer in time"))
                : .failure(.unavailable("no connection was free in time"))
        }
    }

    func fail(_ error: StoreError) { finish { _ in .failure(error) } }

    func run(_ connect: (Deadline) throws(StoreError) -> DatabaseConnection) {
        let isWanted = state.withLock { state in
            guard case .queued(let continuation) = state else { return false }
            state = .running(continuation)
            return true
        }
        guard isWanted else { return }
        do throws(StoreError) {
            let connection = try connect(deadline)
            let value = try body(connection, deadline)
            finish { _ in .success(value) }
        } catch {
            finish { _ in .failure(error) }
        }
    }

    /// - Parameter result: gets whether the body has begun to run.
    private func finish(_ result: (_ isRunning: Bool) -> Result<Value, StoreError>) {
        let (waiting, value) = state.withLock { state -> (Waiting?, Result<Value, StoreError>) in
            let (waiting, isRunning): (Waiting?, Bool)
            switch state {
            case .queued(let continuation): (waiting, isRunning) = (continuation, false)
            case .running(let continuation): (waiting, isRunning) = (continuation, true)
            case .done(let result): return (nil, result)
            }
            let result = result(isRunning)
            state = .done(result)
            return (waiting, result)
        }
        waiting?.resume(returning: value)
    }
}

extension Duration {
    fileprivate var inWholeMilliseconds: Int64 { Int64(self / .milliseconds(1)) }
}
