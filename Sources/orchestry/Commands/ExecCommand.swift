import ArgumentParser
import Foundation
import OrchestryModel

struct Exec: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec",
        abstract: "Run a command in an instance of an app, on whatever node it is.",
        discussion: """
            Ends with the command's own exit code; 125: it could not be run, or the connection was lost (standard error says \
            which). Without -t standard output and standard error stay apart. What you type after -- is in the audit trail.
            """)
    /// As `docker exec`: no exit code that the command itself is likely to have.
    static let ownFailure: Int32 = 125

    @Argument(help: "The app (any of its ready instances), or an instance.", completion: .apps) var name: String
    @Option(help: "This instance of the app.") var instance: String?
    @Flag(name: [.customShort("i"), .customLong("stdin")], help: "Pass standard input on.") var passesInput = false
    @Flag(name: [.customShort("t"), .customLong("tty")], help: "Give the command a terminal, of this one's size.")
    var wantsTerminal = false
    @OptionGroup var options: GlobalOptions
    @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.") var command: [String] = []

    func validate() throws {
        guard !command.isEmpty else {
            throw ArgumentParser.ValidationError("name the command after --, as in: orchestry exec \(name) -- ls /")
        }
        guard !wantsTerminal || !passesInput || isatty(STDIN_FILENO) == 1 else {
            throw ArgumentParser.ValidationError("-it needs a terminal, and standard input is none: use -i")
        }
    }

    func run() async throws {
        let ending: ExecEnding
        do {
            ending = try await options.withClient { client in
                let opened = try await open(client)
                return try await ExecConversation(
                    passesInput: passesInput, isTerminal: wantsTerminal, server: opened.server
                ).run(opened.socket)
            }
        } catch let failure as CommandFailure {
            if case .usage = failure { throw failure }
            Output.complain(failure.message)
            throw ExitCode(Self.ownFailure)
        }
        switch ending {
        case .exited(let status): throw ExitCode(Int32(truncatingIfNeeded: status))
        case .failed(let reason):
            Output.complain("Error: the command was cut off: \(reason)")
            throw ExitCode(Self.ownFailure)
        }
    }

    /// The name is an app's; where there is no such app, perhaps an instance's.
    private func open(_ client: APIClient) async throws -> (socket: ExecSocket, server: String) {
        do {
            return try await open(client, app: name, instance: instance)
        } catch let failure as CommandFailure {
            guard case .appNotFound = failure, instance == nil, let app = Self.app(ofInstance: name) else {
                throw failure
            }
            return try await open(client, app: app, instance: name)
        }
    }

    private func open(
        _ client: APIClient, app: String, instance: String?
    ) async throws -> (socket: ExecSocket, server: String) {
        var query = command.map { ("command", $0) }
        if let instance { query.append(("instance", instance)) }
        if passesInput { query.append(("stdin", "true")) }
        if wantsTerminal {
            let size = RawTerminal.size
            query += [("tty", "true"), ("columns", String(size.columns)), ("rows", String(size.rows))]
        }
        return try await client.openSocket(APIClient.appPath(app, "/exec"), query: query, app: app)
    }

    /// Instances are named `<app>-<revision>-<six letters and digits>`. nil: this is none.
    static func app(ofInstance name: String) -> String? {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[parts.count - 1].count == 6 else { return nil }
        let revision = parts[parts.count - 2]
        guard revision == "r" || (!revision.isEmpty && revision.allSatisfy(\.isNumber)) else { return nil }
        return parts.dropLast(2).joined(separator: "-")
    }
}
