import ArgumentParser
import OrchestryModel

struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Store or show which server to ask.", subcommands: [ConfigSet.self, ConfigShow.self],
        defaultSubcommand: ConfigShow.self)
}

struct ConfigSet: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "set", abstract: "Store the server to ask.")
    @Option(help: "Name or address.") var host: String
    @Option(help: "Port of its REST facade.") var port = 8000
    @Flag(help: "It speaks HTTPS.") var https = false
    @Option(help: ArgumentHelp("PEM file with the authorities to trust.", valueName: "file")) var ca: String?
    @Option(help: ArgumentHelp("Store the token in this file, too, for this server.", valueName: "file"))
    var tokenFile: String?

    func validate() throws {
        guard (1...65_535).contains(port) else { throw ArgumentParser.ValidationError("--port must be 1 to 65535") }
        guard !host.isEmpty, !host.contains("/"), !host.contains(" ") else {
            throw ArgumentParser.ValidationError("--host must be a name or an address, without http://")
        }
    }

    func run() throws {
        let configuration = UserConfiguration(
            host: host, port: port, isSecure: https, ca: ca, token: try tokenFile.map(Credentials.read))
        try configuration.save()
        print("Stored \(configuration.server) in \(UserConfiguration.path).\nNext: orchestry info")
        UserConfiguration.warn(of: "ORCHESTRY_SERVER", "ORCHESTRY_CONTEXT")
        if let current = try Contexts.load().current {
            Output.complain("But the context \(current) is in use and comes first: orchestry context use -")
        }
    }
}

struct ConfigShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the servers that are asked, and why these.")
    @OptionGroup var options: GlobalOptions

    func run() throws {
        let answer: JSONValue = [
            "file": .string(UserConfiguration.path), "servers": .array(try options.servers().map { .string($0) }),
            "stored": JSONValue(try UserConfiguration.load()?.server),
            "token_stored": .bool(try UserConfiguration.load()?.token != nil),
        ]
        Output.show(answer, as: options.output) { answer in
            Output.facts([
                ("File", Output.cell(answer["file"])),
                ("Stored", answer["stored"]?.stringValue ?? "nothing (orchestry config set --host HOST --port PORT)"),
                ("Token", answer["token_stored"] == true ? "stored, for that server" : "not stored"),
                ("Asked", (answer["servers"]?.arrayValue ?? []).compactMap(\.stringValue).joined(separator: ", ")),
            ])
        }
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print this program's version.")
    func run() { print("orchestry \(Orchestry.version)") }
}
