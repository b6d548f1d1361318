import Foundation
import Glibc
import Logging
import Synchronization

/// Structured logs: one JSON object a line on standard error, with `time`, `level`, `message`, the logger's metadata as
/// members, and nothing that needs parsing. `text` is for a person at a terminal.
package struct JSONLogHandler: LogHandler {
    package enum Format: Sendable { case json, text }

    package var metadata: Logger.Metadata = [:]
    /// One for the process: setting it for one logger has no effect.
    package var logLevel: Logger.Level {
        get { Logger.Level.allCases[Self.level.load(ordering: .relaxed)] }
        set {}
    }
    /// A place among all levels.
    private static let level = Atomic(Logger.Level.allCases.firstIndex(of: .info) ?? 0)
    private let label: String
    private let format: Format
    /// Held while a line is written, so that lines stay whole.
    private static let output = Mutex(())

    package init(label: String, format: Format) {
        self.label = label
        self.format = format
    }

    /// For all loggers, from now on. What is not a level changes nothing.
    package static func setLevel(_ name: String) {
        guard let level = Logger.Level.allCases.firstIndex(where: { $0.rawValue == name }) else { return }
        self.level.store(level, ordering: .relaxed)
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
        Self.output.withLock { _ in Self.write(line + "\n") }
    }

    /// A full disk, or nobody who reads: then the line is lost, and the node goes on.
    private static func write(_ line: String) {
        var bytes = Array(line.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if written > 0 { bytes = bytes.dropFirst(written) } else if errno != EINTR { return }
        }
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
