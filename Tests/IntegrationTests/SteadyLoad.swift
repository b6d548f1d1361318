import OrchestryModel
import Synchronization
import TestSupport

/// What became of requests sent one after the other.
struct Outcome: Sendable {
    var done = 0
    var failed: [String] = []
    var longest = Duration.zero
}

/// How far a load has come, for a test that breaks something under it.
final class Progress: Sendable {
    private let done = Atomic(0)
    private let over = Atomic(false)

    /// Ends the load before its time; requests under way are waited for.
    func end() { over.store(true, ordering: .relaxed) }

    var isOver: Bool { over.load(ordering: .relaxed) }

    func add() { done.add(1, ordering: .relaxed) }

    /// Waits until so many were answered with success.
    func reaches(_ count: Int) async throws {
        guard await eventually({ self.done.load(ordering: .relaxed) >= count }) else {
            throw TestFailure("\(done.load(ordering: .relaxed)) of \(count) requests were answered within 20 s")
        }
    }
}

/// One write after the other; each sets a number one higher than the last, so that a lost or doubled one shows.
func write(
    through member: Cluster.Member, on cluster: Cluster, for duration: Duration, _ progress: Progress = Progress()
) async throws -> Outcome {
    try await keepSending(for: duration, progress) { done in
        try await cluster.post("/apps/web/policy", ["policy": ["maxReplicas": JSONValue(7 + done)]], to: member)
    }
}

/// One request after the other.
func request(
    _ app: String, through member: Cluster.Member, on cluster: Cluster, for duration: Duration,
    pause: Duration = .milliseconds(10), _ progress: Progress = Progress()
) async throws -> Outcome {
    try await keepSending(for: duration, pause: pause, progress) { _ in try await cluster.app(app, via: member) }
}

/// Sends one after the other until the time is up, or it is told to end.
func keepSending(
    for duration: Duration, pause: Duration = .milliseconds(10), _ progress: Progress,
    _ send: (_ done: Int) async throws -> Cluster.Answer
) async throws -> Outcome {
    var outcome = Outcome()
    let end = ContinuousClock.now + duration
    while ContinuousClock.now < end, !progress.isOver {
        let begun = ContinuousClock.now
        do {
            let answer = try await send(outcome.done)
            if answer.status == 200 {
                outcome.done += 1
                progress.add()
            } else {
                outcome.failed.append("\(answer.status) \(answer.text)")
            }
        } catch {
            outcome.failed.append("\(error)")
        }
        outcome.longest = max(outcome.longest, ContinuousClock.now - begun)
        // The rate of the load.
        try await Task.sleep(for: pause)
    }
    return outcome
}
