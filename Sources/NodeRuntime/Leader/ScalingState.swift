import Autoscaling
import Foundation
import MetricsCache
import OrchestryModel
import ScalingSimulation
import Synchronization

/// The autoscaler's windows, warm on every controller whether it leads or not; and the record of what it was told and
/// what it answered, from which `orchestry simulate` runs it again.
final class ScalingState: Sendable {
    private struct Content {
        var autoscaler = Autoscaler()
        var recorders: [AppName: ScalingRecorder] = [:]
    }
    private let content = Mutex(Content())

    /// An evaluation happens this long after its second began (`LeaderTerm.evaluateEachSecond`).
    static let evaluationMilliseconds: Int64 = 330

    /// - Returns: for each sample the second of the first evaluation that knows it.
    @discardableResult
    func record(_ samples: [Sample], at wall: WallTime) -> [Int64] {
        content.withLock { content in
            samples.map { sample in
                content.autoscaler.record(sample)
                return Self.nextEvaluation(content.recorders[sample.app]?.lastEvaluated, wall)
            }
        }
    }

    /// The evaluation after the last one; where there was none lately, the one that is due by the clock.
    private static func nextEvaluation(_ last: Int64?, _ wall: WallTime) -> Int64 {
        let due = (wall.milliseconds - evaluationMilliseconds + 999) / 1_000
        guard let last, abs(due - last) <= 3 else { return due }
        return last + 1
    }

    func record(_ readings: [CustomReading], app: AppName) {
        content.withLock { content in
            for reading in readings {
                content.autoscaler.record(reading, app: app)
                content.recorders[app, default: ScalingRecorder()].note(.custom(reading))
            }
        }
    }

    func evaluate(
        _ app: AppName, policy: ScalingPolicy, state: ReplicaState, at second: Int64
    ) -> (evaluation: Evaluation, observed: ObservedMetrics) {
        content.withLock { content in
            let evaluation = content.autoscaler.evaluate(app, policy: policy, state: state, at: second)
            content.recorders[app, default: ScalingRecorder()].evaluated(
                at: second, policy: policy, state: state, wanted: evaluation.wanted)
            let observed = content.autoscaler.observed(app, policy: policy, ready: state.ready.count, at: second)
            return (evaluation, observed)
        }
    }

    /// Not part of the record: it depends on no samples, and what follows from it is noted by `noteScaled`.
    func wake(_ app: AppName, policy: ScalingPolicy, state: ReplicaState, at second: Int64) -> Evaluation? {
        content.withLock { $0.autoscaler.wake(app, policy: policy, state: state, at: second) }
    }

    func noteScaled(_ app: AppName, from: Int, to: Int, at second: Int64) {
        content.withLock { content in
            content.autoscaler.noteScaled(app, from: from, to: to, at: second)
            content.recorders[app, default: ScalingRecorder()].note(.scaled(from: from, to: to, second: second))
        }
    }

    func inject(_ metrics: SimulatedMetrics, app: AppName, second: Int64) {
        content.withLock { content in
            content.autoscaler.inject(metrics, app: app, second: second)
            content.recorders[app, default: ScalingRecorder()].note(.injected(metrics, second: second))
        }
    }

    func retain(_ app: AppName, windowSeconds: Int) {
        content.withLock { $0.autoscaler.retain(app, windowSeconds: windowSeconds) }
    }

    func forget(_ app: AppName, at second: Int64) {
        content.withLock { content in
            content.autoscaler.forget(app)
            content.recorders[app]?.note(.forgotten(second: second))
        }
    }

    /// Reads only.
    func with<Value: Sendable>(_ body: (borrowing Autoscaler) -> Value) -> Value {
        content.withLock { body($0.autoscaler) }
    }

    /// What was recorded since it was last asked, for the cache.
    /// - Parameter all: with the runs that are not complete yet.
    func takeRecords(all: Bool = false) -> [MetricsDatabase.ScalingLine] {
        let taken = content.withLock { content in
            content.recorders.keys.sorted().flatMap { app in
                (content.recorders[app]?.take(all: all) ?? []).map { (app, $0) }
            }
        }
        let encoder = JSONEncoder()
        return taken.compactMap { app, record in
            // A record that can't be written (a figure that is no number) is missing from the next simulation.
            guard let text = try? encoder.encode(record) else { return nil }
            return MetricsDatabase.ScalingLine(
                app: app, second: record.lastSecond, text: String(decoding: text, as: UTF8.self))
        }
    }

    static func decode(_ lines: [String]) -> [ScalingRecord] {
        let decoder = JSONDecoder()
        // A line of another release is left out.
        return lines.compactMap { try? decoder.decode(ScalingRecord.self, from: Data($0.utf8)) }
    }
}
