import Measuring
import Synchronization

/// Keeps a number of messages in flight until enough have come back, and times that. The same for every transport, so
/// that what it costs cancels out.
final class Pump: Sendable {
    private struct Course {
        var unsent: Int
        var expected: Int
        var startedAt: UInt64
        /// When the last answer came, and therefore the next message left.
        var lastAt: UInt64
        /// Nanoseconds between one answer and the next; with one message in flight, round trips.
        var gaps: [Double]
        var continuation: CheckedContinuation<Result, any Error>
    }
    struct Result: Sendable {
        /// Nanoseconds from the first message to the last answer.
        var duration: Double
        /// As many as messages.
        var gaps: [Double]
    }
    /// Longer than any run takes that still moves.
    private static let limit = Duration.seconds(120)

    private let course = Mutex<Course?>(nil)

    /// - Parameters:
    ///   - window: messages in flight, at most `count`.
    ///   - send: sends this many messages, at once.
    /// - Throws: when not all answers come within two minutes.
    func run(_ count: Int, window: Int, send: @escaping @Sendable (Int) -> Void) async throws -> Result {
        try await withThrowingTaskGroup(of: Result?.self) { group in
            group.addTask {
                try await withCheckedThrowingContinuation { continuation in
                    var gaps: [Double] = []
                    gaps.reserveCapacity(count)
                    let now = uptimeNanoseconds()
                    let begun = Course(
                        unsent: count - window, expected: count, startedAt: now, lastAt: now, gaps: gaps,
                        continuation: continuation)
                    self.course.withLock { $0 = begun }
                    send(window)
                }
            }
            group.addTask {
                try await Task.sleep(for: Self.limit)
                self.fail("no answer for too long")
                return nil
            }
            defer { group.cancelAll() }
            guard let result = try await group.next() ?? nil else { throw BenchFailure("no answer for too long") }
            return result
        }
    }

    /// An answer has come.
    /// - Returns: whether to send another message.
    func arrived() -> Bool {
        let now = uptimeNanoseconds()
        return course.withLock { course in
            guard var current = course.take() else { return false }
            current.gaps.append(Double(now - current.lastAt))
            current.lastAt = now
            current.expected -= 1
            guard current.expected > 0 else {
                current.continuation.resume(
                    returning: Result(duration: Double(now - current.startedAt), gaps: current.gaps))
                return false
            }
            defer { course = consume current }
            guard current.unsent > 0 else { return false }
            current.unsent -= 1
            return true
        }
    }

    func fail(_ reason: String) {
        course.withLock { course in
            course.take()?.continuation.resume(throwing: BenchFailure(reason))
        }
    }
}
