import Foundation

/// How many requests a second to send, over time, as parts one after the other.
package struct RateProfile: Hashable, Sendable {
    /// From `start` to `end` requests per second, evenly changing, for `seconds`.
    package struct Part: Hashable, Sendable {
        package var start: Double
        package var end: Double
        package var seconds: Double
        /// Requests of the whole part.
        var count: Double { (start + end) / 2 * seconds }
    }

    package var parts: [Part]

    package init(constant rate: Double, seconds: Double) {
        parts = [Part(start: rate, end: rate, seconds: seconds)]
    }

    /// - Parameter steps: requests per second and seconds, each above 0.
    package init(steps: [(rate: Double, seconds: Double)]) {
        parts = steps.map { Part(start: $0.rate, end: $0.rate, seconds: $0.seconds) }
    }

    /// - Parameter text: parts separated by commas: `RATExSECONDS`, or `FROM-TOxSECONDS` for a ramp, each with `N*`
    ///   before it for as many in a row: `10*5-200x6` is a saw-tooth.
    /// - Returns: nil for anything else, for negative numbers, for no request at all, and for more than a million parts.
    package init?(_ text: String) {
        parts = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let factors = part.split(separator: "*", omittingEmptySubsequences: false)
            guard (1...2).contains(factors.count), let last = factors.last, let part = Self.part(last),
                let number = factors.count == 1 ? 1 : Int(factors[0]), number > 0,
                number <= Self.mostParts - parts.count
            else { return nil }
            parts += Array(repeating: part, count: number)
        }
        guard count > 0 else { return nil }
    }

    /// - Parameter text: a file's, with a part or several on each line, and comments from `#` on.
    /// - Returns: nil as for one line.
    package init?(file text: String) {
        let lines = text.split(separator: "\n").map { line in
            String(line.prefix { $0 != "#" }).trimmingCharacters(in: .whitespaces)
        }
        self.init(lines.filter { !$0.isEmpty }.joined(separator: ","))
    }

    private static let mostParts = 1_000_000

    private static func part(_ text: Substring) -> Part? {
        let sides = text.split(separator: "x", omittingEmptySubsequences: false)
        guard sides.count == 2, let seconds = Double(sides[1]), seconds > 0, seconds.isFinite else { return nil }
        let rates = sides[0].split(separator: "-", omittingEmptySubsequences: false).map { Double($0) }
        guard (1...2).contains(rates.count), let start = rates[0], let end = rates[rates.count - 1],
            start >= 0, end >= 0, start.isFinite, end.isFinite
        else { return nil }
        return Part(start: start, end: end, seconds: seconds)
    }

    /// Seconds.
    package var duration: Double { parts.reduce(0) { $0 + $1.seconds } }

    /// All requests.
    package var count: Int { Int(parts.reduce(0) { $0 + $1.count }.rounded()) }

    /// When the request with this number is to be sent, in seconds from the beginning.
    /// - Parameter number: 0..<count.
    package func time(of number: Int) -> Double {
        var left = Double(number)
        var begins = 0.0
        for part in parts {
            guard left >= part.count else { return begins + Self.time(of: left, in: part) }
            left -= part.count
            begins += part.seconds
        }
        return begins
    }

    /// The solution of `start·t + (end − start)/(2·seconds)·t² = number`.
    private static func time(of number: Double, in part: Part) -> Double {
        let slope = (part.end - part.start) / part.seconds
        if abs(slope) < 1e-9 { return part.start > 0 ? number / part.start : 0 }
        let root = max(part.start * part.start + 2 * slope * number, 0).squareRoot()
        return (root - part.start) / slope
    }
}
