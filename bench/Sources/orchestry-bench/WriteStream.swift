import Foundation
import Measuring
import OrchestryModel
import Synchronization

/// A steady stream of writes: one begins each interval, whether the ones before were answered or not. None is tried
/// again, so that every failure a client would see is seen.
final class WriteStream: Sendable {
    struct Write: Sendable {
        /// By `uptimeNanoseconds`.
        var sentAt: UInt64
        var answeredAt: UInt64
        /// nil: accepted.
        var failure: String?
        var milliseconds: Double { Double(answeredAt - sentAt) / 1e6 }
    }

    private struct State {
        var servers: [Server]
        var writes: [Write] = []
        var unanswered = 0
        var left = 0
        var isStopped = false
    }

    private let app: String
    private let state: Mutex<State>
    /// More unanswered writes than this and the next one is left out, and counted.
    private static let unansweredLimit = 2_000

    init(app: String, servers: [Server]) {
        self.app = app
        state = Mutex(State(servers: servers))
    }

    /// Writes go to these in turn from now on.
    func use(_ servers: [Server]) { state.withLock { $0.servers = servers } }

    /// Answered ones, in the order of their answers.
    var writes: [Write] { state.withLock { $0.writes } }
    /// One line a write, by when each was sent: `sent_ms,latency_ms,accepted`.
    var csv: String {
        let writes = writes.sorted { $0.sentAt < $1.sentAt }
        let begin = writes.first?.sentAt ?? 0
        let lines = writes.map { write in
            String(
                format: "%.3f,%.3f,%d", Double(write.sentAt - begin) / 1e6, write.milliseconds,
                write.failure == nil ? 1 : 0)
        }
        return (["sent_ms,latency_ms,accepted"] + lines).joined(separator: "\n") + "\n"
    }
    /// Writes that were not sent because too many were unanswered.
    var leftOut: Int { state.withLock { $0.left } }

    /// Runs until `stop` or cancelled, and until the last answer is there.
    func run(every interval: Duration) async {
        await withDiscardingTaskGroup { group in
            var next = ContinuousClock.now
            var number = 0
            while let server = nextServer(number) {
                let (current, server) = (number, server)
                if takePlace() { group.addTask { await self.write(current, to: server) } }
                number += 1
                next += interval
                // Cancelled: the bench has failed elsewhere.
                guard (try? await ContinuousClock().sleep(until: next)) != nil else { break }
            }
        }
    }

    func stop() { state.withLock { $0.isStopped = true } }

    private func nextServer(_ number: Int) -> Server? {
        state.withLock { $0.isStopped ? nil : $0.servers[number % $0.servers.count] }
    }

    private func takePlace() -> Bool {
        state.withLock { state in
            guard state.unanswered < Self.unansweredLimit else {
                state.left += 1
                return false
            }
            state.unanswered += 1
            return true
        }
    }

    private func write(_ number: Int, to server: Server) async {
        // Each write changes something: the one before set the other value.
        let request = HTTPRequest(
            .post, "/apps/\(app)/policy", body: ["policy": ["maxReplicas": .int(Int64(2 + number % 2))]],
            idempotencyKey: "\(app)-\(number)")
        let sentAt = uptimeNanoseconds()
        var failure: String?
        do {
            let answer = try await request.send(to: server)
            if !(200..<300).contains(answer.status) {
                failure = "\(answer.status) \(answer.body?["title"]?.stringValue ?? "")"
            }
        } catch {
            failure = "\(error)"
        }
        let write = Write(sentAt: sentAt, answeredAt: uptimeNanoseconds(), failure: failure)
        state.withLock { state in
            state.writes.append(write)
            state.unanswered -= 1
        }
    }
}
