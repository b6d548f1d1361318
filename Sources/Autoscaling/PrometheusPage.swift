/// Reads single values out of a page in Prometheus' text format 0.0.4. Lines that are something else are passed over:
/// whoever writes the page writes it for others too.
public struct PrometheusPage {
    private let text: String.UTF8View

    public init(_ text: String) { self.text = text.utf8 }

    /// The sum of all lines of a metric that have certain labels (and perhaps more).
    /// - Returns: nil when no line has, or the sum is not finite.
    public func value(of metric: String, labels: [String: String]) -> Double? {
        let name = Array(metric.utf8)
        var sum: Double?
        for line in text.split(separator: 0x0A) where line.first != UInt8(ascii: "#") {
            var rest = line.drop { $0 == 0x20 || $0 == 0x09 }
            guard rest.starts(with: name) else { continue }
            rest = rest.dropFirst(name.count)
            guard let next = rest.first, next == UInt8(ascii: "{") || next == 0x20 || next == 0x09 else { continue }
            var found: [String: String] = [:]
            if next == UInt8(ascii: "{") {
                guard let (pairs, after) = Self.labels(rest.dropFirst()) else { continue }
                found = pairs
                rest = after
            }
            guard labels.allSatisfy({ found[$0.key] == $0.value }), let value = Self.number(rest) else { continue }
            sum = (sum ?? 0) + value
        }
        return sum.flatMap { $0.isFinite ? $0 : nil }
    }

    private static func number(_ text: Substring.UTF8View) -> Double? {
        // A timestamp may follow.
        let word = text.drop { $0 == 0x20 || $0 == 0x09 }.prefix { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }
        return Double(String(decoding: word, as: UTF8.self))
    }

    /// - Parameter text: after the opening brace.
    /// - Returns: the labels and what follows the closing brace; nil when it is not such a list.
    private static func labels(_ text: Substring.UTF8View) -> ([String: String], Substring.UTF8View)? {
        var rest = text
        var labels: [String: String] = [:]
        func skip() { rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == UInt8(ascii: ",") } }
        while true {
            skip()
            guard let next = rest.first else { return nil }
            if next == UInt8(ascii: "}") { return (labels, rest.dropFirst()) }
            let name = rest.prefix { $0 != UInt8(ascii: "=") && $0 != 0x20 && $0 != UInt8(ascii: "}") }
            rest = rest.dropFirst(name.count).drop { $0 == 0x20 }
            guard !name.isEmpty, rest.first == UInt8(ascii: "=") else { return nil }
            rest = rest.dropFirst().drop { $0 == 0x20 }
            guard rest.first == UInt8(ascii: "\"") else { return nil }
            rest = rest.dropFirst()
            var value: [UInt8] = []
            while let byte = rest.first, byte != UInt8(ascii: "\"") {
                rest = rest.dropFirst()
                guard byte == UInt8(ascii: "\\") else {
                    value.append(byte)
                    continue
                }
                guard let escaped = rest.first else { return nil }
                value.append(escaped == UInt8(ascii: "n") ? 0x0A : escaped)
                rest = rest.dropFirst()
            }
            guard rest.first == UInt8(ascii: "\"") else { return nil }
            rest = rest.dropFirst()
            labels[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
        }
    }
}
