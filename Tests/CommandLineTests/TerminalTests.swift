import Foundation
import OrchestryModel
import RestFacade
import Testing

/// What people at a terminal see, and nobody else.
struct TerminalTests {
    private static let web = Application(
        spec: AppSpec(name: AppName(unchecked: "web"), image: "w:1", ports: []), document: [:], revision: 1,
        status: .running, replicas: 1, createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 1))

    @Sendable private static func answer(_ request: ControlRequest, _ number: Int) -> ControlResponse {
        switch request.operation {
        case .usageOfApps:
            ControlResponse(
                body: Presentation.usageOfApps([
                    .init(app: web.name, status: .running, wanted: 1, ready: 1, observed: nil)
                ]))
        case .appStatus:
            ControlResponse(
                body: Presentation.appStatus(
                    web,
                    instances: number < 2
                        ? []
                        : [
                            InstanceStatus(
                                instance: InstanceID(unchecked: "web-1"), app: web.name, revision: 1,
                                node: NodeID(unchecked: "n"), state: .ready, since: WallTime(seconds: 1))
                        ]))
        default: ControlResponse(body: Presentation.appList([Presentation.appListEntry(web, readyReplicas: 1)]))
        }
    }

    @Test func `colours are for a terminal, unless NO_COLOR`() async throws {
        try await FakeServer.run(Self.answer) { server in
            let seen = try await CommandLineRun.run(["list"], server: server.url, onTerminal: true)
            #expect(seen.exitCode == 0)
            #expect(seen.output.contains("\u{1B}[1mNAME\u{1B}[0m"), "\(seen.output)")
            #expect(seen.output.contains("\u{1B}[32mrunning\u{1B}[0m"), "\(seen.output)")
            let plain = try await CommandLineRun.run(
                ["list"], server: server.url, environment: ["NO_COLOR": "1"], onTerminal: true)
            #expect(plain.output.contains("running") && !plain.output.contains("\u{1B}"), "\(plain.output)")
            let json = try await CommandLineRun.run(["list", "-o", "json"], server: server.url, onTerminal: true)
            #expect(!json.output.contains("\u{1B}"))
            let piped = try await CommandLineRun.run(["list"], server: server.url)
            #expect(piped.output.contains("running") && !piped.output.contains("\u{1B}"))
        }
    }

    @Test func `top is drawn anew until it is interrupted`() async throws {
        try await FakeServer.run(Self.answer) { server in
            func screens(_ text: String) -> Int { text.components(separatedBy: "\u{1B}[H\u{1B}[2J").count - 1 }
            let run = try await CommandLineRun.run(["top", "--every", "1"], server: server.url, onTerminal: true) {
                $0.components(separatedBy: "\u{1B}[H\u{1B}[2J").count > 2
            }
            #expect(screens(run.output) >= 2, "\(run.output)")
            #expect(run.output.contains("web"))
            let once = try await CommandLineRun.run(["top", "--once"], server: server.url, onTerminal: true)
            #expect(once.exitCode == 0 && screens(once.output) == 0)
        }
    }

    @Test func `progress takes one line, which is gone in the end`() async throws {
        try await FakeServer.run(Self.answer) { server in
            let run = try await CommandLineRun.run(["wait", "web"], server: server.url, onTerminal: true)
            #expect(run.exitCode == 0)
            #expect(
                run.output == "\r\u{1B}[Kweb: 0 of 1 ready\r\u{1B}[Kweb: 1 of 1 ready, revision 1.\r\n", "\(run.output)"
            )
        }
    }
}
