import DockerEngine
import Foundation
import OrchestryModel
import TestSupport
import Testing

/// What a spec asks of the engine, seen from inside a container.
@Suite(.needsTools, .timeLimit(.minutes(3)))
struct OptionTests {
    private func inside(_ engine: DockerEngine, _ container: RunningContainer, _ script: String) async throws
        -> CommandResult
    {
        try await engine.execute(["sh", "-c", script], in: container.id, timeout: .seconds(20))
    }

    @Test func `volumes are kept, tmpfs and read-only are so, and a later container finds what was written`()
        async throws
    {
        try await EngineFixture.withTools(change: {
            $0.volumes = [
                .init(kind: .volume, source: "data", target: "/data"),
                .init(kind: .volume, source: "data", target: "/look", readOnly: true),
                .init(kind: .tmpfs, target: "/cache", sizeBytes: 1 << 20),
            ]
            $0.security.readOnlyRootFilesystem = true
        }) { engine, container in
            let volume = "orchestry.\(engine.configuration.cluster).web.data"
            // /data is the image's, owned by 65534: the engine copies that into a new volume.
            let written = try await inside(
                engine, container,
                "echo kept > /data/file && echo x > /tmp/x && echo y > /cache/y && cat /look/file && ! echo z > /look/z 2>/dev/null && ! echo r > /root-file 2>/dev/null && grep ' /cache ' /proc/mounts"
            )
            #expect(written.exitCode == 0, "\(written)")
            #expect(written.output.contains("kept\n") && written.output.contains("size=1024k"), "\(written)")
            let full = try await inside(engine, container, "head -c 3000000 /dev/zero > /cache/big")
            #expect(full.exitCode != 0)
            try await engine.remove(container.id)
            let next = try await engine.start(
                EngineFixture.assignment("web-1-bbbbbb") {
                    $0.image = ToolsImage.name
                    $0.volumes = [.init(kind: .volume, source: "data", target: "/data")]
                }, epoch: Epoch(1))
            #expect(try await inside(engine, next, "cat /data/file").output == "kept\n")
            let label = await EngineFixture.docker(
                ["volume", "inspect", "--format", "{{index .Labels \"orchestry.app\"}}", volume])
            // Podman gives volumes that come with a container no labels.
            let isPodman = await TestEngine.isPodman.value
            #expect(isPodman || label == "web\n")
            try await engine.remove(next.id)
            await EngineFixture.docker(["volume", "rm", volume])
        }
    }

    @Test func `a bind mount needs permission, and no link leads out of it`() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("bind-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder + "/allowed/in", withIntermediateDirectories: true)
        // A left-over in the temporary folder harms nobody.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try "hello\n".write(toFile: folder + "/allowed/in/file", atomically: true, encoding: .utf8)
        try FileManager.default.createSymbolicLink(atPath: folder + "/allowed/out", withDestinationPath: folder)
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        try await EngineFixture.withEngine(policy: HostPolicy(bindAllow: [folder + "/allowed"])) { engine in
            func start(_ source: String) async throws -> RunningContainer {
                try await engine.start(
                    EngineFixture.assignment {
                        $0.image = ToolsImage.name
                        $0.volumes = [.init(kind: .bind, source: source, target: "/srv", readOnly: true)]
                    }, epoch: Epoch(1))
            }
            for (source, words) in [
                ("/etc", "not below one of engine.bind_allow"),
                (folder + "/allowed/out", "outside of engine.bind_allow"),
                (folder + "/allowed/none", "does not exist"),
            ] {
                let error = await #expect(throws: EngineError.self) { try await start(source) }
                #expect(
                    error?.code == .invalid && error?.message.contains(words) == true, "\(String(describing: error))")
            }
            let container = try await start(folder + "/allowed/in")
            // Both streams as one: two come in any order.
            let seen = try await inside(engine, container, "exec 2>&1; cat /srv/file; ! echo x > /srv/x")
            #expect(seen.exitCode == 0 && seen.output.hasPrefix("hello\n"), "\(seen)")
        }
        try await EngineFixture.withEngine { engine in
            let error = await #expect(throws: EngineError.self) {
                try await engine.start(
                    EngineFixture.assignment { $0.volumes = [.init(kind: .bind, source: "/tmp", target: "/srv")] },
                    epoch: Epoch(1))
            }
            #expect(error?.message.contains("engine.bind_allow is empty") == true, "\(String(describing: error))")
        }
    }

    @Test func `secrets are in the environment of the process and in no label`() async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        let name = SecretName(unchecked: "db")
        try await EngineFixture.withEngine { engine in
            var assignment = EngineFixture.assignment {
                $0.image = ToolsImage.name
                $0.environment = [.init(name: "DB", source: .secret(name))]
            }
            assignment.secrets = [SealedSecret(name: name, version: 2, keyID: "k", box: "sealed-form")]
            let error = await #expect(throws: EngineError.self) { try await engine.start(assignment, epoch: Epoch(1)) }
            #expect(error?.message.contains("lacks secret 'db'") == true)
            let container = try await engine.start(assignment, epoch: Epoch(1), secrets: [name: "s3cret-value"])
            #expect(try await inside(engine, container, "echo $DB").output == "s3cret-value\n")
            #expect(container.container.assignment == assignment, "the sealed form comes back from the label")
            let labels = await EngineFixture.docker(["inspect", "--format", "{{json .Config.Labels}}", container.id])
            #expect(labels.contains("sealed-form") && !labels.contains("s3cret-value"))
        }
    }

    @Test func `confinement and logs are what the engine was asked for`() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("seccomp-\(UUID())").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }  // As above.
        // Everything but mkdir, which is answered with EPERM.
        try """
        {"defaultAction": "SCMP_ACT_ALLOW",
         "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
        """.write(toFile: folder + "/no-mkdir.json", atomically: true, encoding: .utf8)
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        try await EngineFixture.withEngine(policy: HostPolicy(seccompFolder: folder)) { engine in
            let container = try await engine.start(
                EngineFixture.assignment {
                    $0.image = ToolsImage.name
                    $0.security.seccompProfile = "no-mkdir"
                    $0.security.addCapabilities = ["NET_BIND_SERVICE"]
                    $0.logs = .init(maxSizeBytes: 1_000_000, maxFiles: 2)
                }, epoch: Epoch(1))
            let made = try await inside(
                engine, container,
                "mkdir /tmp/a || echo refused; grep -E 'NoNewPrivs|CapBnd|Seccomp:' /proc/self/status")
            #expect(made.output.contains("refused"), "\(made)")
            #expect(made.output.contains("NoNewPrivs:\t1"), "\(made)")
            // Bit 10 alone: CAP_NET_BIND_SERVICE.
            #expect(made.output.contains("CapBnd:\t0000000000000400"), "\(made)")
            let logs = await EngineFixture.docker([
                "inspect", "--format", "{{json .HostConfig.LogConfig}}", container.id,
            ])
            // Podman takes the size and shows it elsewhere.
            let isPodman = await TestEngine.isPodman.value
            #expect(
                isPodman || (logs.contains("\"max-size\":\"1000000\"") && logs.contains("\"max-file\":\"2\"")),
                "\(logs)")
            let error = await #expect(throws: EngineError.self) {
                try await engine.start(
                    EngineFixture.assignment("web-1-bbbbbb") { $0.security.seccompProfile = "none" }, epoch: Epoch(1))
            }
            #expect(error?.message.contains("none.json can't be read") == true)
        }
    }
}

struct RegistryCredentialTests {
    @Test(arguments: [
        ("ann:pass:word", "ann", "pass:word"), ("{\"username\": \"ann\", \"password\": \"p\"}", "ann", "p"),
        (
            "{\"auths\": {\"https://reg.example:5000/v1/\": {\"auth\": \"YW5uOnA=\"}, \"other\": {\"username\": \"x\", \"password\": \"y\"}}}",
            "ann", "p"
        ),
    ])
    func `a secret in each form`(_ text: String, _ user: String, _ password: String) throws {
        let image = "reg.example:5000/shop/web:1"
        let header = try #require(RegistryCredentials(text, image: image)).header(for: image)
        let data = try #require(Data(base64Encoded: header.replacing("-", with: "+").replacing("_", with: "/")))
        #expect(
            try JSONValue(json: data) == [
                "username": .string(user), "password": .string(password), "serveraddress": "reg.example:5000",
            ])
    }

    @Test(arguments: [
        "", "nothing", ":p", "{}", "{\"auths\": {}}", "{broken",
        "{\"auths\": {\"elsewhere\": {\"username\": \"ann\", \"password\": \"p\"}}}",
    ])
    func `a secret that is none`(_ text: String) { #expect(RegistryCredentials(text, image: "web") == nil) }

    @Test(arguments: [
        ("web", "docker.io"), ("shop/web:1", "docker.io"), ("localhost/web", "localhost"), ("a.b/web", "a.b"),
        ("host:5000/x/web@sha256:0", "host:5000"),
    ])
    func `an image's registry`(_ image: String, _ registry: String) {
        #expect(RegistryCredentials.registry(of: image) == registry)
    }
}
