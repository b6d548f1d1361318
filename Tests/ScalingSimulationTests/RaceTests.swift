import Autoscaling
import OrchestryModel
import ScalingSimulation
import Testing

/// The goals of the race, and what each scenario is there to show.
struct RaceTests {
    private static let race = Race()

    private func run(_ scenario: String, _ rule: String = "orchestry") throws -> ScalingRun {
        try #require(
            Self.race.results.first { $0.scenario == scenario && $0.run.rule == rule }?.run, "\(scenario), \(rule)")
    }

    @Test func `the step is met within 6 s, without overshoot, and left within 120 s`() throws {
        let run = try run("step")
        print(Self.race.text)
        let report = "\(run.steps)"
        #expect(try #require(run.reaches(10, after: Race.step.up), "\(report)") <= 6, "\(report)")
        #expect(run.peak <= 11, "\(report)")
        #expect(try #require(run.returns(to: 1, after: Race.step.down), "\(report)") <= 120, "\(report)")
    }

    @Test(arguments: ["HPA v2", "Knative", "original"])
    func `no other rule is at the right size sooner`(_ rule: String) throws {
        let ours = try #require(try run("step").reaches(10, after: Race.step.up))
        #expect(try run("step", rule).reaches(10, after: Race.step.up) ?? .max > ours)
    }

    @Test func `one odd sample starts no burst`() throws {
        let run = try run("one-sample spike")
        #expect(run.peak <= 4, "the mean of the window may add, the burst window may not: \(run.steps)")
    }

    @Test func `an outage of the metrics in mid-peak changes nothing`() throws {
        let run = try run("metric outage")
        #expect(run.points.filter { (200..<660).contains($0.second) }.allSatisfy { $0.desired == 10 }, "\(run.steps)")
        // The original takes silence for idleness.
        #expect(try self.run("metric outage", "original").secondsShort > run.secondsShort)
    }

    @Test func `nothing is given back while a rollout runs`() throws {
        let run = try run("deploy")
        #expect(run.points.filter { (180..<300).contains($0.second) }.allSatisfy { $0.desired >= 10 }, "\(run.steps)")
        #expect(run.secondsShort == 0)
    }

    @Test func `the table names every rule in every scenario`() {
        let lines = Self.race.text.split(separator: "\n")
        #expect(lines.count == 1 + 1 + 4 + 1 + 1 + 4 * Race.scenarios().count)
        #expect(Self.race.json.arrayValue?.count == 4 * Race.scenarios().count)
    }
}
