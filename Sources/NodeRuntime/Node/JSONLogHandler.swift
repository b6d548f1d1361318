import Foundation
import Logging
import Synchronization

/// Structured logs: one JSON object a line on standard error, with `time`, `level`, `message`, the logger's metadata as
/// members, and nothing that needs parsing. `text` is for a person at a terminal.
package struct JSONLogHandler: LogHandler {
    package enum Format: Sendable { case json, text }

    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let label: String
    private let format: Format
    private static let output = Mutex(FileHandle.standardError)

    package init(label: String, level: Logger.Level, format: Format) {
        self.label = label
        self.logLevel = level
        self.format = format
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var facts = metadata
        if let extra = event.metadata { facts.merge(extra) { _, new in new } }
        let time = Date().formatted(.iso8601.year().month().day().time(includingFractionalSeconds: true))
        let line =
            switch format {
            case .json: jsonLine(event, facts: facts, time: time)
            case .text: textLine(event, facts: facts, time: time)
            }
        Self.output.withLock { $0.write(Data((line + "\n").utf8)) }
    }

    private func jsonLine(_ event: LogEvent, facts: Logger.Metadata, time: String) -> String {
        var members = [
            "\"time\":\(quote(time))", "\"level\":\"\(event.level)\"", "\"message\":\(quote("\(event.message)"))",
        ]
        members.append("\"logger\":\(quote(label))")
        for (key, value) in facts.sorted(by: { $0.key < $1.key }) {
            members.append("\(quote(key)):\(quote("\(value)"))")
        }
        return "{" + members.joined(separator: ",") + "}"
    }

    private func textLine(_ event: LogEvent, facts: Logger.Metadata, time: String) -> String {
        let rest = facts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        return "\(time) \("\(event.level)".uppercased()) \(event.message)\(rest.isEmpty ? "" : "  ")\(rest)"
    }

    private func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20: result += "\\u" + String(format: "%04x", scalar.value)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
