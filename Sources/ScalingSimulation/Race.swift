import Autoscaling
import OrchestryModel

/// Our policy beside other rules on the same loads: what `orchestry simulate --race` and `orchestry-bench autoscaler`
/// print. Target 50 requests per second and instance, 1 to 20 instances; an instance can carry 60 and takes the first
/// request 2 s after it was decided on.
public struct Race: Sendable {
    public static let target = 50.0
    public static let bounds = 1...20
    public static let model = AppModel(capacityPerInstance: 60, startSeconds: 2)
    /// When the step trace rises and falls, and what it needs.
    public static let step = (up: Int64(120), down: Int64(720), size: 10)

    /// The policy that races: defaults, but for the target and the bounds.
    public static var policy: ScalingPolicy {
        ScalingPolicy(minReplicas: bounds.lowerBound, maxReplicas: bounds.upperBound, targetRPS: target)
    }

    /// All scenarios, the step first.
    public static func scenarios() -> [Scenario] {
        let peak = { (second: Int64) in (60..<660).contains(second) ? 500.0 : 20.0 }
        var outage = LoadTrace(seconds: 780, rps: peak)
        outage.hide(300..<360)
        return [
            Scenario(
                "step", LoadTrace(seconds: 1_080) { (step.up..<step.down).contains($0) ? 500 : 20 }),
            Scenario("saw-tooth", LoadTrace(seconds: 720) { 50 + 450 * Double($0 % 120) / 120 }),
            Scenario(
                "ramp",
                LoadTrace(seconds: 900) { second in
                    second < 300
                        ? 20 + 1.6 * Double(second) : second < 480 ? 500 : max(20, 500 - 1.6 * Double(second - 480))
                }),
            Scenario("one-sample spike", LoadTrace(seconds: 480) { $0 == 120 ? 2_000 : 100 }),
            Scenario("metric outage", outage),
            Scenario(
                "one hot of ten", LoadTrace(seconds: 480) { _ in 480 }, hot: (120..<360, 2)),
            Scenario(
                "deploy", LoadTrace(seconds: 600) { (200..<260).contains($0) ? 150 : 500 }, rollout: 180..<300),
        ]
    }

    /// The rules that race, ours first.
    public static func rules(policy: ScalingPolicy) -> [any ScalingRule] {
        [
            OrchestryRule(policy), HorizontalPodRule(targetRPS: target, bounds: bounds),
            KnativeRule(targetRPS: target, bounds: bounds), OriginalRule(targetRPS: target, bounds: bounds),
        ]
    }

    public struct Result: Sendable {
        public var scenario: String
        public var run: ScalingRun
    }
    public let results: [Result]

    public init(policy: ScalingPolicy = Race.policy) {
        var results: [Result] = []
        for scenario in Self.scenarios() {
            // What the first second needs is there.
            let first = scenario.trace.points.first?.rps ?? 0
            let start = max(1, Int((first / Self.target).rounded(.up)))
            for rule in Self.rules(policy: policy) {
                results.append(
                    Result(
                        scenario: scenario.name,
                        run: ScalingRun(
                            rule, scenario: scenario, model: Self.model, bounds: Self.bounds, start: start,
                            targetRPS: Self.target)))
            }
        }
        self.results = results
    }

    /// Two tables of plain text.
    public var text: String {
        func seconds(_ value: Int64?) -> String { value.map { "\($0) s" } ?? "never" }
        let steps = results.filter { $0.scenario == "step" }.map { result in
            let run = result.run
            return [
                run.rule, seconds(run.firstAction(after: Self.step.up)),
                seconds(run.reaches(Self.step.size, after: Self.step.up)), "\(max(0, run.peak - Self.step.size))",
                seconds(run.returns(to: 1, after: Self.step.down)),
            ]
        }
        let rows = results.map { result in
            [
                result.scenario, result.run.rule, "\(result.run.secondsShort)", "\(result.run.wastedSeconds)",
                "\(result.run.changesOfDirection)", "\(result.run.steps.count)", "\(result.run.peak)",
            ]
        }
        return "20 requests/s, 500 at \(Self.step.up) s, 20 at \(Self.step.down) s:\n"
            + PlainTable.render(["RULE", "FIRST ACTION", "TIME TO 10", "OVERSHOOT", "BACK TO 1"], steps)
            + "\n\nAll scenarios:\n"
            + PlainTable.render(
                ["SCENARIO", "RULE", "SHORT, S", "WASTED, INSTANCE-S", "TURNS", "CHANGES", "PEAK"], rows) + "\n"
    }

    public var json: JSONValue {
        .array(
            results.map { result in
                let run = result.run
                var members: [String: JSONValue] = [
                    "scenario": .string(result.scenario), "rule": .string(run.rule),
                    "seconds_short": JSONValue(run.secondsShort),
                    "wasted_instance_seconds": JSONValue(run.wastedSeconds),
                    "instance_seconds": JSONValue(run.instanceSeconds),
                    "changes_of_direction": JSONValue(run.changesOfDirection), "changes": JSONValue(run.steps.count),
                    "peak": JSONValue(run.peak),
                ]
                if result.scenario == "step" {
                    func number(_ value: Int64?) -> JSONValue { value.map { .int($0) } ?? .null }
                    members["first_action_seconds"] = number(run.firstAction(after: Self.step.up))
                    members["right_size_seconds"] = number(run.reaches(Self.step.size, after: Self.step.up))
                    members["overshoot"] = JSONValue(max(0, run.peak - Self.step.size))
                    members["back_seconds"] = number(run.returns(to: 1, after: Self.step.down))
                }
                return .object(members)
            })
    }
}

/// Columns of text, aligned left, two spaces apart.
public enum PlainTable {
    public static func render(_ heading: [String], _ rows: [[String]]) -> String {
        let all = [heading] + rows
        let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                if column < row.count - 1 { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
            }
            return line
        }.joined(separator: "\n")
    }
}
