import Foundation
import Measuring
import OrchestryModel
import Synchronization

/// A steady stream of requests: one begins each interval, whether the ones before were answered or not. None is tried
/// again, so that every failure a client would see is seen.
final class RequestStream: Sendable {
    struct Sent: Sendable {
        /// By `uptimeNanoseconds`.
        var sentAt: UInt64
        var answeredAt: UInt64
        /// nil: accepted.
        var failure: String?
        var milliseconds: Double { Double(answeredAt - sentAt) / 1e6 }
    }

    private struct State {
        var servers: [Server]
        var requests: [Sent] = []
        var unanswered = 0
        var left = 0
        var isStopped = false
    }

    private let make: @Sendable (Int) -> HTTPRequest
    private let state: Mutex<State>
    /// More unanswered requests than this and the next one is left out, and counted.
    private static let unansweredLimit = 2_000

    /// - Parameter make: the request with this number, from 0.
    init(to servers: [Server], _ make: @escaping @Sendable (Int) -> HTTPRequest) {
        self.make = make
        state = Mutex(State(servers: servers))
    }

    /// Requests go to these in turn from now on.
    func use(_ servers: [Server]) { state.withLock { $0.servers = servers } }

    /// Answered ones, in the order of their answers.
    var requests: [Sent] { state.withLock { $0.requests } }
    /// Requests that were not sent because too many were unanswered.
    var leftOut: Int { state.withLock { $0.left } }

    /// Runs until `stop` or cancelled, and until the last answer is there.
    func run(every interval: Duration) async {
        await withDiscardingTaskGroup { group in
            var next = ContinuousClock.now
            var number = 0
            while let server = nextServer(number) {
                let (current, server) = (number, server)
                if takePlace() { group.addTask { await self.send(current, to: server) } }
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

    private func send(_ number: Int, to server: Server) async {
        let request = make(number)
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
        let sent = Sent(sentAt: sentAt, answeredAt: uptimeNanoseconds(), failure: failure)
        state.withLock { state in
            state.requests.append(sent)
            state.unanswered -= 1
        }
    }
}
