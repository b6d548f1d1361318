import Foundation
import Measuring
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Sends requests at a fixed timetable, whether those before were answered or not. Latency counts from the time a
/// request was to be sent, so that a server that stalls is charged for all who would have come meanwhile: what Gil Tene
/// calls the avoidance of coordinated omission.
struct LoadGenerator: Sendable {
    /// Connections are spread over them.
    var servers: [Server]
    /// The `Host` header.
    var host: String
    var path: String
    var connections: Int
    /// One request per connection otherwise.
    var keepsAlive = true
    var timeout = TimeAmount.seconds(10)
    /// The path of the request with this number, from 0; nil: `path`.
    var pathOfRequest: (@Sendable (Int) -> String)?
    /// Told of every request that was answered, with its body, on the tasks that send: must be quick.
    var observe: (@Sendable (Exchange) -> Void)?

    /// A request that got an answer.
    struct Exchange: Sendable {
        /// From 0, in the order of the timetable.
        var number: Int
        var server: Server
        var due: ContinuousClock.Instant
        var outcome: KeptConnection.Outcome
    }

    /// Runs the timetable to its end, or until `statistics`' owner cancels the task: then what was sent is awaited.
    func run(_ profile: RateProfile, into statistics: LoadStatistics) async {
        let queue = WorkQueue()
        await withDiscardingTaskGroup { group in
            for number in 0..<connections {
                let server = servers[number % servers.count]
                group.addTask { await work(queue, at: server, statistics) }
            }
            await schedule(profile, queue)
            queue.finish()
        }
    }

    private func schedule(_ profile: RateProfile, _ queue: WorkQueue) async {
        let clock = ContinuousClock()
        let begin = clock.now
        let count = profile.count
        var number = 0
        while number < count {
            let offset = profile.time(of: number)
            let due = begin + .seconds(offset)
            if clock.now < due {
                // Cancelled: no more is sent.
                guard (try? await clock.sleep(until: due, tolerance: .zero)) != nil else { return }
            }
            queue.add(Due(number: number, second: Int(offset), at: due))
            number += 1
        }
    }

    private func work(_ queue: WorkQueue, at server: Server, _ statistics: LoadStatistics) async {
        var connection: KeptConnection?
        var head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: path,
            headers: keepsAlive ? ["host": host] : ["host": host, "connection": "close"])
        while let due = await queue.next() {
            var failure: String?
            do {
                if due.at + .nanoseconds(timeout.nanoseconds) < .now { throw KeptConnection.Failure.timeout }
                if let idle = connection, !idle.isOpen {
                    statistics.reconnected()
                    connection = nil
                }
                let open: KeptConnection
                if let connection {
                    open = connection
                } else {
                    open = try await KeptConnection.open(server, on: .singleton, keepsBodies: observe != nil)
                    connection = open
                }
                if let pathOfRequest { head.uri = pathOfRequest(due.number) }
                let outcome = try await open.send(head, within: timeout)
                observe?(Exchange(number: due.number, server: server, due: due.at, outcome: outcome))
                if outcome.status >= 400 { failure = "status \(outcome.status)" }
                if !outcome.isKept || !keepsAlive {
                    open.close()
                    connection = nil
                }
            } catch {
                failure = Self.words(error, connected: connection != nil)
                connection?.close()
                connection = nil
            }
            let waited = due.at.duration(to: .now)
            statistics.record(
                second: due.second, microseconds: UInt64(max(0, waited / .microseconds(1))), failure: failure)
        }
        connection?.close()
    }

    private static func words(_ error: any Error, connected: Bool) -> String {
        switch error {
        case KeptConnection.Failure.closed: "closed before the answer"
        case KeptConnection.Failure.malformed: "not HTTP"
        case KeptConnection.Failure.timeout: "no answer in time"
        default: connected ? "connection broke: \(error)" : "can't connect"
        }
    }
}

/// A request's turn.
private struct Due: Sendable {
    var number: Int
    var second: Int
    var at: ContinuousClock.Instant
}

/// First come, first served; unbounded, because a request that waits too long fails by itself.
private final class WorkQueue: Sendable {
    private struct State {
        var items: [Due] = []
        var first = 0
        var waiting: [CheckedContinuation<Due?, Never>] = []
        var isFinished = false
    }
    private let state = Mutex(State())

    func add(_ item: Due) {
        let waiter = state.withLock { state -> CheckedContinuation<Due?, Never>? in
            if let waiter = state.waiting.popLast() { return waiter }
            state.items.append(item)
            return nil
        }
        waiter?.resume(returning: item)
    }

    /// - Returns: nil when there will be no more.
    func next() async -> Due? {
        await withCheckedContinuation { continuation in
            let ready = state.withLock { state -> Due?? in
                if state.first < state.items.count {
                    let item = state.items[state.first]
                    state.first += 1
                    if state.first == state.items.count {
                        state.items.removeAll(keepingCapacity: true)
                        state.first = 0
                    }
                    return .some(item)
                }
                if state.isFinished { return .some(nil) }
                state.waiting.append(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    func finish() {
        let waiting = state.withLock { state in
            state.isFinished = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for waiter in waiting { waiter.resume(returning: nil) }
    }
}
