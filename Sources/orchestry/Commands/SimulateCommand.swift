import ArgumentParser
import Foundation
import OrchestryModel
import ScalingSimulation

struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Show what a scaling policy would do, with the evaluator that runs in production.",
        discussion: """
            With --trace the load comes from a file (CSV: second,rps and perhaps connections, p95_ms, cpu_percent, \
            memory_percent, instances; a row holds until the next), and nothing is asked of a server unless --app names an \
            app whose policy is to be compared. With --app alone it is the load of late, from the leader's cache.
              orchestry simulate --app web --since 24h --policy web-new.yaml --svg web.svg
              orchestry simulate --trace black-friday.csv --policy web.yaml
            """)
    @Option(help: "An app spec (or its scaling section alone) with the policy to try.") var policy: String?
    @Option(help: "The load, as CSV.") var trace: String?
    @Option(help: "The app whose recorded load, or whose policy in force, is used.") var app: String?
    @Option(help: "How far back, 1m to 7d (single seconds are kept for an hour, minutes for a week).") var since = "1h"
    @Option(help: "Requests per second one instance carries; a fifth more than the target, when left out.")
    var capacity: Double?
    @Option(help: "Seconds from a decision to a new instance's first request.") var startSeconds = 2
    @Option(help: "Instances at the beginning of a trace; the minimum, when left out.") var replicas: Int?
    @Option(help: "Write a chart to this file.") var svg: String?
    @Flag(help: "Our default policy beside Kubernetes', Knative's and the original's rule, on seven loads.") var race =
        false
    @OptionGroup var options: GlobalOptions

    func validate() throws {
        if race { return }
        guard trace != nil || app != nil else { throw ValidationError("name a load: --trace FILE or --app NAME") }
        guard policy != nil || app != nil else { throw ValidationError("name a policy: --policy FILE or --app NAME") }
        if let capacity, !(0.01...1_000_000).contains(capacity) {
            throw ValidationError("--capacity must be 0.01 to 1000000")
        }
        if let replicas, !(1...1_000).contains(replicas) { throw ValidationError("--replicas must be 1 to 1000") }
        guard (0...3_600).contains(startSeconds) else { throw ValidationError("--start-seconds must be 0 to 3600") }
    }

    func run() async throws {
        if race {
            let race = Race()
            return Output.show(race.json, as: options.output) { _ in race.text }
        }
        let asked = try policy.map(Self.scaling)
        guard let trace else { return try await simulateRecorded(app ?? "", asked) }
        var policies: [(policy: ScalingPolicy, name: String)] = []
        if let asked { policies.append((try Self.parse(asked, from: policy ?? ""), "asked")) }
        if let app {
            let raw = try await options.withClient { try await $0.get(APIClient.appPath(app, "/raw"), app: app) }
            policies.append((try Self.parse(raw["raw"]?["scaling"] ?? [:], from: app), "in force"))
        }
        let report = try simulate(trace, policies)
        try write(report.chart)
        Output.show(report.json, as: options.output) { _ in report.text }
    }

    private func simulate(_ file: String, _ policies: [(policy: ScalingPolicy, name: String)]) throws
        -> SimulationReport
    {
        guard let bytes = FileManager.default.contents(atPath: file), let text = String(bytes: bytes, encoding: .utf8)
        else { throw CommandFailure.usage("\(file) cannot be read as text") }
        let load: LoadTrace
        do throws(TraceError) {
            load = try LoadTrace(csv: text)
        } catch {
            throw CommandFailure.usage("\(file), \(error)")
        }
        return SimulationReport(
            runs: policies.map { policy, name in
                var model = AppModel(policy: policy)
                if let capacity { model.capacityPerInstance = capacity }
                model.startSeconds = Int64(startSeconds)
                return ScalingRun(
                    OrchestryRule(policy, name: name) { zone, second in
                        TimeZone(identifier: zone).map {
                            Int64($0.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
                        }
                    }, scenario: Scenario(file, load), model: model,
                    bounds: policy.leastAwake...max(policy.leastAwake, policy.maxReplicas),
                    start: replicas ?? policy.leastAwake, targetRPS: policy.targetRPS)
            })
    }

    private func simulateRecorded(_ app: String, _ asked: JSONValue?) async throws {
        let seconds = try ShortDuration.seconds(since, option: "--since", 60...SimulationRequest.longestSeconds)
        var body: [String: JSONValue] = ["sinceSeconds": JSONValue(seconds), "startSeconds": JSONValue(startSeconds)]
        if let asked { body["policy"] = asked }
        if let capacity { body["capacityPerInstance"] = JSONValue(capacity) }
        let request = JSONValue.object(body)
        let answer = try await options.withClient {
            try await $0.post(APIClient.appPath(app, "/simulate"), request, app: app)
        }
        try write(answer["chart"]?.stringValue ?? "")
        Output.show(answer, as: options.output) { $0["text"]?.stringValue ?? "" }
    }

    private func write(_ chart: String) throws {
        guard let svg else { return }
        do {
            try chart.write(toFile: svg, atomically: true, encoding: .utf8)
        } catch {
            throw CommandFailure.local("\(svg) cannot be written: \(error.localizedDescription)")
        }
    }

    /// The `scaling` section of a spec file; a file without one is taken for the section itself.
    private static func scaling(_ file: String) throws -> JSONValue {
        let document = try SpecFile.read(file)
        if document["metadata"] != nil || document["spec"] != nil { return document["scaling"] ?? [:] }
        return document["scaling"] ?? document
    }

    private static func parse(_ scaling: JSONValue, from source: String) throws -> ScalingPolicy {
        do {
            return try ScalingPolicy.parse(scaling, merging: [:]).policy
        } catch {
            throw CommandFailure.usage("\(source): \(error)")
        }
    }
}
