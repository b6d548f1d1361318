import OrchestryModel

/// How many requests wait for the first instance of which app, as nginx tells it.
package enum HeldCounts {
    /// Reads what `GET /held` answers; the format is described in `orchestry_admin.lua`.
    /// - Returns: sorted by app; nil when it is another format, or not whole.
    package static func parse(_ text: some StringProtocol) -> [HeldRequests.Waiting]? {
        let lines = text.split(separator: "\n")
        guard lines.first == "held 1", lines.count >= 2, lines.last == "end" else { return nil }
        var waiting: [HeldRequests.Waiting] = []
        for line in lines.dropFirst().dropLast() {
            let words = line.split(separator: " ")
            guard words.count == 2, let app = AppName(rawValue: String(words[0])), let requests = UInt64(words[1]),
                requests > 0
            else { return nil }
            waiting.append(HeldRequests.Waiting(app: app, requests: requests))
        }
        return waiting.sorted { $0.app < $1.app }
    }
}
