import ArgumentParser

@main
struct OrchestryBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "orchestry-bench",
        abstract: "Measures Orchestry against baselines from the same run.",
        discussion:
            "Build in release mode, on a machine with nothing else to do. README.md says what the numbers mean.",
        subcommands: [
            EvaluateCommand.self, ProtocolCommand.self, CacheCommand.self, FailoverCommand.self,
            ElectionCommand.self, LoadCommand.self, DataplaneCommand.self, AutoscalerCommand.self,
            ColdStartCommand.self,
        ])
}

struct OutputOptions: ParsableArguments {
    @Flag(help: "Print the result as JSON.") var json = false
}

/// A benchmark could not be carried out.
struct BenchFailure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// - Throws: `ValidationError` (exit code 64, with the usage) unless `condition` holds.
func require(_ condition: Bool, _ message: String) throws {
    if !condition { throw ValidationError(message) }
}
