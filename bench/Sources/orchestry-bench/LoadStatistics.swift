import Measuring
import OrchestryModel
import Synchronization

/// What became of requests, by the second in which each was *to be* sent.
final class LoadStatistics: Sendable {
    struct Second: Sendable {
        var sent = 0
        var failures: [String: Int] = [:]
        var latencies = LatencyHistogram()
        var failed: Int { failures.values.reduce(0, +) }

        mutating func merge(_ other: Second) {
            sent += other.sent
            failures.merge(other.failures, uniquingKeysWith: +)
            latencies.merge(other.latencies)
        }
    }

    private struct State {
        var seconds: [Second] = []
        var reconnects = 0
    }
    private let state = Mutex(State())

    /// - Parameters:
    ///   - second: since the beginning.
    ///   - microseconds: from the time at which it was to be sent, to the end of its answer.
    ///   - failure: nil: it was answered with a status below 400.
    func record(second: Int, microseconds: UInt64, failure: String?) {
        state.withLock { state in
            while state.seconds.count <= second { state.seconds.append(Second()) }
            state.seconds[second].sent += 1
            if let failure {
                state.seconds[second].failures[failure, default: 0] += 1
            } else {
                state.seconds[second].latencies.record(microseconds: microseconds)
            }
        }
    }

    func reconnected() { state.withLock { $0.reconnects += 1 } }

    var seconds: [Second] { state.withLock { $0.seconds } }
    /// Connections that the server closed between two requests.
    var reconnects: Int { state.withLock { $0.reconnects } }

    var total: Second {
        seconds.reduce(into: Second()) { $0.merge($1) }
    }

    /// Requests, failures and latencies by second, as charts.
    var svg: String {
        let seconds = seconds
        func line(_ name: String, _ value: (Second) -> Double?) -> LineChart.Line {
            LineChart.Line(
                name,
                seconds.enumerated().compactMap { number, second in
                    value(second).map { LineChart.Point(x: Double(number), y: $0) }
                })
        }
        return LineChart.document([
            LineChart(
                "requests per second", xLabel: "s",
                lines: [line("sent") { Double($0.sent) }, line("failed") { Double($0.failed) }]),
            LineChart(
                "milliseconds from the time to be sent", xLabel: "s",
                lines: [("p50", 0.5), ("p99", 0.99), ("max", 1)].map { name, fraction in
                    line(name) { $0.latencies.percentileMilliseconds(fraction) }
                }),
        ])
    }

    /// One line a second: `second,sent,failed,p50_ms,p99_ms,max_ms`.
    var csv: String {
        var lines = ["second,sent,failed,p50_ms,p99_ms,max_ms"]
        for (number, second) in seconds.enumerated() {
            let figures = [0.5, 0.99, 1].map { fraction in
                second.latencies.percentileMilliseconds(fraction).map { Report.format($0).replacing(",", with: "") }
                    ?? ""
            }
            lines.append(
                ([String(number), String(second.sent), String(second.failed)] + figures).joined(separator: ","))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension LoadStatistics.Second {
    static let columns = ["sent", "failed", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms"]
    /// In the order of `columns`.
    var values: [Double?] {
        [Double(sent), Double(failed)] + [0.5, 0.95, 0.99, 0.999, 1].map(latencies.percentileMilliseconds)
    }

    var failureNotes: [String] {
        failures.sorted { $0.key < $1.key }.map { "\($0.value) failed: \($0.key)" }
    }
}
