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

        mutating func note(_ now: UInt64) {
            gaps.append(Double(now - lastAt))
            lastAt = now
            expected -= 1
        }
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
            group.addTask { try await self.exchange(count, window: window, send: send) }
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

    /// One message and its answer, with no more around it than a task that waits.
    func one(send: () -> Void) async throws {
        _ = try await exchange(1, window: 1) { _ in send() }
    }

    private func exchange(_ count: Int, window: Int, send: (Int) -> Void) async throws -> Result {
        var gaps: [Double] = []
        gaps.reserveCapacity(count)
        return try await withCheckedThrowingContinuation { continuation in
            let now = uptimeNanoseconds()
            let begun = Course(
                unsent: count - window, expected: count, startedAt: now, lastAt: now, gaps: gaps,
                continuation: continuation)
            course.withLock { $0 = begun }
            send(window)
        }
    }

    /// An answer has come.
    /// - Returns: whether to send another message.
    func arrived() -> Bool {
        let now = uptimeNanoseconds()
        return course.withLock { course in
            course?.note(now)
            if course?.expected == 0, let over = course.take() {
                over.continuation.resume(
                    returning: Result(duration: Double(now - over.startedAt), gaps: over.gaps))
            }
            guard let unsent = course?.unsent, unsent > 0 else { return false }
            course?.unsent = unsent - 1
            return true
        }
    }

    func fail(_ reason: String) {
        course.withLock { course in
            course.take()?.continuation.resume(throwing: BenchFailure(reason))
        }
    }
}
