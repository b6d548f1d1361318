import Foundation
import OrchestryModel
import RestFacade
import Testing

struct ContextTests {
    @Sendable private static func list(_ request: ControlRequest, _ number: Int) -> ControlResponse {
        ControlResponse(body: Presentation.appList([]))
    }

    @Test func `clusters by name: the one in use, the one asked for, the order of what counts`() async throws {
        try await FakeServer.run(Self.list) { one in
            try await FakeServer.run(Self.list) { two in
                try await CommandLineRun.withFolder { home in
                    func run(_ arguments: String..., server: String? = nil) async throws -> CommandLineRun {
                        try await CommandLineRun.run(arguments, server: server, home: home)
                    }
                    func counts() -> [Int] { [one.plane.requests.count, two.plane.requests.count] }
                    let first = try await run("context", "add", "one", one.url)
                    #expect(first.exitCode == 0, "\(first.errors)")
                    #expect(first.output.contains("it is asked from now on"))
                    #expect(try await run("context", "add", "two", two.url).exitCode == 0)
                    // Host and port stay beside them.
                    #expect(try await run("config", "set", "--host", "nowhere.invalid").exitCode == 0)

                    #expect(try await run("list").exitCode == 0)
                    #expect(counts() == [1, 0])
                    #expect(try await run("list", "--context", "two").exitCode == 0)
                    #expect(counts() == [1, 1])
                    #expect(try await run("list", "--context", "two", server: one.url).exitCode == 0)
                    #expect(counts() == [1, 2])
                    #expect(try await run("list", server: two.url).exitCode == 0)
                    #expect(counts() == [1, 3])
                    let overruled = try await run("context", "use", "two", server: one.url)
                    #expect(overruled.errors.contains("ORCHESTRY_SERVER is set here and comes first"))
                    let stored = try await run("config", "set", "--host", "nowhere.invalid")
                    #expect(stored.errors.contains("the context two is in use and comes first"), "\(stored.errors)")
                    #expect(try await run("context", "use", "-").exitCode == 0)
                    #expect(try await run("config", "show").output.contains("Asked:  http://nowhere.invalid:8000"))
                    #expect(try await run("context", "use", "two").exitCode == 0)
                    #expect(try await run("list").exitCode == 0)
                    #expect(counts() == [1, 4])

                    let shown = try await run("context")
                    #expect(shown.output.contains("*  two"), "\(shown.output)")
                    #expect(try await run("context", "remove", "two").exitCode == 0)
                    let names = try await run("names", "contexts")
                    #expect(names.output == "one\n")
                    let json = try await run("context", "list", "-o", "json")
                    #expect(try JSONValue(jsonText: json.output)["current"] == .null)
                }
            }
        }
    }

    @Test func `wrong usage`() async throws {
        try await CommandLineRun.withFolder { home in
            for (arguments, words) in [
                (["list", "--context", "nope"], "there is no context nope"),
                (["context", "use", "nope"], "orchestry context add nope"),
                (["context", "add", "a b", "http://h"], "is not a name"),
                (["context", "add", "a", "ftp://h"], "is not a server's address"),
                (["list", "--context", "a", "--server", "http://h"], "give one of them"),
            ] {
                let run = try await CommandLineRun.run(arguments, home: home)
                #expect(run.exitCode == 2, "\(arguments)")
                #expect(run.errors.contains(words), "\(run.errors)")
            }
        }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func `completion asks for names`(_ shell: String) async throws {
        let run = try await CommandLineRun.run(["completion", shell])
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(run.output.contains("orchestry names apps"))
        #expect(run.output.contains("maintenance"))
        guard shell == "bash" else { return }
        let check = Process()
        check.executableURL = URL(fileURLWithPath: "/bin/bash")
        check.arguments = ["-n"]
        let pipe = Pipe()
        check.standardInput = pipe
        try check.run()
        pipe.fileHandleForWriting.write(Data(run.output.utf8))
        try pipe.fileHandleForWriting.close()
        check.waitUntilExit()
        #expect(check.terminationStatus == 0)
    }

    @Test func `names for completion`() async throws {
        let application = Application(
            spec: AppSpec(name: AppName(unchecked: "web"), image: "w:1", ports: []), document: [:], revision: 1,
            status: .stopped, replicas: 0, createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 1))
        let answer = Presentation.appList([Presentation.appListEntry(application, readyReplicas: 0)])
        try await FakeServer.run({ _, _ in ControlResponse(body: answer) }) { server in
            let run = try await CommandLineRun.run(["names", "apps"], server: server.url)
            #expect(run.output == "web\n")
        }
    }
}
