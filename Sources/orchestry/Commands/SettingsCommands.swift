import ArgumentParser
import OrchestryModel

struct Settings: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settings",
        abstract: "Settings of the whole cluster that can be changed while it runs.",
        subcommands: [SettingsList.self, SettingsSet.self, SettingsReset.self], defaultSubcommand: SettingsList.self)

    static func show(_ answer: JSONValue, as format: OutputFormat) {
        Output.show(answer, as: format) { answer in
            Output.table(
                ["SETTING", "VALUE", "FROM", "CONFIGURED", "CHANGED", "BY"],
                (answer["settings"]?.arrayValue ?? []).map { setting in
                    let isSet = setting["value"].map { $0 != .null } ?? false
                    return [
                        Output.cell(setting["name"]), Output.cell(isSet ? setting["value"] : setting["configured"]),
                        Output.cell(setting["source"]), Output.cell(setting["configured"]),
                        isSet ? Output.time(setting["updated_at"]) : "-", Output.cell(setting["updated_by"]),
                    ]
                })
        }
    }
}

struct SettingsList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show them and where they come from.",
        discussion: "Example: orchestry settings list -o json")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            Settings.show(try await client.get("/settings"), as: options.output)
        }
    }
}

struct SettingsSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change settings, in effect on every node within a second.",
        discussion: "Example: orchestry settings set log.level=debug retention.events_days=30")
    @Argument(help: "NAME=VALUE, all of them at once or none.") var changes: [String]
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        var body: [String: JSONValue] = [:]
        for change in changes {
            guard let equals = change.firstIndex(of: "="), equals > change.startIndex else {
                throw CommandFailure.usage("'\(change)' must have the form NAME=VALUE")
            }
            body[String(change[..<equals])] = .string(String(change[change.index(after: equals)...]))
        }
        let settings = JSONValue.object(body)
        try await options.withClient { client in
            Settings.show(try await client.patch("/settings", settings), as: options.output)
        }
    }
}

struct SettingsReset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Go back to what each node's own configuration says.",
        discussion: "Example: orchestry settings reset log.level")
    @Argument(help: "Names of settings.") var names: [String]
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let settings = JSONValue.object(
            Dictionary(names.map { ($0, .null) }, uniquingKeysWith: { first, _ in first }))
        try await options.withClient { client in
            Settings.show(try await client.patch("/settings", settings), as: options.output)
        }
    }
}
