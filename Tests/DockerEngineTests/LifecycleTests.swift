import DockerEngine
import Foundation
import OrchestryModel
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: EngineFixture.isInstalled, "no Docker engine on this machine"))
struct LifecycleTests {
    @Test func `the engine tells its version and capacity`() async throws {
        let engine = EngineFixture.makeEngine(cluster: ClusterID(unchecked: "test"), node: NodeID(unchecked: "node-1"))
        try await engine.ping()
        let version = try await engine.version()
        let capacity = try await engine.capacity()
        await engine.shutdown()
        #expect(!version.version.isEmpty && version.apiVersion.contains("."))
        #expect(capacity.millicores >= 1_000 && capacity.memoryBytes > 256 << 20)
    }

    @Test func `an instance is started, adopted, stopped, started anew and removed`() async throws {
        try await EngineFixture.withEngine { engine in
            let assignment = EngineFixture.assignment()
            let first = try await engine.start(assignment, epoch: Epoch(7))
            #expect(!first.adopted && first.isRunning && first.startedAt != nil)
            #expect(first.probeEndpoint == first.endpoint && first.endpoint?.port == 9010)
            #expect(try await EngineFixture.request("/health", first.endpoint) == "ok\n")

            let again = try await engine.start(assignment, epoch: Epoch(8))
            #expect(again.adopted && again.id == first.id && again.endpoint == first.endpoint)
            #expect(again.container.epoch == Epoch(7), "adoption must not change what the container says of itself")

            try await engine.stop(first.id, graceSeconds: 10)
            let stopped = try await engine.inspect(first.id)
            #expect(!stopped.isRunning && stopped.exitCode == 0 && stopped.endpoint == nil && !stopped.outOfMemory)
            try await engine.stop(first.id, graceSeconds: 10)

            let second = try await engine.start(assignment, epoch: Epoch(8))
            #expect(!second.adopted && second.id != first.id && second.container.epoch == Epoch(8))
            #expect(try await engine.managedContainers().map(\.id) == [second.id], "the leftover was to be removed")

            try await engine.remove(second.id)
            #expect(try await engine.managedContainers().isEmpty)
            try await engine.remove(second.id)
            try await engine.stop(second.id, graceSeconds: 1)
            try await engine.kill(second.id)
            await #expect(throws: EngineError.self) { try await engine.inspect(second.id) }
        }
    }

    @Test func `labels bring the whole assignment back`() async throws {
        try await EngineFixture.withEngine { engine in
            let assignment = EngineFixture.assignment("web-3-bcdefg") { spec in
                spec.environment = [.init(name: "GREETING", source: .value("a \"quoted\" ümlaut/slash"))]
                spec.labels = ["team": "x"]
                spec.health = AppSpec.HealthCheck(kind: .http, port: 9010, path: "/health", expectedStatuses: [200])
            }
            let other = EngineFixture.assignment("web-1-aaaaaa")
            let started = try await engine.start(assignment, epoch: Epoch(1 << 40))
            _ = try await engine.start(other, epoch: Epoch(2))
            let listed = try await engine.managedContainers()
            #expect(listed.map(\.instance.rawValue) == ["web-1-aaaaaa", "web-3-bcdefg"])
            let container = try #require(listed.last)
            #expect(container.assignment == assignment)
            #expect(container.epoch == Epoch(1 << 40) && container.revision == 1 && container.app.rawValue == "web")
            #expect(container == started.container)
        }
    }

    @Test func `limits and confinement are what the engine applies`() async throws {
        try await EngineFixture.withEngine { engine in
            let assignment = EngineFixture.assignment { spec in
                spec.security.readOnlyRootFilesystem = true
                spec.security.addCapabilities = ["NET_BIND_SERVICE"]
                spec.termination.gracePeriodSeconds = 17
            }
            let started = try await engine.start(assignment, epoch: Epoch(1))
            let text = await EngineFixture.docker(["inspect", "--format", "{{json .HostConfig}}", started.id])
            let host = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
            #expect(host["Memory"]?.intValue == 64 << 20 && host["MemorySwap"]?.intValue == 64 << 20)
            #expect(host["CpuQuota"]?.intValue == 50_000 && host["CpuPeriod"]?.intValue == 100_000)
            #expect(host["PidsLimit"]?.intValue == 64)
            #expect(host["ReadonlyRootfs"] == true && host["Init"] == true && host["Privileged"] == false)
            #expect(host["SecurityOpt"] == ["no-new-privileges"])
            #expect(host["RestartPolicy"]?["Name"] == "no")
            // Podman works these out and shows what came of them.
            if await !TestEngine.isPodman.value {
                #expect(host["CapDrop"] == ["ALL"] && host["CapAdd"] == ["NET_BIND_SERVICE"])
                #expect(host["NetworkMode"]?.stringValue == engine.configuration.network)
                #expect(host["LogConfig"] == ["Type": "json-file", "Config": ["max-size": "10m", "max-file": "3"]])
            }
            let process = await EngineFixture.docker(["inspect", "--format", "{{.State.Pid}}", started.id])
                .trimmingCharacters(in: .whitespacesAndNewlines)
            let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
            // Bit 10 alone: CAP_NET_BIND_SERVICE.
            #expect(status.contains("CapBnd:\t0000000000000400") && status.contains("NoNewPrivs:\t1"), "\(status)")
            #expect(host["Tmpfs"]?["/tmp"] != nil)
            let description = try await EngineFixture.request("/", started.endpoint)
            #expect(description.contains("\"host\":\"web-1-aaaaaa\"") && description.contains("\"uid\":65534"))
        }
    }

    @Test func `a user comes from the spec, else from the image, and is root only by permission`() async throws {
        let image = "orchestry-test-user-\(UInt32.random(in: 0 ... .max)):v1"
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // A temporary folder; the system empties it too.
        defer { try? FileManager.default.removeItem(at: folder) }
        let outcome = await Result.of {
            try await EngineFixture.withEngine { engine in
                try "FROM \(EngineFixture.image)\nUSER 4321\n".write(
                    to: folder.appendingPathComponent("Dockerfile"), atomically: true, encoding: .utf8)
                await EngineFixture.docker(["build", "--quiet", "--tag", image, folder.path])
                let rows: [(String, Int, (inout AppSpec) -> Void)] = [
                    ("web-1-aaaaaa", 1234, { $0.security.user = "1234:1234" }),
                    ("web-1-bbbbbb", 0, { $0.security.allowRoot = true }),
                    ("web-1-cccccc", 4321, { $0.image = image }),
                ]
                for (instance, user, change) in rows {
                    let started = try await engine.start(
                        EngineFixture.assignment(instance, change: change), epoch: Epoch(1))
                    #expect(try await EngineFixture.request("/", started.endpoint).contains("\"uid\":\(user)}"))
                }
            }
        }
        // Only after the containers are gone.
        await EngineFixture.docker(["rmi", image])
        try outcome.get()
    }

    @Test func `the environment has values and what is known of the instance`() async throws {
        try await EngineFixture.withEngine { engine in
            let assignment = EngineFixture.assignment { spec in
                spec.environment = [
                    .init(name: "PLAIN", source: .value("x=y z")), .init(name: "APP", source: .sdk("app.name")),
                    .init(name: "REPLICAS", source: .sdk("app.replicas")),
                    .init(name: "SELF_PORT", source: .sdk("instance.port")),
                    .init(name: "SELF_IP", source: .sdk("instance.ip")),
                ]
            }
            let started = try await engine.start(assignment, epoch: Epoch(1))
            let expected = [
                "PLAIN": "x=y z", "APP": "web", "REPLICAS": "3", "SELF_PORT": "9010",
                "SELF_IP": try #require(started.endpoint?.host),
            ]
            for (name, value) in expected {
                #expect(try await EngineFixture.request("/env?name=\(name)", started.endpoint) == value + "\n")
            }
        }
    }

    @Test func `a published instance is reached by a port of the host`() async throws {
        try await EngineFixture.withEngine(endpointMode: .published(hostAddress: "127.0.0.1")) { engine in
            let started = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1))
            let endpoint = try #require(started.endpoint)
            #expect(endpoint.host == "127.0.0.1" && endpoint.port != 9010)
            #expect(try await EngineFixture.request("/health", endpoint) == "ok\n")
            #expect(try await engine.managedContainers().first?.endpoint == endpoint)
        }
    }

    @Test func `what can't start says why and leaves nothing behind`() async throws {
        try await EngineFixture.withEngine { engine in
            let missing = EngineFixture.assignment { $0.image = "orchestry-test-no-such-image:v9" }
            await expectCode(.imageMissing) { _ = try await engine.start(missing, epoch: Epoch(1)) }
            #expect(try await engine.imageIsPresent(missing.spec.image) == false)
            #expect(try await engine.imageIsPresent(EngineFixture.image))
            let long = "orchestry-test.invalid:5000/team/web:\(UInt32.random(in: 0 ... .max))"
            await EngineFixture.docker(["tag", EngineFixture.image, long])
            #expect(try await engine.imageIsPresent(long))
            await EngineFixture.docker(["rmi", long])

            let noProgram = EngineFixture.assignment { $0.command = ["/no-such-program"] }
            do {
                // Under the engine's init the program is found missing only by init itself: Docker's ends with 127,
                // Podman's with 1.
                let started = try await engine.start(noProgram, epoch: Epoch(1))
                let ended = try await EngineFixture.eventually("the end of init") {
                    let container = try await engine.inspect(started.id)
                    return container.isRunning ? nil : container
                }
                #expect(ended.exitCode == (await TestEngine.isPodman.value ? 1 : 127))
                try await engine.remove(started.id)
            } catch let error as EngineError {
                #expect(error.code == .invalid && !error.isRetryable)
            }
            let tooLittle = EngineFixture.assignment { $0.resources.memoryBytes = 1 << 20 }
            await expectCode(.invalid) { _ = try await engine.start(tooLittle, epoch: Epoch(1)) }
            let elsewhere = EngineFixture.assignment(node: NodeID(unchecked: "node-2"))
            await expectCode(.invalid) { _ = try await engine.start(elsewhere, epoch: Epoch(1)) }
            #expect(try await engine.managedContainers().isEmpty)
        }
    }

    @Test func `strangers are neither listed nor touched`() async throws {
        try await EngineFixture.withEngine { engine in
            let other = EngineFixture.makeEngine(
                cluster: engine.configuration.cluster, node: NodeID(unchecked: "node-2"))
            let theirs = try await other.start(
                EngineFixture.assignment(node: NodeID(unchecked: "node-2")), epoch: Epoch(1))
            let unlabelled = await EngineFixture.docker(["run", "-d", EngineFixture.image])
                .trimmingCharacters(in: .whitespacesAndNewlines)
            #expect(try await engine.managedContainers().isEmpty)
            for id in [theirs.id, unlabelled] {
                await expectCode(.notFound) { _ = try await engine.inspect(id) }
                await expectCode(.notFound) { try await engine.stop(id, graceSeconds: 0) }
                await expectCode(.notFound) { try await engine.kill(id) }
                await expectCode(.notFound) { try await engine.remove(id) }
                await expectCode(.notFound) { _ = try await engine.logs(id, tail: 1) }
                #expect(await EngineFixture.docker(["inspect", "--format", "{{.State.Running}}", id]) == "true\n")
            }
            // The instance's name is taken by another node's container: to be reported, not to be replaced.
            await expectCode(.invalid) { _ = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1)) }
            #expect(try await other.managedContainers().map(\.id) == [theirs.id])
            await EngineFixture.docker(["rm", "-f", unlabelled])
            await other.shutdown()
        }
    }

    @Test func `nodes that make the network at once make one`() async throws {
        let cluster = ClusterID(unchecked: "test-" + String(UInt64.random(in: 0 ... .max), radix: 36))
        let engines = (1...3).map { EngineFixture.makeEngine(cluster: cluster, node: NodeID(unchecked: "node-\($0)")) }
        let label = "label=orchestry.cluster=\(cluster)"
        try await withThrowingTaskGroup(of: Void.self) { group in
            for engine in engines + engines { group.addTask { try await engine.ensureNetwork() } }
            try await group.waitForAll()
        }
        let networks = await EngineFixture.docker(["network", "ls", "--filter", label, "--format", "{{.Name}}"])
        #expect(networks == "orchestry-\(cluster)\n")
        await EngineFixture.docker(["network", "rm", "orchestry-\(cluster)"])
        for engine in engines { await engine.shutdown() }
    }

    @Test func `what a killed node left of its search for a range is removed, once it is old`() async throws {
        try await EngineFixture.withEngine { engine in
            let (cluster, network) = (engine.configuration.cluster, engine.configuration.network)
            let label = "orchestry.cluster=\(cluster)"
            func names() async -> Set<String> {
                let list = await EngineFixture.docker(
                    ["network", "ls", "--filter", "name=\(network)", "--format", "{{.Name}}"])
                return Set(list.split(separator: "\n").map(String.init))
            }
            await EngineFixture.docker(["network", "create", "--label", label, "\(network)-probe-left"])
            await EngineFixture.docker(["network", "create", "\(network)-probe-strange"])
            try await engine.ensureNetwork()
            #expect(await names() == [network, "\(network)-probe-left", "\(network)-probe-strange"], "too young")
            _ = try await EngineFixture.eventually("the left-over to go") { () -> Bool? in
                await engine.removeStaleProbes(olderThan: .zero)
                return await names().contains("\(network)-probe-left") ? nil : true
            }
            #expect(await names() == [network, "\(network)-probe-strange"], "without the label it is a stranger's")
            await EngineFixture.docker(["network", "rm", "\(network)-probe-strange"])
        }
    }

    @Test func `a network that was removed is made again by the next start`() async throws {
        try await EngineFixture.withEngine { engine in
            await EngineFixture.docker(["network", "rm", engine.configuration.network])
            let started = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1))
            #expect(started.isRunning && !started.adopted)
            #expect(try await engine.managedContainers().count == 1)
        }
    }
}

func expectCode(
    _ code: EngineError.Code, _ body: () async throws -> Void, sourceLocation: SourceLocation = #_sourceLocation
) async {
    do {
        try await body()
        Issue.record("no error, expected \(code)", sourceLocation: sourceLocation)
    } catch let error as EngineError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
}
