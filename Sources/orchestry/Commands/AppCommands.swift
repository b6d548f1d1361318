import ArgumentParser
import Foundation
import OrchestryModel

struct Register: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "register",
        abstract: "Register an app from a YAML or JSON file, or change one.",
        discussion: "Registering does not start an app: `orchestry up NAME` does.")
    @Argument(help: "The file (.json is read as JSON, all others as YAML); - reads standard input.")
    var file: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let document = try SpecFile.read(file)
        try await options.show {
            try await $0.post("/apps/register", document)
        } table: { answer in
            let name = Output.cell(answer["app"])
            return """
                Registered \(name), revision \(Output.cell(answer["revision"])).
                Next: orchestry up \(name), or, where it runs already, orchestry status \(name)
                """
        }
    }
}

struct Up: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Start an app.", discussion: "Example: orchestry up shop --wait")
    @Argument(help: "The app.", completion: .apps) var name: String
    @Flag(help: "Wait until as many instances are ready as are wanted.") var wait = false
    @OptionGroup var waiting: WaitOptions
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let deadline = ContinuousClock.now + (try waiting.duration())
        try await options.withClient { client in
            let answer = try await client.post(APIClient.appPath(name, "/up"), app: name)
            if wait {
                let status = try await AppWait(name: name, goal: .ready, deadline: deadline).run(with: client)
                return Output.show(status, as: options.output) { status in
                    "\(name): \(Output.cell(status["ready_replicas"])) of "
                        + "\(Output.cell(status["desired_replicas"])) ready."
                }
            }
            Output.show(answer, as: options.output) { answer in
                """
                \(name): \(Output.count(answer["replicas"], "replica")) wanted \
                (\(Output.cell(answer["adopted"])) ran already, \(Output.cell(answer["started"])) starting).
                Next: orchestry status \(name)
                """
            }
        }
    }
}

struct Down: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "down", abstract: "Stop an app; its registration stays.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/down"), app: name)
        } table: { answer in
            "\(name): stopped (\(Output.count(answer["containers_stopped"], "container")))."
        }
    }
}

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "delete", abstract: "Stop an app and forget it.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @Flag(name: .shortAndLong, help: "Do not ask first.") var force = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        if !force { try confirm() }
        try await options.show {
            try await $0.delete(APIClient.appPath(name), app: name)
        } table: { _ in
            "\(name): deleted."
        }
    }

    private func confirm() throws {
        guard isatty(FileHandle.standardInput.fileDescriptor) == 1 else {
            throw CommandFailure.usage("nobody is there to confirm: add --force to delete \(name) without a question")
        }
        FileHandle.standardError.write(Data("Stop all containers of \(name) and forget the app? [y/N] ".utf8))
        guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
            throw CommandFailure.local("not deleted")
        }
    }
}

struct Scale: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Set the number of an app's replicas.",
        discussion: """
            For an app in auto mode the autoscaler may change the number again, unless --for fixes it for a time: then the \
            policy decides again when that is over.
            """)
    @Argument(help: "The app.", completion: .apps) var name: String
    @Argument(help: "Replicas, 0 to 100.") var replicas: Int?
    @Option(name: .customLong("replicas"), help: "The same.") var wanted: Int?
    @Option(name: .customLong("for"), help: "Fix the number that long, 1s to 30d.") var length: String?
    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (replicas == nil) != (wanted == nil) else {
            throw ValidationError("say once how many replicas: orchestry scale NAME N")
        }
    }

    func run() async throws {
        var body: [String: JSONValue] = ["replicas": JSONValue(replicas ?? wanted ?? 0)]
        if let length {
            body["forSeconds"] = JSONValue(
                try ShortDuration.seconds(length, option: "--for", 1...AutoscaleChange.longestSeconds))
        }
        let request = JSONValue.object(body)
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/scale"), request, app: name)
        } table: { answer in
            let replicas = Output.count(answer["replicas"], "replica")
            if let until = answer["fixed_until"] {
                return "\(name): \(replicas) wanted, fixed until \(Output.time(until))."
            }
            return answer["status"] == "no_change"
                ? "\(name): \(replicas) wanted already."
                : "\(name): \(replicas) wanted. `orchestry why \(name)` tells when the autoscaler changes that."
        }
    }
}

struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retry",
        abstract: "Try at once what waits after a crash or a failed pull.",
        discussion: "An instance that keeps failing is tried again after 1 s, 2 s, 4 s and so on up to 60 s.")
    @Argument(help: "The app.", completion: .apps) var name: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.appPath(name, "/retry"), app: name)
        } table: { answer in
            let instances = answer["instances"]?.arrayValue ?? []
            guard !instances.isEmpty else { return "\(name): nothing waits to be tried again." }
            return "\(name): trying again: \(instances.compactMap(\.stringValue).joined(separator: ", "))."
        }
    }
}
