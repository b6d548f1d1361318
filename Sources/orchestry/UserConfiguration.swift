import Foundation
import OrchestryModel
import SecretSealing

/// The user's file with the server to ask, at the place and in the form the original's CLI uses:
/// `~/.config/orchestry/config.yaml` (or under `XDG_CONFIG_HOME`) with `host` and `port`; ours beside them: `scheme`, `ca`
/// and `token`.
struct UserConfiguration {
    var host: String
    var port: Int
    var isSecure = false
    /// Path of the authorities to trust; nil: the system's.
    var ca: String?
    /// Goes to this server only.
    var token: String?

    var server: String { "\(isSecure ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

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
        let token = content["token"]?.stringValue
        if token != nil {
            do throws(PrivateFile.Failure) { _ = try PrivateFile.read(path) } catch {
                throw CommandFailure.usage("it holds a token, and \(error)")
            }
        }
        return UserConfiguration(
            host: host, port: port, isSecure: content["scheme"] == "https", ca: content["ca"]?.stringValue, token: token
        )
    }

    /// Writes host and port; whatever else the file has stays.
    func save() throws {
        var members = (try? Self.document().objectValue) ?? [:]  // An unreadable file is what `set` is there to mend.
        members["host"] = .string(host)
        members["port"] = JSONValue(port)
        members["scheme"] = "https"
        if !isSecure { members.removeValue(forKey: "scheme") }
        members["ca"] = ca.map { .string($0) }
        members["token"] = token.map { .string($0) }
        try Self.write(members)
    }

    /// Writes the whole file.
    static func write(_ members: [String: JSONValue]) throws {
        do {
            try FileManager.default.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try PrivateFile.replace(path, YAMLText.write(.object(members)))
        } catch let failure as PrivateFile.Failure {
            throw CommandFailure.local(failure.description)
        } catch {
            throw CommandFailure.local("\(path) cannot be written: \(error.localizedDescription)")
        }
    }

    /// Says so when a variable comes before what a command has just stored: it would have no effect.
    /// - Parameter names: of the variables that do.
    static func warn(of names: String...) {
        for name in names where !ProcessInfo.processInfo.environment[name, default: ""].isEmpty {
            Output.complain("But \(name) is set here and comes first: unset \(name)")
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
