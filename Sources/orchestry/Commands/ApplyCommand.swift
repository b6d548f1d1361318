import ArgumentParser
import OrchestryModel

struct Apply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Make apps what files say: registers what is new, changes what differs, leaves the rest alone.",
        discussion: """
            All documents are checked by the cluster before the first is applied. A folder is applied in the order of its \
            files' names. Applying twice changes nothing the second time. The number of replicas is never reset: it is \
            the autoscaler's, within the bounds of the file. Apps that are not in the files stay as they are.
            A change that somebody else made between the check and the write is not overwritten: that app is left, and \
            the command says so and ends with 1.
            An app that is stopped stays stopped, a new one too, unless --up is given.
              orchestry apply shop.yaml --up --wait
              orchestry apply deploy/ --dry-run
            """)
    @Argument(
        help: "Files (YAML with one or more documents, or JSON), folders of them, or - for standard input.",
        completion: .file())
    var files: [String]
    @Flag(help: "Only check, and show what would change.") var dryRun = false
    @Flag(help: "Start those of the apps that are stopped.") var up = false
    @Flag(help: "Wait until the rollouts have ended and the running apps are ready.") var wait = false
    @OptionGroup var waiting: WaitOptions
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let documents = try SpecFile.readAll(files)
        try await options.withClient { client in
            let plans = try await SpecFile.plan(documents, with: client)
            if dryRun {
                return Output.show(["apps": .array(plans), "applied": false], as: options.output) { _ in
                    let shown = zip(plans, documents).map { PlanText.describe($0, source: $1.source) }
                    return (shown + [PlanText.summary(plans) + " Nothing was applied (--dry-run)."])
                        .joined(separator: "\n")
                }
            }
            var results: [JSONValue] = []
            for (index, (file, plan)) in zip(documents, plans).enumerated() {
                do {
                    results.append(try await registered(file, plan, with: client))
                    if up, plan["status"] == "stopped" {
                        results[index] = try await started(file.app, results[index], with: client)
                    }
                } catch {
                    report(results)
                    Output.complain(Self.account(of: file, index, of: plans.count, isRegistered: results.count > index))
                    throw error
                }
            }
            if wait {
                do {
                    try await waitForAll(&results, with: client)
                } catch {
                    report(results)
                    throw error
                }
            }
            report(results)
        }
    }

    /// Registers what differs.
    private func registered(_ file: SpecFile, _ plan: JSONValue, with client: APIClient) async throws -> JSONValue {
        var result = plan.objectValue ?? [:]
        if plan["change"] != "none" {
            let tag = plan["etag"]?.stringValue
            let answer = try await client.post(
                "/apps/register", file.document, headers: [tag.map { ("If-Match", $0) } ?? ("If-None-Match", "*")])
            result["revision"] = answer["revision"] ?? result["revision"]
        }
        return .object(result)
    }

    private func started(_ name: String, _ result: JSONValue, with client: APIClient) async throws -> JSONValue {
        var result = result.objectValue ?? [:]
        let answer = try await client.post(APIClient.appPath(name, "/up"), app: name)
        result["status"] = "running"
        result["replicas"] = answer["replicas"] ?? result["replicas"]
        result["started"] = true
        return .object(result)
    }

    private func waitForAll(_ results: inout [JSONValue], with client: APIClient) async throws {
        let deadline = ContinuousClock.now + (try waiting.duration())
        for (index, result) in results.enumerated() where result["status"] == "running" {
            let name = result["app"]?.stringValue ?? ""
            let wait = AppWait(
                name: name, goal: .rolledOut(revision: result["revision"]?.intValue), deadline: deadline)
            _ = try await wait.run(with: client)
            var members = result.objectValue ?? [:]
            members["ready"] = true
            results[index] = .object(members)
        }
    }

    private func report(_ results: [JSONValue]) {
        guard !results.isEmpty else { return }
        Output.show(["apps": .array(results), "applied": true], as: options.output) { _ in
            (results.map(line) + [PlanText.summary(results)]).joined(separator: "\n")
        }
    }

    private func line(_ result: JSONValue) -> String {
        let name = Output.cell(result["app"])
        let revision = Output.cell(result["revision"])
        var text =
            switch result["change"]?.stringValue {
            case "create": "\(name): registered, revision \(revision)"
            case "revision":
                result["status"] == "running"
                    ? "\(name): revision \(revision), rolling out" : "\(name): revision \(revision)"
            case "settings": "\(name): changed, nothing restarts"
            case "wording": "\(name): stored as it is written now, nothing changes"
            default: "\(name): no change"
            }
        if result["started"] == true { text += "; started" }
        if result["ready"] == true { text += "; ready" }
        if result["status"] == "stopped" { text += "; it is stopped (orchestry up \(name))" }
        let warnings = (result["warnings"]?.arrayValue ?? []).compactMap(\.stringValue)
        return ([text + "."] + warnings.map { Terminal.paint("  ! " + $0, .yellow) }).joined(separator: "\n")
    }

    /// At which document it ended, and how far the others are.
    private static func account(of file: SpecFile, _ index: Int, of total: Int, isRegistered: Bool) -> String {
        let step = isRegistered ? "registered, but not started" : "not applied"
        return "\(file.source), app \(file.app): \(step). \(index) of \(total) documents were applied before it, "
            + "\(total - index - 1) after it were not looked at."
    }
}
