import Synchronization

/// Lets the first lines about each subject through and counts the rest, so that a storm of bad peers can't fill a disk
/// with log lines. Times are given by the caller. Any thread.
package final class LogLimiter: Sendable {
    package struct Summary: Hashable, Sendable {
        package var subject: String
        /// Lines that were not written.
        package var count: Int
        /// About one of them.
        package var lastReason: String
    }
    package enum Verdict: Hashable, Sendable {
        case write
        /// The line is counted. `isFirst`: no `sumUp` is due yet, the caller arranges for one after `window`.
        case count(isFirst: Bool)
    }

    private struct Subject {
        var written = 0
        var counted = 0
        var lastReason = ""
    }
    private struct State {
        var subjects: [String: Subject] = [:]
        var written = 0
        var isSumUpDue = false
        var windowStart: Duration = .zero
    }

    /// Lines about one subject, and about all together, in one window.
    private let perSubject: Int
    private let total: Int
    package let window: Duration
    private let mostSubjects: Int
    private let state = Mutex(State())

    package init(perSubject: Int = 5, total: Int = 50, window: Duration = .seconds(10), mostSubjects: Int = 100) {
        self.perSubject = perSubject
        self.total = total
        self.window = window
        self.mostSubjects = mostSubjects
    }

    /// - Parameters:
    ///   - subject: what lines are counted by, for example an address and a name.
    ///   - now: of any monotonic clock, always the same one.
    package func ask(about subject: String, reason: String, at now: Duration) -> Verdict {
        state.withLock { state in
            if now - state.windowStart >= window, !state.isSumUpDue {
                state = State()
                state.windowStart = now
            }
            let key = state.subjects[subject] != nil || state.subjects.count < mostSubjects ? subject : "others"
            var entry = state.subjects[key] ?? Subject()
            defer { state.subjects[key] = entry }
            if entry.written < perSubject, state.written < total {
                entry.written += 1
                state.written += 1
                return .write
            }
            entry.counted += 1
            entry.lastReason = reason
            let isFirst = !state.isSumUpDue
            state.isSumUpDue = true
            return .count(isFirst: isFirst)
        }
    }

    /// Ends the window.
    /// - Returns: what was only counted in it, by subject, most first, at most 10; the rest as "others".
    package func sumUp(at now: Duration) -> [Summary] {
        let subjects = state.withLock { state in
            defer {
                state = State()
                state.windowStart = now
            }
            return state.subjects
        }
        let counted = subjects.filter { $0.value.counted > 0 }
            .map { Summary(subject: $0.key, count: $0.value.counted, lastReason: $0.value.lastReason) }
            .sorted { ($1.count, $0.subject) < ($0.count, $1.subject) }
        guard counted.count > 10 else { return counted }
        let rest = counted[9...]
        return Array(counted[..<9]) + [
            Summary(subject: "others", count: rest.reduce(0) { $0 + $1.count }, lastReason: rest.last?.lastReason ?? "")
        ]
    }
}
