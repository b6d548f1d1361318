import ArgumentParser
import Foundation

@main
struct Main {
    static func main() async {
        do {
            var command = try Orchestry.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            let code = report(error)
            // There 2 says that something would change.
            let isComparing = CommandLine.arguments.dropFirst().first.map { PlanExit.commands.contains($0) } ?? false
            exit(isComparing && code > 1 && !(error is ExitCode) ? 1 : code)
        }
    }

    /// Prints what went wrong and returns the process' exit code. The one place where errors become codes.
    private static func report(_ error: any Error) -> Int32 {
        // What there is to say has been said.
        if let code = error as? ExitCode { return code.rawValue }
        if let failure = error as? CommandFailure {
            Output.complain(failure.message)
            return failure.exitCode
        }
        let code = Orchestry.exitCode(for: error)
        let text = Orchestry.fullMessage(for: error)
        // Help and version arrive as errors too.
        if code == .success {
            let examples = text.contains("USAGE:") ? Examples.text(for: Array(CommandLine.arguments.dropFirst())) : nil
            print(examples.map { "\(text)\n\($0)" } ?? text)
            return 0
        }
        Output.complain(text)
        return code == .validationFailure ? CommandFailure.usageExitCode : code.rawValue
    }
}

struct Orchestry: AsyncParsableCommand {
    /// What `--version` and `version` print.
    static let version = "0.1.0"
    static let configuration = CommandConfiguration(
        commandName: "orchestry",
        abstract: "Runs web apps in containers, keeps them up and fits their number to the load.",
        discussion: """
            Exit codes: 0 done, 1 the cluster refused, 2 wrong usage, 3 no server could be reached, 4 no such app. Of plan \
            and diff: 0 no change, 1 an error, 2 changes.
            A first app: orchestry init NAME --image IMAGE > app.yaml, orchestry apply app.yaml --up --wait.
            """,
        version: version,
        // Each names itself in its configuration: to make a name of a type's, ArgumentParser would search the conformances
        // of everything that is linked, four times a command, which was two fifths of the time a command takes.
        subcommands: [
            Apply.self, PlanCommand.self, Diff.self, Initialize.self, Import.self,
            Wait.self, Maintenance.self, Top.self, Doctor.self,
            Register.self, Up.self, Down.self, Delete.self, Scale.self, Autoscale.self, Simulate.self, Retry.self,
            List.self, Status.self, Spec.self,
            Metrics.self, Logs.self, Exec.self, Events.self, Why.self, Rollout.self, Rollback.self, Revisions.self,
            Info.self, Nodes.self, Cluster.self, Secret.self, Token.self, Audit.self, Certs.self, Backup.self,
            Restore.self, Settings.self, Config.self, Context.self, Completion.self, Names.self,
            Version.self,
        ])
}
