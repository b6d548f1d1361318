import ArgumentParser
import Foundation
import OrchestryModel

/// What every command that talks to the cluster takes.
struct GlobalOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Servers to ask, separated by commas: each is tried in turn.",
            discussion:
                "Else --context, ORCHESTRY_SERVER, ORCHESTRY_CONTEXT, the configuration file, http://127.0.0.1:8000.",
            valueName: "url"))
    var server: String?

    @Option(
        name: .long, help: "The cluster to ask, by its name in the configuration file (orchestry context).",
        completion: .contexts)
    var context: String?

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

    @Option(name: .shortAndLong, help: "How to print the answer: table, wide (more columns), json or yaml.")
    var output: OutputFormat = .table

    @Option(name: .long, help: "Seconds to keep trying while no server can take the request.")
    var timeout: Double = 10

    func validate() throws {
        guard server == nil || context == nil else {
            throw ArgumentParser.ValidationError("--server and --context: give one of them")
        }
        guard timeout >= 0, timeout <= 86_400 else {
            throw ArgumentParser.ValidationError("--timeout must be 0 to 86400 seconds")
        }
    }

    /// Runs `body` with a client for the servers these options name.
    func withClient<Value>(_ body: (APIClient) async throws -> Value) async throws -> Value {
        let target = try target()
        // A token in the environment comes before a stored one.
        let hasToken = !(ProcessInfo.processInfo.environment["ORCHESTRY_TOKEN"] ?? "").isEmpty
        let credentials = try Credentials(
            tokenFile: tokenFile ?? (hasToken ? nil : target.tokenFile), authorities: ca ?? target.ca,
            for: target.servers)
        let client = try APIClient(
            servers: target.servers, patience: .milliseconds(Int64(timeout * 1_000)), credentials: credentials)
        do {
            let value = try await body(client)
            await client.shutdown()
            return value
        } catch {
            await client.shutdown()
            throw error
        }
    }

    /// Asks, and prints the answer.
    /// - Parameter table: as `Output.show` takes it.
    func show(_ ask: (APIClient) async throws -> JSONValue, table: (JSONValue) -> String) async throws {
        try await withClient { Output.show(try await ask($0), as: output, table: table) }
    }

    /// Base URLs without a slash at the end; never empty.
    func servers() throws -> [String] { try target().servers }

    /// What is typed comes before the environment, and that before the configuration file.
    private func target() throws -> Contexts.Context {
        func given(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
        let environment = ProcessInfo.processInfo.environment
        if let server = given(server) { return Contexts.Context(servers: try Self.baseURLs(server)) }
        if let context = given(context) { return try Contexts.load().named(context) }
        if let named = given(environment["ORCHESTRY_SERVER"]) {
            return Contexts.Context(servers: try Self.baseURLs(named))
        }
        let contexts = try Contexts.load()
        if let name = given(environment["ORCHESTRY_CONTEXT"]) ?? contexts.current { return try contexts.named(name) }
        return Contexts.Context(servers: [try UserConfiguration.load()?.server ?? "http://127.0.0.1:8000"])
    }

    /// - Parameter text: separated by commas.
    static func baseURLs(_ text: String) throws -> [String] {
        let servers = try text.split(separator: ",").map { try baseURL($0.trimmingCharacters(in: .whitespaces)) }
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
    case table, wide, json, yaml
}
