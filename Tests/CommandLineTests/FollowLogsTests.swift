import OrchestryModel
import Testing

struct FollowLogsTests {
    private let refuse: @Sendable (ControlRequest, Int) -> ControlResponse = { _, _ in ControlResponse(body: [:]) }

    @Test func `logs -f comes back when the connection ends, and shows no line twice`() async throws {
        try await FakeServer.run(refuse) { server in
            let run = try await CommandLineRun.run(["logs", "web", "-f"], server: server.url) { $0.contains("line 4") }
            let lines = run.output.split(separator: "\n").prefix(4)
            #expect(lines.map { $0.split(separator: "] ").last ?? "" } == ["line 1", "line 2", "line 3", "line 4"])
            #expect(lines.allSatisfy { $0.contains("[web-1-a]") })
        }
    }

    @Test func `logs -f of an app that is not there ends with 4`() async throws {
        try await FakeServer.run(refuse) { server in
            let run = try await CommandLineRun.run(["logs", "shop", "-f"], server: server.url)
            #expect(run.exitCode == 4)
            #expect(run.errors.contains("shop"))
        }
    }
}
