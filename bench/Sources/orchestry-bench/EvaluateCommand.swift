import ArgumentParser
import Autoscaling
import Measuring
import OrchestryModel
import ScalingSimulation

/// How long the leader's evaluation of all apps takes, and what summing up every window afresh would take.
struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Milliseconds for one round of evaluations, on one core.",
        discussion: """
            Every app has samples from every node for each second of the window, and is scaled on requests per second, \
            p95 latency, connections and CPU. A round evaluates all apps once, as the leader does each second. The \
            baseline sums up every window afresh from the same samples; as a second one, from arrays of bare numbers. \
            All must find the same figures, or the command fails. 10,000 apps need about 2 GB of memory.

            With each evaluation a leader also looks at the app's schedules, notes what it evaluated (for `orchestry \
            simulate`) and reads the window's figures for PostgreSQL; that is timed by itself, and both together.
            """)

    @Option(help: "Apps.") var apps = 10_000
    @Option(help: "Nodes, each of which sends one sample per app and second.") var nodes = 3
    @Option(help: "Ready instances of each app.") var instances = 2
    @Option(help: "Length of the window, seconds.") var window = 60
    @Option(help: "Custom metrics of each app, a reading from each instance and second.") var customMetrics = 0
    @Flag(help: "Give each app a schedule.") var schedules = false
    @Option(help: "Rounds that count.") var repetitions = 30
    @Option(help: "Rounds before them that don't.") var warmUp = 5
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(apps > 0 && nodes > 0 && instances > 0, "--apps, --nodes and --instances must be at least 1")
        try require((0...10).contains(customMetrics), "--custom-metrics must be 0 to 10")
        try require((2...3600).contains(window), "--window must be 2 to 3600")
        try require(repetitions > 0 && warmUp >= 0, "--repetitions must be at least 1, --warm-up at least 0")
    }

    func run() throws {
        let load = SyntheticLoad(apps: apps, nodes: nodes, instances: instances)
        let filling = load.firstSecond..<load.firstSecond + Int64(window)
        progress("recording \(window) s of \(apps * nodes) samples each, three times")
        var autoscaler = Autoscaler()
        let memoryBefore = residentBytes()
        for app in load.names { autoscaler.retain(app, windowSeconds: window) }
        for second in filling {
            for sample in load.samples(at: second) { autoscaler.record(sample) }
            readings(load, at: second) { autoscaler.record($0, app: $1) }
        }
        let memory = memoryBefore.flatMap { before in residentBytes().map { $0 - before } }
        var samples = SampleRecomputation(load: load, window: window)
        var flat = FlatRecomputation(load: load, window: window)
        for second in filling {
            let batch = load.samples(at: second)
            samples.record(batch)
            flat.record(batch)
        }
        let policy = try policy()
        var books = LeaderBooks(apps: apps)
        let cold = evaluate(&autoscaler, load, policy, at: filling.upperBound).duration
        var rounds = Rounds()
        for round in -warmUp..<repetitions {
            if round % 10 == 0 { progress("round \(round) of \(repetitions)") }
            let now = filling.upperBound + Int64(round + warmUp)
            let fresh = load.samples(at: now)
            let recorded = nanoseconds { for sample in fresh { autoscaler.record(sample) } }
            samples.record(fresh)
            flat.record(fresh)
            readings(load, at: now) { autoscaler.record($0, app: $1) }
            let evaluated = evaluate(&autoscaler, load, policy, at: now + 1)
            let kept = nanoseconds { books.keep(evaluated.evaluations, autoscaler, load, policy, at: now + 1) }
            let bySamples = nanoseconds { samples.round(policy) }
            let byArrays = nanoseconds { flat.round(policy) }
            try check(evaluated.evaluations, bySamples.value)
            try check(evaluated.evaluations, byArrays.value)
            guard round >= 0 else { continue }
            rounds.recording.append(recorded.duration / 1e6)
            rounds.evaluating.append(evaluated.duration / 1e6)
            rounds.keeping.append(kept.duration / 1e6)
            rounds.overSamples.append(bySamples.duration / 1e6)
            rounds.overArrays.append(byArrays.duration / 1e6)
        }
        try report(rounds, cold: cold / 1e6, memory: memory)
    }

    /// Milliseconds each.
    private struct Rounds {
        var recording: [Double] = []
        var evaluating: [Double] = []
        var keeping: [Double] = []
        var overSamples: [Double] = []
        var overArrays: [Double] = []
    }

    private func policy() throws -> ScalingPolicy {
        let custom = (0..<customMetrics).map {
            ScalingPolicy.CustomMetric(name: "jobs\($0)", metric: "jobs\($0)", target: 100)
        }
        let daily = ScalingSchedule(
            name: "day", start: try CronExpression("0 8 * * 1-5"), end: try CronExpression("0 18 * * 1-5"),
            minReplicas: 1)
        return ScalingPolicy(
            minReplicas: 1, maxReplicas: 20, targetRPS: Double(nodes) * 14 / Double(instances),
            maxP95LatencyMilliseconds: 30, maxConnections: 100, maxCPUPercent: 70, windowSeconds: window,
            customMetrics: custom.isEmpty ? nil : custom, schedules: schedules ? [daily] : nil)
    }

    /// One reading of each custom metric from each instance.
    private func readings(_ load: SyntheticLoad, at second: Int64, _ record: (CustomReading, AppName) -> Void) {
        guard customMetrics > 0 else { return }
        for (app, state) in zip(load.names, load.states) {
            for (number, instance) in state.ready.keys.sorted().enumerated() {
                for metric in 0..<customMetrics {
                    let value = Double(10 + SyntheticLoad.mixed(metric, number, Int(second)) % 80)
                    record(
                        CustomReading(metric: "jobs\(metric)", instance: instance, second: second, value: value), app)
                }
            }
        }
    }

    private func evaluate(
        _ autoscaler: inout Autoscaler, _ load: SyntheticLoad, _ policy: ScalingPolicy, at second: Int64
    ) -> (duration: Double, evaluations: [Evaluation]) {
        var evaluations: [Evaluation] = []
        evaluations.reserveCapacity(apps)
        let (duration, _) = nanoseconds {
            for (app, state) in zip(load.names, load.states) {
                evaluations.append(autoscaler.evaluate(app, policy: policy, state: state, at: second))
            }
        }
        return (duration, evaluations)
    }

    /// A comparison of speed is worth something only between two that compute the same.
    private func check(_ evaluations: [Evaluation], _ readings: [WindowSum.Reading]) throws {
        for (evaluation, reading) in zip(evaluations, readings) {
            let pairs: [(ScalingMetric, Double)] = [
                (.rps, reading.rate), (.connections, reading.connections), (.latency, reading.p95Milliseconds),
                (.cpu, reading.cpuPercent),
            ]
            for (metric, expected) in pairs {
                let observed = evaluation.factor(of: metric)?.observed ?? .nan
                guard abs(observed - expected) <= 1e-4 * max(1, abs(expected)) else {
                    throw BenchFailure(
                        "\(evaluation.app), \(metric): the autoscaler says \(observed), the baseline \(expected)")
                }
            }
        }
    }

    private func report(_ rounds: Rounds, cold: Double, memory: Double?) throws {
        var report = Report(
            "evaluate",
            setting: "\(apps) apps × \(nodes) nodes × \(instances) instances, \(window) s windows, "
                + "\(customMetrics) custom metrics, \(schedules ? "a schedule" : "no schedules"), one core, "
                + "\(warmUp) rounds of warm-up")
        var table = Report.Table("one round, milliseconds")
        let (evaluated, overSamples) = (Summary(rounds.evaluating), Summary(rounds.overSamples))
        let overArrays = Summary(rounds.overArrays)
        table.add("evaluate all apps", evaluated)
        let keeping = Summary(rounds.keeping)
        let both = Summary(zip(rounds.evaluating, rounds.keeping).map { $0 + $1 })
        table.add("what the leader notes besides: schedules, record, figures", keeping)
        table.add("both together", both)
        table.add("sum up the windows' samples afresh (baseline)", overSamples)
        table.add("the same from flat arrays of numbers (best case)", overArrays)
        table.add("first round after the windows were filled", Summary([cold]))
        table.add("take in one second of \(apps * nodes) samples", Summary(rounds.recording))
        report.tables = [table]
        report.compare("evaluate, p50", evaluated?.p50, with: overSamples?.p50, called: "samples summed up afresh")
        report.compare("evaluate, p99", evaluated?.p99, with: overSamples?.p99, called: "samples summed up afresh")
        report.compare("evaluate, p50", evaluated?.p50, with: overArrays?.p50, called: "flat arrays summed up afresh")
        if window == 60, apps == 10_000 {
            report.goal("evaluate, p50, ms", evaluated?.p50, atMost: 50)
            report.goal("evaluate and note, p50, ms", both?.p50, atMost: 50)
        }
        if let memory { report.notes.append("the windows take \(Report.format(memory / 1e6)) MB of memory") }
        report.notes.append(
            "the baselines compute the metrics and the size they ask for; they know no limits, gaps or late samples, and "
                + "explain nothing")
        try output.finish(report)
    }
}

/// What a leader does with each evaluation (`LeaderTerm.evaluate`, `ScalingState.evaluate`), without its locks.
private struct LeaderBooks {
    private var clocks: [ScheduleClock]
    private var recorders: [ScalingRecorder]
    /// Keeps the optimizer from leaving out what nobody reads.
    private(set) var requests = 0.0

    init(apps: Int) {
        clocks = Array(repeating: ScheduleClock(), count: apps)
        recorders = Array(repeating: ScalingRecorder(), count: apps)
    }

    mutating func keep(
        _ evaluations: [Evaluation], _ autoscaler: Autoscaler, _ load: SyntheticLoad, _ policy: ScalingPolicy,
        at second: Int64
    ) {
        for position in evaluations.indices {
            let bounds = clocks[position].bounds(policy.schedules, at: second) { _, _ in 0 }
            var state = load.states[position]
            state.schedule = bounds
            recorders[position].evaluated(
                at: second, policy: policy, state: state, wanted: evaluations[position].wanted)
            requests +=
                autoscaler.observed(
                    load.names[position], policy: policy, ready: state.ready.count, at: second
                ).rps
        }
    }
}
