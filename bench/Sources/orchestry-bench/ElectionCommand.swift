import ArgumentParser
import Foundation
import Leadership
import Measuring
import OrchestryModel
import SimulationKit

/// Many random schedules of the leadership simulator, outside the test run.
struct ElectionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "election",
        abstract: "Runs random schedules of elections, agents and writes under faults, in virtual time.",
        discussion: """
            Each seed is 25 s of faults, checked after each step, then calm in which a leader must come, agents must \
            obey it and writes must be answered. Fails with the first seed's story if anything was wrong. With \
            --mutants each rule left out on purpose is run until its first seed that shows it.

            Examples:
              orchestry-bench election --seeds 1...100000 --jobs 2
              orchestry-bench election --seeds 1...20000 --mutants
              orchestry-bench election --seeds 17 --mutant dropSeq --trace
            """)

    @Option(help: "One seed, or a range such as 1...100000.") var seeds = SeedRange(1...10_000)
    @Option(help: "How many run side by side.") var jobs = 2
    @Option(
        help: "A rule to leave out: \(Mutant.allCases.map(\.rawValue).joined(separator: ", ")).",
        transform: { text in
            guard let mutant = Mutant(rawValue: text) else { throw ValidationError("'\(text)' is no such rule") }
            return mutant
        })
    var mutant = Mutant.none
    @Flag(help: "Find the first seed that shows each rule left out.") var mutants = false
    @Flag(help: "Print the story of the first seed, whatever comes of it.") var trace = false
    @Option(help: "How many lines of it.") var lines = 120
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((1...1_024).contains(jobs), "--jobs must be 1 to 1024")
        try require(lines > 0, "--lines must be at least 1")
    }

    func run() async throws {
        if trace {
            let report = ElectionSimulation(seed: seeds.range.lowerBound, mutant: mutant).run(traces: true)
            return print(report.story(lines))
        }
        if mutants { return try await runMutants() }
        let (duration, tally) = await tallied(mutant, seeds.range, stopAtFirst: false)
        try report(tally, seconds: duration)
        if let seed = tally.failures.keys.min() {
            print(ElectionSimulation(seed: seed, mutant: mutant).run(traces: true).story(lines))
            throw ExitCode.failure
        }
    }

    /// What some seeds came to.
    private struct Tally: Sendable {
        var seeds = 0
        var steps = 0
        var activations: [String: Int] = [:]
        var coverage = Coverage()
        /// Milliseconds.
        var convergence: [Double] = []
        var failures: [UInt64: SimulationFailure] = [:]

        mutating func add(_ report: ElectionSimulation.Report) {
            seeds += 1
            steps += report.steps
            for (mode, count) in report.activations { activations[mode.rawValue, default: 0] += count }
            coverage += report.coverage
            if let nanoseconds = report.convergence { convergence.append(Double(nanoseconds) / 1e6) }
            if let failure = report.failure { failures[report.seed] = failure }
        }

        mutating func add(_ other: Tally) {
            seeds += other.seeds
            steps += other.steps
            activations.merge(other.activations) { $0 + $1 }
            coverage += other.coverage
            convergence += other.convergence
            failures.merge(other.failures) { first, _ in first }
        }
    }

    /// Hands out blocks of seeds in order, so that with `stopAtFirst` the lowest failing seed is among those that ran.
    private func tallied(
        _ mutant: Mutant, _ range: ClosedRange<UInt64>, stopAtFirst: Bool
    ) async -> (seconds: Double, tally: Tally) {
        let start = uptimeNanoseconds()
        var tally = Tally()
        let block: UInt64 = 100
        await withTaskGroup(of: Tally.self) { group in
            var next: UInt64? = range.lowerBound
            func addBlock() {
                guard let first = next else { return }
                let last = range.upperBound - first < block ? range.upperBound : first + block - 1
                next = last == range.upperBound ? nil : last + 1
                group.addTask {
                    var part = Tally()
                    for seed in first...last {
                        let report = ElectionSimulation(seed: seed, mutant: mutant).run()
                        part.add(report)
                        if stopAtFirst, report.failure != nil, report.failure?.kind == mutant.symptom { break }
                    }
                    return part
                }
            }
            for _ in 0..<jobs { addBlock() }
            for await part in group {
                tally.add(part)
                let isDone = tally.failures.values.contains { $0.kind == mutant.symptom }
                if !stopAtFirst || !isDone { addBlock() }
                if tally.seeds / 10_000 > (tally.seeds - part.seeds) / 10_000 {
                    progress("\(tally.seeds) seeds, \(tally.failures.count) failed")
                }
            }
        }
        return (Double(uptimeNanoseconds() - start) / 1e9, tally)
    }

    private func report(_ tally: Tally, seconds: Double) throws {
        var report = Report(
            "election",
            setting: "seeds \(seeds.range.lowerBound)...\(seeds.range.upperBound), \(jobs) side by side"
                + (mutant == .none ? "" : ", without the rule \(mutant)"))
        var runs = Report.Table("schedules", columns: ["value"])
        runs.add("seeds", [Double(tally.seeds)])
        runs.add("failed", [Double(tally.failures.count)])
        runs.add("seconds", [seconds])
        runs.add("seeds a second", [Double(tally.seeds) / seconds])
        runs.add("steps a seed", [Double(tally.steps) / Double(max(1, tally.seeds))])
        for (mode, count) in tally.activations.sorted(by: { $0.key < $1.key }) {
            runs.add("activations, \(mode)", [Double(count)])
        }
        var convergence = Report.Table("from the end of all faults to a leader that stays, milliseconds")
        convergence.add("converged", Summary(tally.convergence))
        var coverage = Report.Table("how often", columns: ["value"])
        for item in Coverage.Item.allCases { coverage.add("\(item)", [Double(tally.coverage[item])]) }
        report.tables = [runs, convergence, coverage]
        for (seed, failure) in tally.failures.sorted(by: { $0.key < $1.key }).prefix(20) {
            report.notes.append("seed \(seed): \(failure)")
        }
        if !tally.coverage.missing.isEmpty { report.notes.append("never happened: \(tally.coverage.missing)") }
        try output.finish(report)
    }

    private func runMutants() async throws {
        var report = Report(
            "election", setting: "each rule left out, seeds \(seeds.range.lowerBound)...\(seeds.range.upperBound)")
        var table = Report.Table("first seed that shows it", columns: ["seed", "seconds"])
        var missed: [Mutant] = []
        for mutant in Mutant.allCases where mutant != .none {
            let (seconds, tally) = await tallied(mutant, seeds.range, stopAtFirst: true)
            let first = tally.failures.filter { $0.value.kind == mutant.symptom }.keys.min()
            if let first {
                report.notes.append("\(mutant), seed \(first): \(tally.failures[first].map { "\($0)" } ?? "")")
            } else {
                missed.append(mutant)
            }
            table.add(mutant.rawValue, [first.map { Double($0) }, seconds])
            progress("\(mutant): \(first.map { "seed \($0)" } ?? "not caught")")
        }
        report.tables = [table]
        if !missed.isEmpty {
            // Some need what chance hardly brings about: Tests/SimulationTests has a schedule for each.
            report.notes.append("not shown by these seeds: \(missed.map(\.rawValue).joined(separator: ", "))")
        }
        try output.finish(report)
    }
}

/// `17` or `1...100000`.
struct SeedRange: ExpressibleByArgument, CustomStringConvertible {
    var range: ClosedRange<UInt64>

    init(_ range: ClosedRange<UInt64>) { self.range = range }

    init?(argument: String) {
        let parts = argument.components(separatedBy: "...")
        guard let first = UInt64(parts[0]), let last = UInt64(parts[parts.count - 1]), parts.count <= 2, first <= last
        else { return nil }
        range = first...last
    }

    var description: String { "\(range.lowerBound)...\(range.upperBound)" }
    var defaultValueDescription: String { description }
}
