/// Which form of `GET /metrics` an `Accept` header asks for (RFC 9110 §12.5.1).
enum ContentNegotiation {
    /// True when the header names Prometheus' text formats and prefers them to JSON. `*/*` or no header means JSON,
    /// which is what the original sends; equal preference too, because browsers' libraries send
    /// `application/json, text/plain, */*`.
    static func prefersPrometheus(_ accept: String?) -> Bool {
        var json = 0.0
        var text = 0.0
        for range in (accept ?? "").lowercased().split(separator: ",") {
            let parts = range.split(separator: ";").map { trimmed($0) }
            guard let type = parts.first else { continue }
            let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.flatMap { Double($0.dropFirst(2)) } ?? 1
            guard weight.isFinite else { continue }
            switch type {
            case "application/json": json = max(json, weight)
            case "text/plain", "application/openmetrics-text": text = max(text, weight)
            default: break
            }
        }
        return text > json
    }

    private static func trimmed(_ text: Substring) -> String {
        let start = text.firstIndex { !$0.isWhitespace } ?? text.endIndex
        let end = text.lastIndex { !$0.isWhitespace }.map { text.index(after: $0) } ?? start
        return String(text[start..<end])
    }
}
