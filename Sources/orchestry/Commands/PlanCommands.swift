import ArgumentParser
import OrchestryModel

/// Exit codes of `plan` and `diff`, which mean something else than those of other commands: 0 no change, 1 an error of
/// any kind, 2 changes.
enum PlanExit {
    static let changes = ExitCode(2)
    /// Their names: an error of usage must not look like a change.
    static let commands: Set<String> = ["plan", "diff"]
}

struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what applying files would change and do; changes nothing.",
        discussion: """
            The cluster compares: what it would refuse is refused here too, all faults of all files at once. Each app is \
            shown with the fields that differ and with what happens: a new revision and a rolling update, a change \
            without a restart, or nothing.
              orchestry plan shop.yaml
              orchestry plan deploy/ && echo "all as it should be"
            Exit codes: 0 nothing would change, 1 an error, 2 something would change.
            """)
    @Argument(
        help: "Files (YAML with one or more documents, or JSON), folders of them, or - for standard input.",
        completion: .file())
    var files: [String]
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let documents = try SpecFile.readAll(files)
        let plans = try await options.withClient { try await SpecFile.plan(documents, with: $0) }
        let changes = plans.count { $0["change"] != "none" }
        let answer: JSONValue = ["apps": .array(plans), "changes": JSONValue(changes)]
        Output.show(answer, as: options.output) { _ in
            let shown = zip(plans, documents).map { PlanText.describe($0, source: $1.source) }
            return (shown + [PlanText.summary(plans)]).joined(separator: "\n")
        }
        if changes > 0 { throw PlanExit.changes }
    }
}

struct Diff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Show in which fields a file differs from an app as it is.",
        discussion: """
            The same as `plan` for one app: old → new, and what applying the file would do.
              orchestry diff shop shop.yaml
            Exit codes: 0 no difference, 1 an error, 2 differences.
            """)
    @Argument(help: "The app.", completion: .apps) var name: String
    @Argument(help: "The file, or - for standard input.", completion: .file()) var file: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let documents = try SpecFile.readAll([file])
        guard let document = documents.first(where: { $0.app == name }) else {
            let names = documents.map(\.app).joined(separator: ", ")
            throw CommandFailure.usage("\(file) is not about \(name) (metadata.name: \(names))")
        }
        let plans = try await options.withClient { try await SpecFile.plan([document], with: $0) }
        let plan = plans[0]  // One for the one document: `plan` sees to it.
        guard plan["change"] != "create" else { throw CommandFailure.appNotFound(name, detail: nil) }
        Output.show(plan, as: options.output) { PlanText.describe($0) }
        if plan["change"] != "none" { throw PlanExit.changes }
    }
}
