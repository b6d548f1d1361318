import Autoscaling
import OrchestryModel

/// What a leader keeps of its evaluations, so that they can be run again. In the order in which it happened; together
/// with the samples and the evaluation at which each was first known, it is all that an evaluation depends on.
public enum ScalingRecord: Hashable, Sendable, Codable {
    /// The process began to evaluate the app: it knows what its cache held of the ten minutes before.
    case begun(second: Int64)
    /// Evaluations of all seconds from `first` to `last`, alike in what went in and what came out.
    case evaluated(first: Int64, last: Int64, policy: ScalingPolicy, state: ReplicaState, wanted: Int)
    /// The count changed, by whomever.
    case scaled(from: Int, to: Int, second: Int64)
    case custom(CustomReading)
    case injected(SimulatedMetrics, second: Int64)
    /// The app was deleted.
    case forgotten(second: Int64)

    /// The last second it is about.
    public var lastSecond: Int64 {
        switch self {
        case .begun(let second), .scaled(_, _, let second), .injected(_, let second), .forgotten(let second): second
        case .evaluated(_, let last, _, _, _): last
        case .custom(let reading): reading.second
        }
    }
}

/// A sample and when it counts from.
public struct RecordedSample: Hashable, Sendable {
    public var sample: Sample
    /// The second of the first evaluation that knew it.
    public var seen: Int64
    public init(_ sample: Sample, seen: Int64) {
        self.sample = sample
        self.seen = seen
    }
}

/// Runs recorded evaluations again, with the evaluator of production, and compares.
public struct ScalingReplay: Sendable {
    public struct Difference: Hashable, Sendable {
        public var second: Int64
        public var recorded: Int
        public var replayed: Int
    }
    public private(set) var evaluations = 0
    /// Of these, evaluations that changed the count.
    public private(set) var decisions = 0
    public private(set) var differences: [Difference] = []
    public private(set) var steps: [ScalingRun.Step] = []

    /// Seconds of its cache that a process reads at its start.
    public static let rebuiltSeconds: Int64 = 600

    /// - Parameters:
    ///   - samples: of the app, any order.
    ///   - records: in the order in which they were made. Where they don't begin with `begun`, the first two windows and
    ///     the stabilization window are run, but not compared.
    public init(_ app: AppName, samples: [RecordedSample], records: [ScalingRecord]) {
        let ordered = samples.sorted { ($0.seen, $0.sample.second) < ($1.seen, $1.sample.second) }
        var next = 0
        var since = Int64.min
        var autoscaler = Autoscaler()
        // Older records are no longer there: what the first evaluations knew of the time before is lost with them.
        var comparesFrom = Int64.max
        if case .begun = records.first { comparesFrom = Int64.min }
        for record in records {
            switch record {
            case .begun(let second):
                autoscaler = Autoscaler()
                since = second - Self.rebuiltSeconds
                comparesFrom = Int64.min
                next = 0
            case .scaled(let from, let to, let second): autoscaler.noteScaled(app, from: from, to: to, at: second)
            case .custom(let reading): autoscaler.record(reading, app: app)
            case .injected(let metrics, let second): autoscaler.inject(metrics, app: app, second: second)
            case .forgotten: autoscaler.forget(app)
            case .evaluated(let first, let last, let policy, let state, let wanted):
                // As a new leader does, before its first evaluation.
                autoscaler.retain(app, windowSeconds: policy.windowSeconds)
                if comparesFrom == Int64.max {
                    comparesFrom = first + Int64(2 * policy.windowSeconds + policy.stabilizationWindowSeconds)
                }
                for second in first...max(first, last) {
                    while next < ordered.count, ordered[next].seen <= second {
                        if ordered[next].sample.second >= since { autoscaler.record(ordered[next].sample) }
                        next += 1
                    }
                    let evaluation = autoscaler.evaluate(app, policy: policy, state: state, at: second)
                    guard second >= comparesFrom else { continue }
                    evaluations += 1
                    if evaluation.shouldScale {
                        decisions += 1
                        steps.append(
                            ScalingRun.Step(
                                second: second, from: evaluation.current, to: evaluation.wanted,
                                reason: evaluation.reason))
                    }
                    if evaluation.wanted != wanted {
                        differences.append(Difference(second: second, recorded: wanted, replayed: evaluation.wanted))
                    }
                }
            }
        }
    }

    public var json: JSONValue {
        [
            "evaluations": JSONValue(evaluations), "decisions": JSONValue(decisions),
            "differences": JSONValue(differences.count),
        ]
    }
}

/// Notes evaluations of one app as they happen. Runs of alike seconds become one record.
public struct ScalingRecorder: Sendable {
    /// What is lost at most when the process dies.
    private static let longestRun: Int64 = 60

    private struct Run: Sendable {
        var first: Int64
        var last: Int64
        var policy: ScalingPolicy
        var state: ReplicaState
        var wanted: Int

        /// Makes the next second part of the run, if it is alike.
        mutating func goesOn(at second: Int64, _ policy: ScalingPolicy, _ state: ReplicaState, wanted: Int) -> Bool {
            guard last + 1 == second, second - first < ScalingRecorder.longestRun, self.wanted == wanted,
                self.state == state, self.policy == policy
            else { return false }
            last = second
            return true
        }
    }
    private var run: Run?
    private var finished: [ScalingRecord] = []
    private var hasBegun = false
    /// The last evaluation; what comes now counts from the next one on.
    public private(set) var lastEvaluated: Int64?

    public init() {}

    public mutating func evaluated(
        at second: Int64, policy: ScalingPolicy, state: ReplicaState, wanted: Int
    ) {
        begin(at: second)
        lastEvaluated = second
        // In place: this happens for each app and second, and a copy would cost more than the comparison.
        if run?.goesOn(at: second, policy, state, wanted: wanted) == true { return }
        finishRun()
        run = Run(first: second, last: second, policy: policy, state: state, wanted: wanted)
    }

    /// - Parameter record: anything but an evaluation.
    public mutating func note(_ record: ScalingRecord) {
        begin(at: record.lastSecond)
        finishRun()
        finished.append(record)
    }

    private mutating func begin(at second: Int64) {
        guard !hasBegun else { return }
        hasBegun = true
        finished.append(.begun(second: second))
    }

    private mutating func finishRun() {
        guard let run else { return }
        finished.append(
            .evaluated(first: run.first, last: run.last, policy: run.policy, state: run.state, wanted: run.wanted))
        self.run = nil
    }

    /// What is complete and was not taken before.
    /// - Parameter all: the run under way, too.
    public mutating func take(all: Bool = false) -> [ScalingRecord] {
        if all { finishRun() }
        defer { finished = [] }
        return finished
    }
}
