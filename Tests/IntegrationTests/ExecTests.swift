import AccessControl
import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Commands in instances: our own CLI against three nodes, asked of one that does not have the instance.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(6)))
struct ExecTests {
    private struct Run: Sendable {
        var status: Int32
        var output: Data
        var errors: String
        var text: String { String(decoding: output, as: UTF8.self) }
    }

    /// A user at a shell, who is told of some servers and has a token.
    private struct User: Sendable {
        var server: String
        var token: String
        var folder: String

        private var environment: [String: String] {
            [
                "HOME": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm", "ORCHESTRY_SERVER": server,
                "ORCHESTRY_TOKEN": token,
            ]
        }

        func start(_ arguments: [String], input: Data = Data(), binary: String = Cluster.commandLine) throws -> Running
        {
            let files = try ["in", "out", "err"].map { name in
                let file = URL(fileURLWithPath: "\(folder)/\(UUID()).\(name)")
                try (name == "in" ? input : Data()).write(to: file)
                return file
            }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: binary)
            process.arguments = arguments
            process.environment = environment
            process.standardInput = try FileHandle(forReadingFrom: files[0])
            process.standardOutput = try FileHandle(forWritingTo: files[1])
            process.standardError = try FileHandle(forWritingTo: files[2])
            try process.run()
            return Running(process: process, output: files[1], errors: files[2])
        }

        func run(_ arguments: [String], input: Data = Data(), binary: String = Cluster.commandLine) async throws -> Run
        {
            try await start(arguments, input: input, binary: binary).ended()
        }
    }

    // Process is not Sendable, but waiting for it and signalling it is all that is done, one thing at a time.
    private struct Running: @unchecked Sendable {
        let process: Process
        let output: URL
        let errors: URL

        func written() -> String { (try? String(contentsOf: output, encoding: .utf8)) ?? "" }

        func ended() async throws -> Run {
            try await onOwnThread {
                process.waitUntilExit()
                return Run(
                    status: process.terminationStatus, output: try Data(contentsOf: output),
                    errors: try String(contentsOf: errors, encoding: .utf8))
            }
        }
    }

    private static let document: JSONValue = [
        "apiVersion": "v1", "kind": "App", "metadata": ["name": "tools"],
        "spec": [
            "type": "worker", "image": .string(ToolsImage.name), "pullPolicy": "Never",
            "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
            "resources": ["cpu": "100m", "memory": "32Mi"],
            "termination": ["drainSeconds": 1, "gracePeriodSeconds": 1],
        ],
        "scaling": ["mode": "manual", "minReplicas": 3, "maxReplicas": 3],
        "healthCheck": ["command": ["/bin/true"], "periodSeconds": 5, "timeoutSeconds": 20],
    ]

    private static func options() -> Cluster.Options {
        var random = SystemRandomNumberGenerator()
        var options = Cluster.Options(hasEdge: true)
        options.bootstrapToken = TokenText.generate(using: &random)
        return options
    }

    private struct Scene: Sendable {
        var cluster: Cluster
        var asked: Cluster.Member
        /// Has the instance, and is not the one asked.
        var holder: NodeID
        var instance: String
        var admin: User
    }

    private func prepare(_ cluster: Cluster) async throws -> Scene {
        _ = try await cluster.settledLeader()
        let asked = cluster.members[0]
        let answer = try await cluster.post("/apps/register", Self.document, to: asked)
        #expect(answer.status == 200, "\(answer.text)")
        #expect(try await cluster.post("/apps/tools/up", to: asked).status == 200)
        try await cluster.waitForReady("tools", 3, via: asked, deadline: .seconds(60))
        let rows = try await cluster.get("/apps/tools/status", from: asked).json["instances"]?.arrayValue ?? []
        let row = try #require(rows.first { $0["node"]?.stringValue != asked.id.rawValue })
        return Scene(
            cluster: cluster, asked: asked, holder: NodeID(unchecked: row["node"]?.stringValue ?? ""),
            instance: row["instance"]?.stringValue ?? "",
            admin: User(
                server: "http://127.0.0.1:\(asked.apiPort)", token: cluster.options.bootstrapToken ?? "",
                folder: cluster.folder.path))
    }

    @Test func `a command in an instance of another node`() async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil, "\(failure ?? "")")
        try await withCluster("exec", Self.options()) { cluster in
            let scene = try await prepare(cluster)
            try await streams(scene)
            try await manyBytes(scene)
            try await terminal(scene)
            try await refusals(scene)
            try await trail(scene)
            try await goneClient(scene)
            try await goneTerminal(scene)
            try await killedNode(scene)
        }
    }

    /// Input, output, errors and status; also through nginx, and of the asked node's own instance.
    private func streams(_ scene: Scene) async throws {
        let script = "cat; echo wrong >&2; exit 7"
        var run = try await scene.admin.run(
            ["exec", "-i", scene.instance, "--", "sh", "-c", script], input: Data("hello\n".utf8))
        #expect(run.text == "hello\n" && run.errors == "wrong\n" && run.status == 7, "\(run)")
        // Any ready instance: the asked node's own. Without -i there is no input.
        run = try await scene.admin.run(["exec", "tools", "--", "cat"], input: Data("hello\n".utf8))
        #expect(run.text.isEmpty && run.errors.isEmpty && run.status == 0, "\(run)")
        var through = scene.admin
        through.server = "http://127.0.0.1:\(scene.asked.facadePort)"
        for round in 1...3 {
            run = try await through.run(
                ["exec", "-i", "tools", "--instance", scene.instance, "--", "cat"], input: Data("round \(round)".utf8))
            #expect(run.text == "round \(round)" && run.errors.isEmpty && run.status == 0, "\(run)")
        }
        run = try await scene.admin.run(["exec", "tools", "--", "/no/such/program"])
        // Engines differ in the number, and say why on standard output.
        #expect([126, 127].contains(run.status) && run.text.contains("no such file"), "\(run)")
    }

    private func manyBytes(_ scene: Scene) async throws {
        var random = SystemRandomNumberGenerator()
        var bytes = Data(capacity: 10 << 20)
        for _ in 0..<(10 << 20) / 8 {
            withUnsafeBytes(of: UInt64.random(in: .min ... .max, using: &random)) { bytes.append(contentsOf: $0) }
        }
        let begun = ContinuousClock.now
        let run = try await scene.admin.run(["exec", "-i", scene.instance, "--", "cat"], input: bytes)
        #expect(run.status == 0 && run.output == bytes, "\(run.output.count) of \(bytes.count) bytes, \(run.errors)")
        print("10 MiB there and back in \(ContinuousClock.now - begun)")
    }

    /// Runs a program at a terminal of 43 × 132, which becomes one of 50 × 90 when the program has said "first".
    private static let terminalScript = """
        import fcntl, os, pty, struct, sys, termios
        child, terminal = pty.fork()
        def size(descriptor, rows, columns):
            fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if child == 0:
            size(0, 43, 132)
            os.execv(sys.argv[1], sys.argv[1:])
        shown, isChanged = b"", False
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
            os.write(1, piece)
            if b"first" in shown and not isChanged:
                size(terminal, 50, 90)
                isChanged = True
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """

    /// At a terminal of its own, as a person would.
    private func atTerminal(_ scene: Scene, _ script: String) throws -> Running {
        try scene.admin.start(
            ["-c", Self.terminalScript, Cluster.commandLine, "exec", "-it", scene.instance, "--", "sh", "-c", script],
            binary: try Tool.named("python3").path)
    }

    private func terminal(_ scene: Scene) async throws {
        let run = try await atTerminal(
            scene,
            """
            until [ "$(stty size)" = '43 132' ]; do sleep 0.1; done; echo first
            until [ "$(stty size)" = '50 90' ]; do sleep 0.1; done; echo second; tty; exit 7
            """
        ).ended()
        #expect(run.status == 7, "\(run)")
        #expect(run.text.contains("first\r\n") && run.text.contains("second\r\n/dev/pts/"), "\(run)")
    }

    private func refusals(_ scene: Scene) async throws {
        let cluster = scene.cluster
        let made = try await cluster.post("/tokens", ["name": "eyes", "role": "viewer"], to: scene.asked)
        var viewer = scene.admin
        viewer.token = try #require(made.json["token"]?.stringValue)
        var run = try await viewer.run(["exec", "tools", "--", "ls"])
        #expect(run.status == 125 && run.errors.contains("needs the verb 'exec'"), "\(run)")
        run = try await scene.admin.run(["exec", "tools", "--instance", "tools-1-aaaaaa", "--", "ls"])
        #expect(run.status == 125 && run.errors.contains("has no instance tools-1-aaaaaa"), "\(run)")
        run = try await scene.admin.run(["exec", "nobody", "--", "ls"])
        #expect(run.status == 125 && run.errors.contains("App nobody not found"), "\(run)")
        run = try await scene.admin.run(["exec", "tools", "ls"])
        #expect(run.status == 2, "\(run)")
        let plain = try await cluster.get("/apps/tools/exec?command=ls", from: scene.asked)
        #expect(plain.status == 426, "\(plain.text)")
    }

    /// Who, where, which command, how it ended; and nothing of that for those who may only read.
    private func trail(_ scene: Scene) async throws {
        try await eventuallyTrue("the trail has it", within: .seconds(20)) {
            let entries = try await scene.cluster.get("/audit?app=tools&limit=200", from: scene.asked).json["entries"]
            let records = (entries?.arrayValue ?? []).map { $0["record"] ?? $0 }
            let begun = records.first {
                $0["operation"] == "exec"
                    && $0["arguments"]?["command"]?.arrayValue?.last == "cat; echo wrong >&2; exit 7"
            }
            let ended = records.first { $0["operation"] == "execEnd" && $0["request"] == begun?["request"] }
            let refused = records.first {
                $0["operation"] == "exec" && $0["outcome"] == "refused" && $0["status"] == 403
            }
            return begun?["actor"] == "bootstrap" && begun?["arguments"]?["instance"]?.stringValue == scene.instance
                && begun?["node"]?.stringValue == scene.asked.id.rawValue && begun?["address"] == "127.0.0.1"
                && ended?["arguments"]?["ending"] == "status 7" && refused?["actor"] == "token:eyes"
        }
        let events = try await scene.cluster.get("/events?app=tools&limit=500", from: scene.asked).text
        #expect(events.contains("exec_started") && events.contains("exec_ended"))
        #expect(!events.contains("echo wrong"))
    }

    /// A client that is killed ends its command's input, and the session.
    private func goneClient(_ scene: Scene) async throws {
        let running = try scene.admin.start(
            ["exec", "-i", scene.instance, "--", "sh", "-c", "echo begun; tail -f /dev/null"])
        try await eventuallyTrue("it has begun", within: .seconds(20)) { running.written() == "begun\n" }
        Glibc.kill(running.process.processIdentifier, SIGKILL)
        _ = try await running.ended()
        try await eventuallyTrue("its end is told", within: .seconds(20)) {
            try await scene.cluster.get("/events?app=tools&limit=500", from: scene.asked).text.contains(
                "ended: the client has gone")
        }
    }

    /// A terminal that goes takes its command with it.
    private func goneTerminal(_ scene: Scene) async throws {
        let running = try atTerminal(scene, "echo begun; sleep 4321; true")
        try await eventuallyTrue("it has begun", within: .seconds(20)) { running.written().contains("begun") }
        Glibc.kill(running.process.processIdentifier, SIGKILL)
        _ = try await running.ended()
        try await eventuallyTrue("nothing of it is left", within: .seconds(20)) {
            let list = try await scene.admin.run(["exec", scene.instance, "--", "ps", "-o", "args"])
            return list.status == 0 && !list.text.contains("4321")
        }
    }

    private func killedNode(_ scene: Scene) async throws {
        let running = try scene.admin.start(["exec", scene.instance, "--", "sh", "-c", "echo begun; sleep 600"])
        try await eventuallyTrue("it has begun", within: .seconds(20)) { running.written() == "begun\n" }
        await scene.cluster.kill(scene.holder)
        let run = try await running.ended()
        #expect(run.status == 125 && run.text == "begun\n", "\(run)")
        #expect(run.errors.contains("the connection with \(scene.holder)"), "\(run)")
    }
}
