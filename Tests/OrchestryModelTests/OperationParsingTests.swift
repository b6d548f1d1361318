import OrchestryModel
import Testing

struct OperationParsingTests {
    private static let accepted: [(JSONValue, Int)] = [
        (["replicas": 0], 0), (["replicas": 100], 100), (["replicas": "2"], 2), (["replicas": 2.0], 2),
    ]
    @Test(arguments: accepted)
    func `replicas`(_ body: JSONValue, _ expected: Int) throws {
        #expect(try OrchestryModel.Operation.parseReplicas(body).replicas == expected)
    }

    private static let refused: [(JSONValue, String, String)] = [
        (["replicas": 101], "replicas", "from 0 to 100, got 101"), (["replicas": -1], "replicas", "got -1"),
        (["replicas": "abc"], "replicas", "got \"abc\""), (["replicas": 2.5], "replicas", "got 2.5"),
        (["replicas": .null], "replicas", "is required"), (["replicas": true], "replicas", "got true"),
        ([:], "replicas", "is required"), ([], "", "must be an object"),
        (["replicas": 0, "forSeconds": 60], "replicas", "at least 1"),
        (["replicas": 1, "forSeconds": 0], "forSeconds", "from 1 to 2592000"),
    ]
    @Test(arguments: refused)
    func `replicas that are refused`(_ body: JSONValue, _ field: String, _ words: String) {
        let error = #expect(throws: ValidationError.self) { try OrchestryModel.Operation.parseReplicas(body) }
        #expect(error?.violations.map(\.field) == [field])
        #expect(error?.violations.first?.rule.contains(words) == true)
    }

    @Test func `pauses and simulations are read, and their faults named`() throws {
        #expect(
            try OrchestryModel.Operation.parseAutoscale(["action": "Pause", "direction": "out", "forSeconds": "60"])
                == AutoscaleChange(.pause, .out, forSeconds: 60))
        #expect(try SimulationRequest.parse([:]) == SimulationRequest())
        for (body, field) in [
            (["direction": "in"], "action"), (["action": "stop"], "action"),
            (["action": "resume", "forSeconds": 5], "forSeconds"),
            (["action": "pause", "direction": "up"], "direction"),
        ] as [(JSONValue, String)] {
            let error = #expect(throws: ValidationError.self) { try OrchestryModel.Operation.parseAutoscale(body) }
            #expect(error?.violations.first?.field == field)
        }
        let error = #expect(throws: ValidationError.self) {
            try SimulationRequest.parse(["sinceSeconds": 59, "policy": 4, "capacityPerInstance": 0])
        }
        #expect(Set(error?.violations.map(\.field) ?? []) == ["sinceSeconds", "policy", "capacityPerInstance"])
    }

    @Test func `a misspelt key is named with the right one`() {
        let error = #expect(throws: ValidationError.self) {
            try OrchestryModel.Operation.parseReplicas(["replica": 3])
        }
        #expect(error?.violations.map(\.field) == ["replica", "replicas"])
        #expect(error?.violations.first?.rule.contains("did you mean replicas?") == true)
    }

    @Test func `simulated metrics`() throws {
        #expect(try SimulatedMetrics.parse([:]) == SimulatedMetrics())
        #expect(
            try SimulatedMetrics.parse([
                "rps": 5000, "p95LatencyMs": 10.5, "activeConnections": 3, "cpuPercent": "5", "memoryPercent": 2,
                "healthyReplicas": 0, "evaluate": false,
            ])
                == SimulatedMetrics(
                    rps: 5000, p95LatencyMs: 10.5, activeConnections: 3, cpuPercent: 5, memoryPercent: 2,
                    healthyReplicas: 0, evaluate: false))
        let error = #expect(throws: ValidationError.self) {
            try SimulatedMetrics.parse(["rps": "x", "cpuPercent": -1, "evaluate": 1, "healthyReplicas": 1.5])
        }
        #expect(error?.violations.map(\.field) == ["rps", "cpuPercent", "healthyReplicas", "evaluate"])
    }

    @Test func `policies`() throws {
        #expect(try OrchestryModel.Operation.parsePolicy(["policy": [:]]) == [:])
        for body in [[:], ["policy": 3], "x"] as [JSONValue] {
            #expect(throws: ValidationError.self) { try OrchestryModel.Operation.parsePolicy(body) }
        }
    }
}
