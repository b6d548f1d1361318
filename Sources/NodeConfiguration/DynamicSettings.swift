/// Settings that may be changed while nodes run, for all of them at once (`PATCH /settings`); until then each node's own
/// configuration counts.
package struct DynamicSettings: Sendable, Hashable {
    package static let names = [
        "api.leader_wait", "log.level", "node.dead_after", "retention.events_days", "retention.metrics_days",
    ]

    package var leaderWait: Duration
    package var logLevel: String
    package var deadAfter: Duration
    /// Days.
    package var eventsDays: Int
    package var metricsDays: Int

    init(reading reader: inout ConfigurationReader) {
        deadAfter = reader.duration("node.dead_after", in: .seconds(1) ... .seconds(3600))
        leaderWait = reader.duration("api.leader_wait", in: .zero ... .seconds(60))
        eventsDays = reader.integer("retention.events_days", in: 1...3_650)
        metricsDays = reader.integer("retention.metrics_days", in: 1...3_650)
        logLevel = reader.choice(
            "log.level", ["trace", "debug", "info", "notice", "warning", "error", "critical"])
    }
}

extension NodeConfiguration {
    /// This node's configuration with what is set at run time over it.
    /// - Parameter stored: texts by name, as a file would have them. What is no runtime setting, or no value for it, changes
    ///   nothing.
    /// - Returns: the settings, and what is wrong with `stored`, by name.
    package func dynamic(
        with stored: [String: String]
    ) -> (settings: DynamicSettings, problems: [(name: String, rule: String)]) {
        var good: [String: String] = [:]
        var problems: [(name: String, rule: String)] = []
        for (name, text) in stored.sorted(by: { $0.key < $1.key }) {
            guard DynamicSettings.names.contains(name) else {
                problems.append(
                    (name, "is not a runtime setting; there are \(DynamicSettings.names.joined(separator: ", "))"))
                continue
            }
            var reader = ConfigurationReader(layers: layers.overlaid(with: [name: text]))
            _ = DynamicSettings(reading: &reader)
            if let problem = reader.problems.first {
                problems.append((name, String(problem.trimmingPrefix(reader.origin(name) + " "))))
            } else {
                good[name] = text
            }
        }
        var reader = ConfigurationReader(layers: layers.overlaid(with: good))
        return (DynamicSettings(reading: &reader), problems)
    }

    /// A setting's text in this node's own configuration.
    package func text(of name: String) -> String { layers.entries[name]?.text ?? "" }

    /// Where that text comes from: `ConfigurationEntry.source`.
    package func source(of name: String) -> String { layers.entries[name]?.source ?? "default" }
}
