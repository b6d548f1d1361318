import Foundation
import Measuring

/// As many requests as a server answers: by `wrk` where it is installed, which needs less processor time per request,
/// else by the bench's own closed loop.
struct Saturation: Sendable {
    struct Result: Sendable {
        var requests: Double
        var requestsPerSecond: Double
        /// Milliseconds, without those who would have come meanwhile.
        var p50: Double?
        var p99: Double?
        var p999: Double?
        var max: Double?
        var failures: Double
    }
    var connections: Int
    var hasWrk: Bool

    static func find(connections: Int) async -> Saturation {
        // It fails where there is none.
        let hasWrk = (try? await Measuring.run(["sh", "-c", "command -v wrk"])) != nil
        return Saturation(connections: connections, hasWrk: hasWrk)
    }

    var words: String { hasWrk ? "wrk" : "the bench's closed loop" }

    /// - Parameter host: the `Host` header; nil: the server's own.
    func run(_ server: Server, _ path: String, host: String? = nil, for seconds: Int) async throws -> Result {
        guard hasWrk else {
            let loop = ClosedLoop(servers: [server], host: host, path: path, connections: connections)
            let outcome = await loop.run(for: .seconds(seconds))
            let times = Summary(outcome.milliseconds)
            return Result(
                requests: Double(outcome.requests), requestsPerSecond: outcome.perSecond, p50: times?.p50,
                p99: times?.p99, max: times?.max, failures: Double(outcome.failed))
        }
        let header = host.map { ["-H", "Host: \($0)"] } ?? []
        let script = FileManager.default.temporaryDirectory.appending(path: "orchestry-bench-\(UUID().uuidString).lua")
        try Data(WrkOutput.script.utf8).write(to: script)
        // What can't be removed lies in the system's folder for such things.
        defer { try? FileManager.default.removeItem(at: script) }
        let text = try await Measuring.run(
            ["wrk", "-t1", "-c\(connections)", "-d\(seconds)s", "--latency", "-s", script.path(percentEncoded: false)]
                + header + ["\(server)\(path)"])
        guard let output = WrkOutput(text) else { throw BenchFailure("wrk said no result: \(text)") }
        return Result(
            requests: output.requests, requestsPerSecond: output.requestsPerSecond, p50: output.p50, p99: output.p99,
            p999: output.p999, max: output.max, failures: output.failures)
    }
}
