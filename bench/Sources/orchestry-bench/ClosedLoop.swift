import Measuring
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Each connection sends its next request when the last was answered: for throughput. Its latencies leave out those who
/// would have come meanwhile, as every such generator's do; `LoadGenerator` is the one for latencies.
struct ClosedLoop: Sendable {
    var servers: [Server]
    /// The `Host` header; nil: the server's own.
    var host: String?
    var path: String
    var connections = 32
    var timeout = TimeAmount.seconds(10)

    struct Result: Sendable {
        var requests = 0
        /// Without a whole answer below 400.
        var failed = 0
        var seconds = 0.0
        /// Of those that did not fail, from the sending.
        var milliseconds: [Double] = []
        var perSecond: Double { Double(requests - failed) / max(seconds, 1e-9) }
    }

    func run(for duration: Duration) async -> Result {
        let begin = ContinuousClock.now
        let end = begin + duration
        var total = await withTaskGroup(of: Result.self) { group in
            for number in 0..<connections {
                let server = servers[number % servers.count]
                group.addTask { await work(at: server, until: end) }
            }
            return await group.reduce(into: Result()) { sum, part in
                sum.requests += part.requests
                sum.failed += part.failed
                sum.milliseconds += part.milliseconds
            }
        }
        total.seconds = (ContinuousClock.now - begin) / .seconds(1)
        return total
    }

    private func work(at server: Server, until end: ContinuousClock.Instant) async -> Result {
        var result = Result()
        var connection: KeptConnection?
        let head = HTTPRequestHead.get(path, host: host ?? "\(server.host):\(server.port)")
        while ContinuousClock.now < end, !Task.isCancelled {
            let sent = ContinuousClock.now
            do {
                if connection?.isOpen != true { connection = try await KeptConnection.open(server, on: .singleton) }
                guard let open = connection else { continue }
                let outcome = try await open.send(head, within: timeout)
                result.requests += 1
                if outcome.status >= 400 {
                    result.failed += 1
                } else {
                    result.milliseconds.append((ContinuousClock.now - sent) / .milliseconds(1))
                }
                if !outcome.isKept {
                    open.close()
                    connection = nil
                }
            } catch {
                result.requests += 1
                result.failed += 1
                connection?.close()
                connection = nil
            }
        }
        connection?.close()
        return result
    }
}
