import ArgumentParser
import OrchestryModel

struct Rollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback",
        abstract: "Go back to an earlier revision of an app.",
        discussion: """
            Makes a new revision with the image, command, environment, ports, resources, security and health check of
            the old one. Replicas, scaling and routing stay as they are.
            """)
    @Argument(help: "The app.", completion: .apps) var name: String
    @Option(help: "The revision; the last one that worked unless given. See orchestry revisions.") var to: Int?
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.withClient { client in
            let body: JSONValue = to.map { ["to": JSONValue($0)] } ?? [:]
            let answer = try await client.post(APIClient.appPath(name, "/rollback"), body, app: name)
            Output.show(answer, as: options.output) { RolloutText.goingBack(name, $0) }
        }
    }
}

struct Revisions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revisions", abstract: "Show an app's revisions and what became of them.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get(APIClient.appPath(name, "/revisions"), app: name)
        } table: { answer in
            Output.table(
                ["REVISION", "CREATED", "IMAGE", "ROLLOUT", "CONTENT OF", "REASON"],
                (answer["revisions"]?.arrayValue ?? []).map { revision in
                    let mark = revision["current"] == true ? "*" : ""
                    return [
                        Output.cell(revision["revision"]) + mark, Output.time(revision["created_at"]),
                        Output.cell(revision["image"]), Output.cell(revision["state"]),
                        Output.cell(revision["restores"]), Output.cell(revision["reason"]),
                    ]
                })
        }
    }
}

struct Rollout: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollout",
        abstract: "Follow or steer the rollout of an app's revision.",
        subcommands: [RolloutStatus.self, RolloutPause.self, RolloutResume.self, RolloutAbort.self])
}

struct RolloutStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how far it is.",
        discussion: "Example: orchestry rollout status shop --watch; exit code 1 when it fails or is rolled back.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @Flag(help: "Follow it until it has ended.") var watch = false
    @OptionGroup var waiting: WaitOptions
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let deadline = ContinuousClock.now + (try waiting.duration())
        try await options.withClient { client in
            if watch {
                _ = try await AppWait(name: name, goal: .rolledOut(revision: nil), deadline: deadline).run(with: client)
            }
            let answer = try await client.get(APIClient.appPath(name, "/rollout"), app: name)
            Output.show(answer, as: options.output) { answer in
                var facts = [
                    ("App", Output.cell(answer["app"])), ("Revision", RolloutText.revision(answer)),
                    ("Rollout", RolloutText.line(answer)),
                ]
                if answer["state"] != "none" {
                    facts.append(("From", Output.cell(answer["from"])))
                    facts.append(("Began", Output.time(answer["started_at"])))
                    facts.append(("Ended", Output.time(answer["ended_at"])))
                }
                if let canary = answer["canary"], canary != .null {
                    facts.append(("Canary", RolloutText.side(canary["new"])))
                    facts.append(("Old", RolloutText.side(canary["old"])))
                }
                return Output.facts(facts)
            }
        }
    }
}

struct RolloutPause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Keep old and new instances as they are; scaling and healing go on.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/rollout/pause"), app: name)
        } table: { answer in
            let already = answer["status"] == "no_change" ? " already" : ""
            return "\(name): the rollout of revision \(Output.cell(answer["revision"])) is paused\(already). "
                + "Next: orchestry rollout resume \(name), or abort"
        }
    }
}

struct RolloutResume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "resume", abstract: "Go on with it.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/rollout/resume"), app: name)
        } table: { answer in
            let revision = Output.cell(answer["revision"])
            return answer["status"] == "no_change"
                ? "\(name): the rollout of revision \(revision) was not paused."
                : "\(name): the rollout of revision \(revision) goes on."
        }
    }
}

struct RolloutAbort: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort", abstract: "Stop it and go back to where it came from.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/rollout/abort"), app: name)
        } table: {
            RolloutText.goingBack(name, $0)
        }
    }
}

/// A rollout in words, the same in every command.
enum RolloutText {
    /// `3 (the content of 1)`.
    static func revision(_ rollout: JSONValue) -> String {
        let restores = rollout["restores"]?.intValue.map { " (the content of \($0))" } ?? ""
        return Output.cell(rollout["revision"]) + restores
    }

    static func line(_ rollout: JSONValue) -> String {
        let state = Output.cell(rollout["state"])
        guard state != "none" else { return "none: this revision was there when the app was started" }
        var text = state
        if rollout["active"] == true {
            if rollout["phase"] == "canary" { text += ", canary" }
            if rollout["phase"] == "release" { text += ", release command" }
            text +=
                ": \(Output.cell(rollout["ready"])) of \(Output.cell(rollout["wanted"])) ready, "
                + "\(Output.cell(rollout["old"])) old"
        }
        if rollout["origin"] == "automatic" { text += " (rolled back by itself)" }
        if let reason = rollout["reason"]?.stringValue, !reason.isEmpty { text += "; \(reason)" }
        return text
    }

    static func side(_ side: JSONValue?) -> String {
        let p95 = side?["p95LatencyMs"]?.doubleValue.map { ", p95 \(Output.decimal($0)) ms" } ?? ""
        return "\(Output.cell(side?["errors"])) of \(Output.count(side?["requests"], "request")) failed "
            + "(\(Output.percent(side?["errorRatePct"])))\(p95)"
    }

    static func goingBack(_ name: String, _ answer: JSONValue) -> String {
        let restores = Output.cell(answer["restores"])
        return answer["status"] == "no_change"
            ? "\(name): revision \(Output.cell(answer["revision"])) has the content of \(restores) already."
            : "\(name): going back to the content of revision \(restores), as revision "
                + "\(Output.cell(answer["revision"])).\nNext: orchestry rollout status \(name)"
    }
}
