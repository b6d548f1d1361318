/// What `wrk --latency` prints (github.com/wg/wrk, 4.x), as far as it is used.
package struct WrkOutput: Hashable, Sendable {
    package var requests: Double
    package var requestsPerSecond: Double
    /// Milliseconds; nil: printed without `--latency`.
    package var p50: Double?
    package var p99: Double?
    /// What `script` prints; nil: run without it.
    package var p999: Double?
    package var max: Double?
    /// A script for `wrk -s` that adds a line with two more figures, in microseconds.
    package static let script = """
        done = function(summary, latency, requests)
            io.write(string.format("tail %.0f %.0f\\n", latency:percentile(99.9), latency.max))
        end
        """
    /// Answers other than 2xx and 3xx, and broken connections: connect, read, write, timeout.
    package var failures: Double

    /// - Returns: nil when the text has no result in it.
    package init?(_ text: String) {
        var requests: Double?
        var rate: Double?
        failures = 0
        for line in text.split(separator: "\n") {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "," })
            if words.count >= 4, words[1] == "requests", words[2] == "in" { requests = Double(words[0]) }
            if words.first == "Requests/sec:" { rate = words.dropFirst().first.flatMap { Double($0) } }
            if words.first == "50%" { p50 = words.dropFirst().first.flatMap(Self.milliseconds) }
            if words.first == "99%" { p99 = words.dropFirst().first.flatMap(Self.milliseconds) }
            if words.count == 3, words[0] == "tail" {
                p999 = Double(words[1]).map { $0 / 1_000 }
                max = Double(words[2]).map { $0 / 1_000 }
            }
            if line.contains("Non-2xx") { failures += words.last.flatMap { Double($0) } ?? 0 }
            if line.contains("Socket errors") { failures += words.compactMap { Double($0) }.reduce(0, +) }
        }
        guard let requests, let rate else { return nil }
        self.requests = requests
        requestsPerSecond = rate
    }

    static func milliseconds(_ text: some StringProtocol) -> Double? {
        for (unit, factor) in [("us", 0.001), ("ms", 1), ("s", 1000), ("m", 60_000)] where text.hasSuffix(unit) {
            return Double(text.dropLast(unit.count)).map { $0 * factor }
        }
        return nil
    }
}
