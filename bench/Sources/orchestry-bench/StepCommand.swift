import ArgumentParser
import Foundation
import Measuring
import NIOCore
import OrchestryModel
import Synchronization

/// A step of the load on a real app.
struct StepCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "step",
        abstract: "Seconds from a 25× load step to the first new instance that serves, and to the right size.",
        discussion: """
            An app of the bench's own with the default policy (but for target and bounds) gets --low requests a second, \
            then --high, then --low again, through every node's proxy. All times count from when the first request of \
            the step was to be sent, by the generator's clock: the decision and "ready" by what the cluster notes (same \
            machine, to 1 ms), "serving" by the first answer that names a new instance, the right size (high ÷ target) by \
            the first answer of as many different ones.

            Two cores bear it with --low 10 --high 250 --target-rps 25.

            Example, on the cluster of configs/dev/up --no-load:
              orchestry-bench step --yes
            """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "Requests per second before and after.") var low = 20.0
    @Option(help: "Requests per second of the step.") var high = 500.0
    @Option(help: "targetRPSPerReplica.") var targetRps = 50.0
    @Option(help: "maxReplicas.") var maxReplicas = 20
    @Option(help: "Seconds of the low load before; longer than the policy's window of 20 s.") var before = 25.0
    @Option(help: "Seconds of the step.") var hold = 30.0
    @Option(help: "Longest wait for one instance to be left, seconds; the low load goes on meanwhile.")
    var after = 120.0
    @Option(help: "Steps.") var repetitions = 3
    @Option(help: "Path; answers with the instance's name.") var path = "/"
    @Option(help: "CPU of an instance.") var cpu = "50m"
    @OptionGroup var output: OutputOptions

    private var rightSize: Int { Int((high / targetRps).rounded(.up)) }

    func validate() throws {
        try require(low > 0 && high > low && targetRps > 0, "--high must be above --low, both above 0")
        try require(rightSize <= maxReplicas && maxReplicas <= 100, "--max-replicas must be enough, 100 at most")
        try require(low <= targetRps && rightSize > 1, "--low must fit one instance, --high must not")
        try require(before > 0 && hold >= 5 && after > 0 && repetitions > 0, "times and --repetitions must be above 0")
    }

    /// Seconds since the step; nil: it did not happen.
    private struct Outcome {
        var decided: Double?
        var ready: Double?
        var serving: Double?
        var rightSize: Double?
        var most: Int
        /// Since the step's end.
        var back: Double?
        /// Before, in it, after.
        var loads: [LoadStatistics.Second]
    }

    func run() async throws {
        var app = BenchApp(name: "bench-step", client: try cluster.client(), cpu: cpu, drainSeconds: 5)
        app.scaling = [
            "mode": "auto", "minReplicas": 1, "maxReplicas": JSONValue(maxReplicas),
            "targetRPSPerReplica": JSONValue(targetRps),
        ]
        try await app.use {
            var outcomes: [Outcome] = []
            for repetition in 1...repetitions {
                outcomes.append(try await step(app))
                progress(
                    "step \(repetition) of \(repetitions): new instance serves after "
                        + "\(outcomes.last?.serving.map(Report.format) ?? "-") s")
            }
            try report(outcomes)
        }
    }

    private func step(_ app: BenchApp) async throws -> Outcome {
        try await app.settled(at: 1)
        try await app.answers(through: try cluster.proxyServers())
        let watch = StepWatch()
        let statistics = LoadStatistics()
        var generator = LoadGenerator(
            servers: try cluster.proxyServers(), host: app.host, path: path, connections: 96)
        let profile = RateProfile(steps: [(low, before), (high, hold), (low, after)])
        generator.observe = { watch.note($0, of: profile) }
        let load = Task { [generator] in await generator.run(profile, into: statistics) }
        defer { load.cancel() }
        try await Task.sleep(for: .seconds(before + hold))
        guard let begin = watch.begin else { throw BenchFailure("no request was answered") }
        // By the wall clock, for comparing with what the cluster notes.
        let stepAt = wallSeconds() - (ContinuousClock.now - begin) / .seconds(1) + before
        let status = try await app.client.send(.get, app.statusPath)
        let decisions = try await decisions(app)
        let beginnings = watch.beginnings.map { $0 - before }
        let readyTimes = status.readyTimes.values.map { $0 - stepAt }.filter { $0 > 0 }
        let back = try await oneIsLeft(app, since: begin + .seconds(before + hold))
        load.cancel()
        await load.value
        let seconds = statistics.seconds
        return Outcome(
            decided: decisions.map { $0 - stepAt }.filter { $0 > 0 }.min(), ready: readyTimes.min(),
            serving: beginnings.first { $0 > 0 },
            rightSize: beginnings.count >= rightSize ? beginnings[rightSize - 1] : nil,
            most: beginnings.count, back: back,
            loads: [
                seconds.prefix(Int(before)), seconds.dropFirst(Int(before)).prefix(Int(hold)),
                seconds.dropFirst(Int(before) + Int(hold)),
            ].map { $0.reduce(into: .init()) { $0.merge($1) } })
    }

    /// Seconds since 1970 of the changes that were decided.
    private func decisions(_ app: BenchApp) async throws -> [Double] {
        let metrics = try await app.client.send(.get, "/apps/\(app.name)/metrics")
        return (metrics["scaling_history"]?.arrayValue ?? []).compactMap { $0["timestamp"]?.doubleValue }
    }

    private func oneIsLeft(_ app: BenchApp, since end: ContinuousClock.Instant) async throws -> Double? {
        while ContinuousClock.now < end + .seconds(after - 1) {
            let status = try await app.client.send(.get, app.statusPath)
            if status["desired_replicas"]?.intValue == 1 { return (ContinuousClock.now - end) / .seconds(1) }
            try await Task.sleep(for: .milliseconds(200))
        }
        return nil
    }

    private func report(_ outcomes: [Outcome]) throws {
        var report = Report(
            "step",
            setting: "\(Report.format(low)) → \(Report.format(high)) → \(Report.format(low)) requests/s, target "
                + "\(Report.format(targetRps)), \(rightSize) is the right size, \(repetitions) times")
        var table = Report.Table("seconds since the step", columns: ["n", "median", "lowest", "highest"])
        func add(_ name: String, _ values: [Double?]) {
            let found = values.compactMap { $0 }
            table.add(name, [Double(found.count), Summary(found)?.p50, found.min(), found.max()])
        }
        add("decided", outcomes.map(\.decided))
        add("first new instance ready", outcomes.map(\.ready))
        add("first new instance serving", outcomes.map(\.serving))
        add("right size serving", outcomes.map(\.rightSize))
        add("one wanted again, since the step's end", outcomes.map(\.back))
        var sizes = Report.Table("instances", columns: ["median", "highest"])
        let most = outcomes.map { Double($0.most) }
        sizes.add("most that served", [Summary(most)?.p50, most.max()])
        var loads = Report.Table("requests, from the time to be sent", columns: LoadStatistics.Second.columns)
        for (number, outcome) in outcomes.enumerated() {
            for (phase, load) in zip(["before", "the step itself", "after"], outcome.loads) {
                loads.add("step \(number + 1), \(phase)", load.values)
                report.notes += load.failureNotes.map { "step \(number + 1), \(phase): \($0)" }
            }
        }
        report.tables = [table, sizes, loads]
        report.goal("right size, s", outcomes.compactMap(\.rightSize).max(), atMost: 6)
        report.goal("overshoot", most.max().map { $0 - Double(rightSize) }, atMost: 1)
        report.goal("back, s", outcomes.compactMap(\.back).max(), atMost: 120)
        let late = outcomes.count { $0.rightSize == nil }
        if late > 0 { report.notes.append("\(late) steps ended before the right size was reached") }
        try output.finish(report)
    }
}

/// Who answered for the first time, and when, since the timetable began.
private final class StepWatch: Sendable {
    private struct State {
        var begin: ContinuousClock.Instant?
        var first = FirstAnswers()
    }
    private let state = Mutex(State())

    /// When the timetable began; nil: nothing was answered yet.
    var begin: ContinuousClock.Instant? { state.withLock { $0.begin } }
    /// Seconds since then, ascending.
    var beginnings: [Double] { state.withLock { $0.first.beginnings } }

    func note(_ exchange: LoadGenerator.Exchange, of profile: RateProfile) {
        guard exchange.outcome.status == 200,
            let instance = FirstAnswers.instance(in: exchange.outcome.body.readableBytesView)
        else { return }
        state.withLock { state in
            let begin = state.begin ?? exchange.due - .seconds(profile.time(of: exchange.number))
            state.begin = begin
            state.first.note(instance, through: "", at: (exchange.outcome.answered - begin) / .seconds(1))
        }
    }
}
