import DockerEngine
import OrchestryModel
import TestSupport
import Testing

/// Commands in containers, as health checks run them.
@Suite(.needsTools, .timeLimit(.minutes(3)))
struct CommandTests {
    @Test func `a command's exit code and output come back, run as the container's user`() async throws {
        try await EngineFixture.withTools { engine, container in
            let good = try await engine.execute(["id", "-u"], in: container.id, timeout: .seconds(20))
            #expect(good == CommandResult(exitCode: 0, output: "65534\n"))
            let bad = try await engine.execute(
                ["sh", "-c", "echo out; echo err >&2; exit 7"], in: container.id, timeout: .seconds(20))
            #expect(bad.exitCode == 7)
            #expect(bad.output.contains("out\n") && bad.output.contains("err\n"))
            let much = try await engine.execute(
                ["sh", "-c", "head -c 300000 /dev/zero"], in: container.id, timeout: .seconds(20))
            #expect(much.exitCode == 0 && much.output.utf8.count == 4_096)
        }
    }

    @Test func `a late command is a timeout, and no other is begun while it runs`() async throws {
        try await EngineFixture.withTools { engine, container in
            let begun = ContinuousClock.now
            func code(_ command: [String]) async -> EngineError.Code? {
                do throws(EngineError) {
                    _ = try await engine.execute(command, in: container.id, timeout: .milliseconds(800))
                    return nil
                } catch {
                    return error.code
                }
            }
            #expect(await code(["sleep", "5"]) == .timeout)
            #expect(await code(["true"]) == .timeout, "the first one still runs")
            #expect(ContinuousClock.now - begun < .seconds(5))
            _ = try await EngineFixture.eventually("the late one to end") { await code(["true"]) == nil ? true : nil }
        }
    }

    @Test func `what can't be run says so`() async throws {
        try await EngineFixture.withTools { engine, container in
            do throws(EngineError) {
                // Some engines refuse the start, others end it with the shell's codes.
                let result = try await engine.execute(["/no/such"], in: container.id, timeout: .seconds(20))
                #expect([126, 127].contains(result.exitCode), "\(result)")
            } catch {
                #expect(error.message.contains("/no/such"), "\(error)")
            }
            try await engine.remove(container.id)
            await #expect(throws: EngineError.self) {
                try await engine.execute(["true"], in: container.id, timeout: .seconds(20))
            }
        }
    }
}
