import Foundation
import OrchestryModel
import Testing

/// `orchestry simulate` by itself, without any server.
struct SimulateTests {
    @Test func `a trace file and a policy give a table, JSON and a chart, without a server`() async throws {
        try await CommandLineRun.withFolder { folder in
            let (trace, policy, chart) = (
                folder.appendingPathComponent("load.csv"), folder.appendingPathComponent("policy.yaml"),
                folder.appendingPathComponent("chart.svg")
            )
            try "second,rps\n0,20\n60,400\n180,20\n400,20\n".write(to: trace, atomically: true, encoding: .utf8)
            try "scaling: {maxReplicas: 20, targetRPSPerReplica: 50}\n".write(
                to: policy, atomically: true, encoding: .utf8)
            let arguments = ["simulate", "--trace", trace.path, "--policy", policy.path, "--svg", chart.path]
            let table = try await CommandLineRun.run(arguments)
            #expect(table.exitCode == 0, "\(table.errors)")
            for words in ["1 → 8", "Scale out: burst"] {
                #expect(table.output.contains(words), "\(table.output)")
            }
            #expect(try String(contentsOf: chart, encoding: .utf8).hasPrefix("<svg"))
            let json = try await CommandLineRun.run(arguments + ["-o", "json"])
            let answer = try JSONValue(jsonText: json.output)
            #expect(answer["policies"]?.arrayValue?.first?["peak"] == 8, "\(json.output)")
        }
    }

    @Test(arguments: [
        (["simulate"], "--trace FILE or --app NAME"),
        (["simulate", "--trace", "x.csv"], "--policy FILE or --app NAME"),
        (["simulate", "--app", "web", "--since", "9y"], "--since must be a time"),
        (["simulate", "--trace", "/nowhere.csv", "--policy", "/nowhere.yaml"], "there is no file /nowhere.yaml"),
        (["scale", "web"], "how many replicas"), (["scale", "web", "2", "--for", "31d"], "--for must be a time"),
    ])
    func `wrong usage says what is missing`(_ arguments: [String], _ words: String) async throws {
        let run = try await CommandLineRun.run(arguments)
        #expect(run.exitCode == 2, "\(run.errors)")
        #expect(run.errors.contains(words), "\(run.errors)")
    }

    @Test func `the race needs nothing`() async throws {
        let run = try await CommandLineRun.run(["simulate", "--race"])
        #expect(run.exitCode == 0)
        #expect(run.output.contains("TIME TO 10") && run.output.contains("Knative"), "\(run.output)")
    }
}
