import Foundation
import OrchestryModel

/// The user's file with the server to ask, at the place and in the form the original's CLI uses:
/// `~/.config/orchestry/config.yaml` (or under `XDG_CONFIG_HOME`) with `host` and `port`.
struct UserConfiguration {
    var host: String
    var port: Int

    var server: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    static var path: String {
        let environment = ProcessInfo.processInfo.environment
        let base =
            environment["XDG_CONFIG_HOME"].flatMap { $0.isEmpty ? nil : $0 }
            ?? "\(environment["HOME"] ?? NSHomeDirectory())/.config"
        return "\(base)/orchestry/config.yaml"
    }

    /// nil: there is no file.
    static func load() throws -> UserConfiguration? {
        guard let content = try documentIfPresent() else { return nil }
        // A file of contexts alone.
        if content["host"] == nil, content["port"] == nil { return nil }
        // The original stores what was typed, so the port may be a string.
        guard let host = content["host"]?.stringValue, !host.isEmpty,
            let port = content["port"]?.intValue ?? content["port"]?.stringValue.flatMap({ Int($0) }),
            (1...65_535).contains(port)
        else {
            throw CommandFailure.usage(
                "\(path) must have host and port. Write it anew: orchestry config set --host HOST --port PORT")
        }
        return UserConfiguration(host: host, port: port)
    }

    /// Writes host and port; whatever else the file has stays.
    func save() throws {
        var members = (try? Self.document().objectValue) ?? [:]  // An unreadable file is what `set` is there to mend.
        members["host"] = .string(host)
        members["port"] = JSONValue(port)
        try Self.write(members)
    }

    /// Writes the whole file.
    static func write(_ members: [String: JSONValue]) throws {
        do {
            try FileManager.default.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try YAMLText.write(.object(members)).write(toFile: path, atomically: true, encoding: .utf8)
        } catch {
            throw CommandFailure.local("\(path) cannot be written: \(error.localizedDescription)")
        }
    }

    /// nil: there is no file.
    static func documentIfPresent() throws -> JSONValue? {
        FileManager.default.fileExists(atPath: path) ? try document() : nil
    }

    private static func document() throws -> JSONValue {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandFailure.usage("\(path) cannot be read")
        }
        return try YAMLText.read(text, from: path)
    }
}
