import ArgumentParser
import OrchestryModel

struct Wait: AsyncParsableCommand {
    enum Condition: String, ExpressibleByArgument, CaseIterable { case ready, stopped, rollout }

    static let configuration = CommandConfiguration(
        commandName: "wait",
        abstract: "Wait until an app is ready, stopped, or through with its rollout.",
        discussion: """
            ready: as many instances are ready as are wanted, and no rollout is under way. stopped: the last instance is \
            gone. rollout: the revision there is now has been rolled out; one that fails or is rolled back ends the wait \
            with exit code 1 and the reason. A change of leader meanwhile does not end it.
              orchestry wait shop
              orchestry down shop && orchestry wait shop --for stopped --within 2m
            """)
    @Argument(help: "The app.", completion: .apps) var name: String
    @Option(name: .customLong("for"), help: "What to wait for: ready, stopped or rollout.") var condition: Condition =
        .ready
    @OptionGroup var waiting: WaitOptions
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        let goal: AppWait.Goal =
            switch condition {
            case .ready: .ready
            case .stopped: .stopped
            case .rollout: .rolledOut(revision: nil)
            }
        let wait = AppWait(name: name, goal: goal, deadline: ContinuousClock.now + (try waiting.duration()))
        try await options.withClient { client in
            Output.show(try await wait.run(with: client), as: options.output) { status in
                switch condition {
                case .stopped: "\(name): stopped, and its instances are gone."
                case .ready, .rollout:
                    "\(name): \(Output.cell(status["ready_replicas"])) of "
                        + "\(Output.cell(status["desired_replicas"])) ready, revision \(Output.cell(status["revision"]))."
                }
            }
        }
    }
}
