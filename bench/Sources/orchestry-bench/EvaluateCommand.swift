import ArgumentParser
import Autoscaling
import Measuring
import OrchestryModel

/// How long the leader's evaluation of all apps takes, and what summing up every window afresh would take.
struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Milliseconds for one round of evaluations, on one core.",
        discussion: """
            Every app has samples from every node for each second of the window, and is scaled on requests per second, \
            p95 latency, connections and CPU. A round evaluates all apps once, as the leader does each second. The \
            baseline is the same round over the same samples with every window summed up afresh; both must find the \
            same figures, or the command fails.
            """)

    @Option(help: "Apps.") var apps = 10_000
    @Option(help: "Nodes, each of which sends one sample per app and second.") var nodes = 3
    @Option(help: "Ready instances of each app.") var instances = 2
    @Option(help: "Length of the window, seconds.") var window = 60
    @Option(help: "Rounds that count.") var repetitions = 30
    @Option(help: "Rounds before them that don't.") var warmUp = 5
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require(apps > 0 && nodes > 0 && instances > 0, "--apps, --nodes and --instances must be at least 1")
        try require((2...3600).contains(window), "--window must be 2 to 3600")
        try require(repetitions > 0 && warmUp >= 0, "--repetitions must be at least 1, --warm-up at least 0")
    }

    func run() throws {
        let load = SyntheticLoad(apps: apps, nodes: nodes, instances: instances)
        var twin = NaiveAutoscaler(load: load, window: window)
        var autoscaler = Autoscaler()
        let memoryBefore = residentBytes()
        progress("recording \(window) s of \(apps * nodes) samples each")
        for app in load.names { autoscaler.retain(app, windowSeconds: window) }
        for second in load.firstSecond..<load.firstSecond + Int64(window) {
            for sample in load.samples(at: second) { autoscaler.record(sample) }
            twin.record(second)
        }
        let memory = memoryBefore.flatMap { before in residentBytes().map { $0 - before } }
        let policy = policy

        var second = load.firstSecond + Int64(window)
        let cold = evaluate(&autoscaler, load, policy, at: second).duration
        var (recording, ours, naive): ([Double], [Double], [Double]) = ([], [], [])
        for round in -warmUp..<repetitions {
            if round % 10 == 0 { progress("round \(round) of \(repetitions)") }
            let fresh = load.samples(at: second)
            let recorded = nanoseconds { for sample in fresh { autoscaler.record(sample) } }
            twin.record(second)
            second += 1
            let evaluated = evaluate(&autoscaler, load, policy, at: second)
            let recomputed = nanoseconds { twin.round(policy, at: second) }
            try check(evaluated.evaluations, recomputed.value)
            guard round >= 0 else { continue }
            recording.append(recorded.duration / 1e6)
            ours.append(evaluated.duration / 1e6)
            naive.append(recomputed.duration / 1e6)
        }
        try report(recording, ours, naive, cold: cold / 1e6, memory: memory)
    }

    private var policy: ScalingPolicy {
        ScalingPolicy(
            minReplicas: 1, maxReplicas: 20, targetRPS: Double(nodes) * 14 / Double(instances),
            maxP95LatencyMilliseconds: 30, maxConnections: 100, maxCPUPercent: 70, windowSeconds: window)
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
    private func check(_ evaluations: [Evaluation], _ readings: [NaiveAutoscaler.Reading]) throws {
        for (evaluation, reading) in zip(evaluations, readings) {
            let pairs: [(ScalingMetric, Double)] = [
                (.rps, reading.ratePerInstance), (.latency, reading.p95Milliseconds), (.cpu, reading.cpuPercent),
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

    private func report(
        _ recording: [Double], _ ours: [Double], _ naive: [Double], cold: Double, memory: Double?
    ) throws {
        var report = Report(
            "evaluate",
            setting: "\(apps) apps × \(nodes) nodes × \(instances) instances, \(window) s windows, one core, "
                + "\(warmUp) rounds of warm-up")
        var table = Report.Table("one round, milliseconds")
        let (evaluated, recomputed) = (Summary(ours), Summary(naive))
        table.add("evaluate all apps", evaluated)
        table.add("the same, windows summed up afresh (baseline)", recomputed)
        table.add("first round after the windows were filled", Summary([cold]))
        table.add("take in one second of \(apps * nodes) samples", Summary(recording))
        report.tables = [table]
        report.compare("evaluate, p50", evaluated?.p50, with: recomputed?.p50, called: "windows summed up afresh")
        report.compare("evaluate, p99", evaluated?.p99, with: recomputed?.p99, called: "windows summed up afresh")
        if window == 60, apps == 10_000 {
            report.compare("evaluate, p50", evaluated?.p50, with: 50, called: "the goal of 50 ms")
        }
        if let memory { report.notes.append("the windows take \(Report.format(memory / 1e6)) MB of memory") }
        report.notes.append(
            "the baseline adds histograms into one dense array that stays in cache; it makes no decision and keeps no "
                + "history")
        try report.write(asJSON: output.json)
    }
}
