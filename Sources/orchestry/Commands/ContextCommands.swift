import ArgumentParser
import Foundation
import OrchestryModel

struct Context: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "context",
        abstract: "Keep several clusters by name, and choose one.",
        discussion: """
            A context is a cluster's servers under a name, in the configuration file. --context NAME asks it once, \
            ORCHESTRY_CONTEXT as long as it is set, `context use` from then on.
              orchestry context add prod https://a.example:8000,https://b.example:8000
              orchestry context use prod
              orchestry list --context staging
            """,
        subcommands: [ContextList.self, ContextUse.self, ContextAdd.self, ContextRemove.self],
        defaultSubcommand: ContextList.self)
}

struct ContextList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the clusters known by name.", discussion: "The one in use has a star.")
    @OptionGroup var options: GlobalOptions

    func run() throws {
        let contexts = try Contexts.load()
        let answer: JSONValue = [
            "current": JSONValue(contexts.current),
            "contexts": .array(
                contexts.all.sorted { $0.key < $1.key }.map { name, context in
                    [
                        "name": .string(name), "servers": .array(context.servers.map { .string($0) }),
                        "ca": JSONValue(context.ca), "token_file": JSONValue(context.tokenFile),
                    ]
                }),
        ]
        Output.show(answer, as: options.output) { _ in
            guard !contexts.all.isEmpty else {
                return "No contexts yet. Add one: orchestry context add NAME URL[,URL…]"
            }
            return Output.table(
                ["", "NAME", "SERVERS", "TOKEN FILE"],
                contexts.all.sorted { $0.key < $1.key }.map { name, context in
                    [
                        name == contexts.current ? "*" : "", name, context.servers.joined(separator: ", "),
                        context.tokenFile ?? "-",
                    ]
                })
        }
    }
}

struct ContextUse: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "use", abstract: "Ask this cluster from now on.",
        discussion: "Example: orchestry context use prod")
    @Argument(help: "The context; - for none: then host and port of `config set` count.", completion: .contexts)
    var name: String

    func run() throws {
        var contexts = try Contexts.load()
        guard name != "-" else {
            contexts.current = nil
            try contexts.save()
            return print("No context is in use from now on.\nNext: orchestry config show")
        }
        let servers = try contexts.named(name).servers
        contexts.current = name
        try contexts.save()
        print("From now on \(name) is asked: \(servers.joined(separator: ", ")).\nNext: orchestry info")
        UserConfiguration.warn(of: "ORCHESTRY_SERVER", "ORCHESTRY_CONTEXT")
    }
}

struct ContextAdd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Store a cluster under a name, or change one.",
        discussion: "The first one is used from then on. Example: orchestry context add prod https://a.example:8000")
    @Argument(help: "The context: letters, digits, '.', '_' and '-'.") var name: String
    @Argument(help: "Its servers, separated by commas: each is tried in turn.") var servers: String
    @Option(help: ArgumentHelp("PEM file with the authorities to trust for https.", valueName: "file")) var ca: String?
    @Option(help: ArgumentHelp("File with the token to show; its path is stored, not the token.", valueName: "file"))
    var tokenFile: String?

    func validate() throws {
        let allowed = name.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (97...122).contains(byte | 0x20) || "._-".utf8.contains(byte)
        }
        guard allowed, name != "-", (1...63).contains(name.utf8.count) else {
            throw ArgumentParser.ValidationError(
                "'\(name)' is not a name: letters, digits, '.', '_' and '-', at most 63")
        }
    }

    func run() throws {
        var contexts = try Contexts.load()
        let isFirst = contexts.all.isEmpty && contexts.current == nil
        func absolute(_ path: String?) -> String? { path.map { URL(fileURLWithPath: $0).path } }
        contexts.all[name] = Contexts.Context(
            servers: try GlobalOptions.baseURLs(servers), ca: absolute(ca), tokenFile: absolute(tokenFile))
        if isFirst { contexts.current = name }
        try contexts.save()
        let next =
            isFirst ? "; it is asked from now on.\nNext: orchestry info" : ".\nNext: orchestry context use \(name)"
        print("Stored \(name) in \(UserConfiguration.path)\(next)")
    }
}

struct ContextRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Forget a cluster's name; the cluster stays as it is.",
        discussion: "Example: orchestry context remove staging")
    @Argument(help: "The context.", completion: .contexts) var name: String

    func run() throws {
        var contexts = try Contexts.load()
        guard contexts.all.removeValue(forKey: name) != nil else { throw contexts.unknown(name) }
        if contexts.current == name { contexts.current = nil }
        try contexts.save()
        print("Removed \(name).")
    }
}
