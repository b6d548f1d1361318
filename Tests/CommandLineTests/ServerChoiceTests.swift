import Foundation
import OrchestryModel
import RestFacade
import Testing

/// Which server is asked, what happens when it cannot answer, and the exit codes.
struct ServerChoiceTests {
    private static func fine(_ request: ControlRequest, _ number: Int) -> ControlResponse {
        ControlResponse(body: Presentation.appList([]))
    }

    @Test(arguments: [
        ["scale", "web"], ["scale", "web", "many"], ["nonsense"], ["list", "--output", "xml"],
        ["list", "--timeout", "-1"],
        ["list", "--server", "ftp://x"], ["list", "--server", "http://"], ["list", "--server", "http://x:99999"],
        ["config", "set", "--host", "http://x"], ["config", "set", "--host", "x", "--port", "0"], ["delete", "web"],
    ])
    func `wrong usage is 2`(_ arguments: [String]) async throws {
        let run = try await CommandLineRun.run(arguments)
        #expect(run.exitCode == 2)
        #expect(run.errors.hasPrefix("Error: "), "\(run.errors)")
        #expect(run.output == "")
    }

    @Test(arguments: [["--help"], ["help", "scale"], ["--version"], ["version"], ["cluster", "--help"]])
    func `help and version are 0`(_ arguments: [String]) async throws {
        let run = try await CommandLineRun.run(arguments)
        #expect(run.exitCode == 0)
        #expect(!run.output.isEmpty)
        #expect(run.errors == "")
    }

    @Test(arguments: [
        ["status", "nope"], ["up", "nope"], ["delete", "nope", "-f"], ["scale", "nope", "1"], ["why", "No!"],
    ])
    func `an app that is not there is 4`(_ arguments: [String]) async throws {
        let missing = ControlResponse(.appNotFound(AppName(unchecked: "nope")))
        try await FakeServer.run({ _, _ in missing }) { server in
            let run = try await CommandLineRun.run(arguments, server: server.url)
            #expect(run.exitCode == 4)
            #expect(run.errors.contains("not found. `orchestry list` shows the registered apps."), "\(run.errors)")
        }
    }

    @Test func `nobody there is 3, with what to do`() async throws {
        let port = try await FakeServer.freePort()
        let run = try await CommandLineRun.run(["list", "--timeout", "0.2"], server: "127.0.0.1:\(port)")
        #expect(run.exitCode == 3)
        #expect(run.errors.contains("http://127.0.0.1:\(port): connection refused"), "\(run.errors)")
        #expect(run.errors.contains("orchestry config set"))
    }

    @Test func `a refusal is 1, at once`() async throws {
        let problem = Problem(status: 409, code: "conflict", title: "Not now", detail: "A rollout is running.")
        try await FakeServer.run({ _, _ in ControlResponse(problem) }) { server in
            let run = try await CommandLineRun.run(["up", "web"], server: server.url)
            #expect(run.exitCode == 1)
            #expect(run.errors == "Error: Not now: A rollout is running.\n")
            #expect(server.plane.requests.count == 1)
        }
    }

    @Test func `no leader for a moment is waited out, with one idempotency key`() async throws {
        try await FakeServer.run({ _, number in
            number < 3
                ? ControlResponse(.noLeader("wait"))
                : ControlResponse(body: Presentation.scaled(AppName(unchecked: "web"), replicas: 2))
        }) { server in
            let run = try await CommandLineRun.run(["scale", "web", "2"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(server.plane.requests.count == 3)
            #expect(Set(server.plane.requests.map(\.idempotencyKey)).count == 1)
        }
    }

    @Test func `no leader for too long is 1, in the server's words`() async throws {
        try await FakeServer.run({ _, _ in ControlResponse(.noLeader("two of three nodes are away")) }) { server in
            let run = try await CommandLineRun.run(["up", "web", "--timeout", "0.5"], server: server.url)
            #expect(run.exitCode == 1)
            #expect(run.errors.contains("No leader can take this write now: two of three nodes are away"))
        }
    }

    @Test func `the next server is asked when one is down or cannot`() async throws {
        let down = try await FakeServer.freePort()
        try await FakeServer.run({ _, _ in ControlResponse(.noLeader("wait")) }) { unable in
            try await FakeServer.run(Self.fine) { server in
                let run = try await CommandLineRun.run(
                    ["list", "--server", "http://127.0.0.1:\(down),\(unable.url), \(server.url)/"],
                    server: "http://unused")
                #expect(run.exitCode == 0, "\(run.errors)")
                #expect(unable.plane.requests.count == 1)
                #expect(server.plane.requests.count == 1)
            }
        }
    }

    @Test func `a server that comes up in time is reached`() async throws {
        let port = try await FakeServer.freePort()
        let exitCode = try await withThrowingTaskGroup(of: Int32?.self) { group in
            group.addTask {
                try await CommandLineRun.run(["list", "--timeout", "20"], server: "http://127.0.0.1:\(port)").exitCode
            }
            group.addTask {
                try await Task.sleep(for: .milliseconds(300))
                // Until the program is done and the group cancels it.
                return try await FakeServer.run(port: port, Self.fine) { _ in
                    try await Task.sleep(for: .seconds(60))
                    return nil
                }
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        #expect(exitCode == 0)
    }

    @Test func `the stored server is asked, in the original's file`() async throws {
        try await FakeServer.run(Self.fine) { server in
            try await CommandLineRun.withFolder { home in
                let file = home.appendingPathComponent(".config/orchestry/config.yaml")
                let set = try await CommandLineRun.run(
                    ["config", "set", "--host", "127.0.0.1", "--port", "\(server.port)"], home: home)
                #expect(set.exitCode == 0, "\(set.errors)")
                #expect(try String(contentsOf: file, encoding: .utf8) == "host: \"127.0.0.1\"\nport: \(server.port)\n")
                #expect(try await CommandLineRun.run(["list"], home: home).exitCode == 0)
                let show = try await CommandLineRun.run(["config", "show", "-o", "json"], home: home)
                #expect(try JSONValue(jsonText: show.output)["servers"] == [.string(server.url)])

                // As the original's CLI writes it.
                try "host: localhost\nport: '\(server.port)'\n".write(to: file, atomically: true, encoding: .utf8)
                #expect(try await CommandLineRun.run(["list"], home: home).exitCode == 0)
                #expect(server.plane.requests.count == 2)

                try "host: x\n".write(to: file, atomically: true, encoding: .utf8)
                let broken = try await CommandLineRun.run(["list"], home: home)
                #expect(broken.exitCode == 2)
                #expect(broken.errors.contains("must have host and port"))
            }
        }
    }

    @Test func `a server that speaks otherwise is refused in words`() async throws {
        // The facade's own text route stands for one.
        try await FakeServer.run(Self.fine) { server in
            let run = try await CommandLineRun.run(["list"], server: "\(server.url)/metrics/prometheus?x=")
            #expect(run.exitCode == 2)
            let other = try await CommandLineRun.run(["list"], server: "\(server.url)/nowhere")
            #expect(other.exitCode == 1)
            #expect(other.errors.contains("Not Found"), "\(other.errors)")
        }
    }
}
