import OrchestryModel

/// What came of one policy under one load, and of the policy in force beside it.
public struct SimulationReport: Sendable {
    /// The policies that were tried, the one asked about first.
    public var runs: [ScalingRun]
    /// The count that really was, where it is known.
    public var recorded: [ScalingRun.Step]
    public var notes: [String]

    public init(runs: [ScalingRun], recorded: [ScalingRun.Step] = [], notes: [String] = []) {
        self.runs = runs
        self.recorded = recorded
        self.notes = notes
    }

    /// One line of figures for each policy, then the changes of the first.
    public var text: String {
        let rows = runs.map { run in
            [
                run.rule, "\(run.secondsShort)", Self.hours(run.instanceSeconds), Self.hours(run.wastedSeconds),
                "\(run.changesOfDirection)", "\(run.steps.count)", "\(run.peak)",
            ]
        }
        var text = PlainTable.render(
            ["POLICY", "SHORT, S", "INSTANCE-H", "UNNEEDED, H", "TURNS", "CHANGES", "PEAK"], rows)
        if let run = runs.first {
            let start = run.points.first?.second ?? 0
            let shown = run.steps.prefix(Self.shownSteps).map {
                ["\($0.second - start) s", "\($0.from) → \($0.to)", $0.reason]
            }
            if shown.isEmpty {
                text += "\n\nThe count never changes."
            } else {
                text += "\n\n" + PlainTable.render(["AT", "REPLICAS", "WHY"], shown)
                if run.steps.count > shown.count { text += "\n… and \(run.steps.count - shown.count) more changes" }
            }
        }
        for note in notes { text += "\n\(note)" }
        return text
    }
    private static let shownSteps = 40

    public var json: JSONValue {
        [
            "policies": .array(runs.map(Self.json)), "recorded": .array(recorded.map(Self.json)),
            "notes": .array(notes.map { .string($0) }),
        ]
    }

    private static func json(_ run: ScalingRun) -> JSONValue {
        [
            "name": .string(run.rule), "from_second": .int(run.points.first?.second ?? 0),
            "seconds": JSONValue(run.points.count), "seconds_short": JSONValue(run.secondsShort),
            "instance_seconds": JSONValue(run.instanceSeconds),
            "instance_hours": JSONValue(Double(run.instanceSeconds) / 3_600),
            "unneeded_instance_seconds": JSONValue(run.wastedSeconds),
            "changes_of_direction": JSONValue(run.changesOfDirection), "peak": JSONValue(run.peak),
            "steps": .array(run.steps.map(json)),
        ]
    }

    private static func json(_ step: ScalingRun.Step) -> JSONValue {
        [
            "second": .int(step.second), "from": JSONValue(step.from), "to": JSONValue(step.to),
            "reason": .string(step.reason),
        ]
    }

    /// With two digits, without Foundation.
    static func hours(_ seconds: Int) -> String {
        let hundredths = (seconds * 100 + 1_800) / 3_600
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    /// The chart: load above, replicas of every policy below.
    public var chart: String { ReplicaChart(runs: runs, recorded: recorded).svg }
}
