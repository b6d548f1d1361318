import ArgumentParser
import Foundation

/// What every command that talks to the cluster takes.
struct GlobalOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Servers to ask, separated by commas: each is tried in turn.",
            discussion: "Else ORCHESTRY_SERVER, else the configuration file, else http://127.0.0.1:8000.",
            valueName: "url"))
    var server: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "File with the token to show.",
            discussion: "Else ORCHESTRY_TOKEN, else the configuration file's, which goes to its own server only.",
            valueName: "file"))
    var tokenFile: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "PEM file with the authorities to trust for https, instead of the system's.", valueName: "file"))
    var ca: String?

    @Option(name: .shortAndLong, help: "How to print the answer: table, json or yaml.")
    var output: OutputFormat = .table

    @Option(name: .long, help: "Seconds to keep trying while no server can take the request.")
    var timeout: Double = 10

    func validate() throws {
        guard timeout >= 0, timeout <= 86_400 else { throw ValidationError("--timeout must be 0 to 86400 seconds") }
    }

    /// Runs `body` with a client for the servers these options name.
    func withClient<Value>(_ body: (APIClient) async throws -> Value) async throws -> Value {
        let servers = try servers()
        let credentials = try Credentials(tokenFile: tokenFile, authorities: ca, for: servers)
        let client = try APIClient(
            servers: servers, patience: .milliseconds(Int64(timeout * 1_000)), credentials: credentials)
        do {
            let value = try await body(client)
            await client.shutdown()
            return value
        } catch {
            await client.shutdown()
            throw error
        }
    }

    /// Base URLs without a slash at the end; never empty.
    func servers() throws -> [String] {
        let named = [server, ProcessInfo.processInfo.environment["ORCHESTRY_SERVER"]].compactMap { $0 }.first {
            !$0.isEmpty
        }
        guard let named else { return [try UserConfiguration.load()?.server ?? "http://127.0.0.1:8000"] }
        let servers = try named.split(separator: ",").map {
            try Self.baseURL($0.trimmingCharacters(in: .whitespaces))
        }
        guard !servers.isEmpty else { throw CommandFailure.usage("--server names no server") }
        return servers
    }

    /// - Throws: `CommandFailure.usage` unless `text` is `[http[s]://]host[:port][/]`.
    static func baseURL(_ text: String) throws -> String {
        let full = text.contains("://") ? text : "http://\(text)"
        guard let url = URLComponents(string: full), let scheme = url.scheme, ["http", "https"].contains(scheme),
            let host = url.host, !host.isEmpty, url.query == nil, url.port.map({ (1...65_535).contains($0) }) ?? true
        else { throw CommandFailure.usage("'\(text)' is not a server's address such as http://10.0.0.1:8000") }
        return full.hasSuffix("/") ? String(full.dropLast()) : full
    }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json, yaml
}
