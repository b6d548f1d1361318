import DockerEngine
import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Pulling from a real registry: what a tag means, and who may.
@Suite(
    .enabled(
        if: EngineFixture.isInstalled && ToolsImage.isPossible && PrivateRegistry.isInstalled,
        "no Docker engine, busybox-static or docker-registry"), .timeLimit(.minutes(3)))
struct RegistryTests {
    @Test func `a tag is resolved, and the digest goes on meaning the same`() async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        let registry = try PrivateRegistry()
        defer { registry.stop() }
        let reference = "\(registry.address)/shop/web:1"
        let first = try await EngineFixture.pushTools(reference, label: "one")
        var left: [String] = []
        try await EngineFixture.withEngine { engine in
            #expect(try await engine.digest(of: reference, preferringLocal: false) == first)
            #expect(try await engine.digest(of: reference, preferringLocal: true) == first, "not here: asked there")
            let second = try await EngineFixture.pushTools(reference, label: "two")
            #expect(second != first)
            let pinned = "\(registry.address)/shop/web@\(first)"
            left = [pinned, reference]
            // Podman learns digests by pulling.
            if await !TestEngine.isPodman.value { #expect(try await !engine.imageIsPresent(pinned)) }
            try await engine.pull(pinned)
            #expect(try await engine.imageIsPresent(pinned))
            let container = try await engine.start(
                EngineFixture.assignment { $0.image = pinned }, epoch: Epoch(1))
            let label = try await engine.execute(["sh", "-c", "echo $LABEL"], in: container.id, timeout: .seconds(20))
            #expect(label.output == "one\n")
            #expect(try await engine.digest(of: reference, preferringLocal: false) == second)
            try await engine.pull(reference)
            #expect(try await engine.digest(of: reference, preferringLocal: true) == second)
            // Made here, known to no registry. Podman computes one all the same.
            if await !TestEngine.isPodman.value {
                #expect(try await engine.digest(of: ToolsImage.name, preferringLocal: true) == nil)
            }

            #expect(try await !engine.removeImage(pinned), "a container uses it")
            try await engine.remove(container.id)
            #expect(try await engine.removeImage(pinned))
            #expect(try await !engine.imageIsPresent(pinned))
            #expect(try await engine.removeImage(pinned), "gone is gone")
        }
        await EngineFixture.docker(["rmi"] + left)
    }

    @Test func `a protected registry opens to the secret's user only`() async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        let registry = try PrivateRegistry(protected: true)
        defer { registry.stop() }
        let reference = "\(registry.address)/shop/web:1"
        // The user's own settings stay as they are.
        let settings = FileManager.default.temporaryDirectory.appendingPathComponent("login-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: settings) }  // As above.
        try FileManager.default.createDirectory(atPath: settings, withIntermediateDirectories: true)
        let pair = Data("\(PrivateRegistry.user):\(PrivateRegistry.password)".utf8).base64EncodedString()
        try "{\"auths\": {\"\(registry.address)\": {\"auth\": \"\(pair)\"}}}".write(
            toFile: settings + "/config.json", atomically: true, encoding: .utf8)
        let digest = try await EngineFixture.pushTools(reference, label: "one", login: settings)
        func header(_ text: String) throws -> String {
            try #require(RegistryCredentials(text, image: reference)).header(for: reference)
        }
        try await EngineFixture.withEngine { engine in
            for wrong in [nil, try header("ann:wrong")] {
                await #expect(throws: EngineError.self) {
                    try await engine.digest(of: reference, preferringLocal: false, registryAuthentication: wrong)
                }
                let error = await #expect(throws: EngineError.self) {
                    try await engine.pull(reference, registryAuthentication: wrong)
                }
                #expect(error?.code == .imageMissing, "\(String(describing: error))")
            }
            let right = try header("\(PrivateRegistry.user):\(PrivateRegistry.password)")
            #expect(
                try await engine.digest(of: reference, preferringLocal: false, registryAuthentication: right) == digest)
            try await engine.pull(reference, registryAuthentication: right)
            #expect(try await engine.imageIsPresent(reference))
        }
        await EngineFixture.docker(["rmi", reference])
    }
}

extension EngineFixture {
    /// Pushes the tools image with a label under a name of the registry.
    /// - Returns: its digest there. The name is gone from here.
    @discardableResult
    static func pushTools(_ reference: String, label: String, login: String? = nil) async throws -> String {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("push-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }  // A left-over in the temporary folder harms nobody.
        try "FROM \(ToolsImage.name)\nENV LABEL=\(label)\n".write(
            to: folder.appendingPathComponent("Dockerfile"), atomically: true, encoding: .utf8)
        let built = await run(["docker", "build", "-q", "-t", reference, folder.path])
        try #require(built.status == 0, "\(built.output)")
        let digest = try await eventually("the push to \(reference)") { () -> String? in
            // The registry may not listen yet.
            let settings = login.map { ["DOCKER_CONFIG=\($0)"] } ?? []
            let pushed = await run(settings + ["docker", "push", reference])
            guard pushed.status == 0, let at = pushed.output.range(of: "digest: ") else { return nil }
            return String(pushed.output[at.upperBound...].prefix { $0 != " " })
        }
        await docker(["rmi", reference])
        return digest
    }
}
