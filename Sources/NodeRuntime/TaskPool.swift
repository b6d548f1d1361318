import Synchronization

/// Runs short jobs that callbacks (event loops, C threads) hand over: the structured home of what would otherwise be
/// loose tasks. Jobs handed over before `run` start when it does; jobs still running when it ends are cancelled.
final class TaskPool: Sendable {
    typealias Job = @Sendable () async -> Void
    private let jobs: AsyncStream<Job>
    private let continuation: AsyncStream<Job>.Continuation

    init() {
        (jobs, continuation) = AsyncStream.makeStream(of: Job.self, bufferingPolicy: .unbounded)
    }

    /// Hands over a job; ignored after `stop`.
    func add(_ job: @escaping Job) { continuation.yield(job) }

    func stop() { continuation.finish() }

    /// Returns after `stop`, or when cancelled, once every job has ended.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await job in jobs { group.addTask { await job() } }
            group.cancelAll()
        }
    }
}
