import ArgumentParser
import Measuring

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
            TrafficCommand.self, ScaleCommand.self, ProxyCostCommand.self, CgroupsCommand.self, AccuracyCommand.self,
            StepCommand.self, RestCommand.self, SoakCommand.self, StallCommand.self, IngestCommand.self,
            GrowthCommand.self,
            BareServerCommand.self, AllocationsCommand.self,
        ])
}

extension OrchestryBench {
    /// As `ArgumentParser` has it, but that Ctrl-C lets a command remove what it made: its task is cancelled.
    static func main() async {
        let task = Task {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        }
        Interruption.watch { task.cancel() }
        do { try await task.value } catch { exit(withError: error) }
    }
}

struct OutputOptions: ParsableArguments {
    @Flag(help: "Print the result as JSON.") var json = false
    @Option(
        help: ArgumentHelp(
            "An earlier result as JSON: exit with status 2 if a ratio got worse.", valueName: "file"))
    var baseline: String?
    @Option(help: "How much worse a ratio may be than in --baseline, percent.") var tolerance = 20.0

    func validate() throws { try require(tolerance >= 0, "--tolerance must be at least 0") }

    /// Prints the result, and compares it if that was asked for. Only ratios: absolute numbers are the machine's.
    /// - Throws: `ExitCode(2)` when a ratio is worse than tolerated.
    func finish(_ report: Report) throws {
        // Read first: a file that is no result should not show after an hour's run that was not printed.
        let earlier = try baseline.map { try EarlierResult(contentsOf: $0) }
        try report.write(asJSON: json)
        guard let earlier else { return }
        let comparison = RatioComparison(report.ratios, earlier: earlier.ratios, tolerancePercent: tolerance)
        for line in comparison.lines { progress(line) }
        if comparison.isWorse { throw ExitCode(2) }
    }
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
