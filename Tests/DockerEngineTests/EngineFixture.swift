import AsyncHTTPClient
import DockerEngine
import Foundation
import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import TestSupport
import Testing

/// The engine of this machine and the demo image, for tests that start containers.
enum EngineFixture {
    static let isInstalled = TestEngine.isInstalled
    static let image = "orchestry-demo:v1"

    /// Built once for all tests; a failure fails each test that needs it, with the script's words.
    private static let imageFailure = Task<String?, Never> {
        let here = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        let root = here.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let result = await run([root.appendingPathComponent("configs/dev/demo/build-image").path])
        return result.status == 0 ? nil : result.output
    }

    /// Runs `body` with an engine of a cluster of its own, and removes what it leaves behind.
    static func withEngine(
        node: NodeID = NodeID(unchecked: "node-1"), endpointMode: EngineConfiguration.EndpointMode = .container,
        policy: HostPolicy = HostPolicy(), _ body: (DockerEngine) async throws -> Void
    ) async throws {
        let failure = await imageFailure.value
        try #require(failure == nil)
        let cluster = ClusterID(unchecked: "test-" + String(UInt64.random(in: 0 ... .max), radix: 36))
        let engine = makeEngine(cluster: cluster, node: node, endpointMode: endpointMode, policy: policy)
        let outcome = await Result.of {
            try await engine.ensureNetwork()
            try await body(engine)
        }
        let left = await docker(["ps", "-aq", "--filter", "label=orchestry.cluster=\(cluster)"]).split(separator: "\n")
        if !left.isEmpty { await docker(["rm", "-fv"] + left.map(String.init)) }
        await TestEngine.removeNetworks(ofEnded: cluster.rawValue)
        await engine.shutdown()
        try outcome.get()
    }

    static func makeEngine(
        cluster: ClusterID, node: NodeID, endpointMode: EngineConfiguration.EndpointMode = .container,
        socketPath: String = TestEngine.socket, requestTimeout: Duration = .seconds(20),
        policy: HostPolicy = HostPolicy()
    ) -> DockerEngine {
        DockerEngine(
            configuration: EngineConfiguration(
                socketPath: socketPath, cluster: cluster, node: node, endpointMode: endpointMode,
                requestTimeout: requestTimeout, policy: policy),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
    }

    static func assignment(
        _ instance: String = "web-1-aaaaaa", node: NodeID = NodeID(unchecked: "node-1"),
        change: (inout AppSpec) -> Void = { _ in }
    ) -> Assignment {
        var spec = AppSpec(
            name: AppName(unchecked: "web"), image: image, ports: [AppSpec.Port(containerPort: 9010)],
            resources: AppSpec.Resources(cpuMillicores: 500, memoryBytes: 64 << 20, pidsLimit: 64))
        change(&spec)
        return Assignment(instance: InstanceID(unchecked: instance), revision: 1, node: node, spec: spec, replicas: 3)
    }

    /// Runs `body` with a container that has a shell and does nothing by itself.
    static func withTools(
        change: (inout AppSpec) -> Void = { _ in }, _ body: (DockerEngine, RunningContainer) async throws -> Void
    ) async throws {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        try await withEngine { engine in
            let assignment = assignment {
                $0.image = ToolsImage.name
                change(&$0)
            }
            try await body(engine, try await engine.start(assignment, epoch: Epoch(1)))
        }
    }

    /// Asks a container, again and again until it listens.
    @discardableResult
    static func request(_ path: String, _ endpoint: Endpoint?) async throws -> String {
        let endpoint = try #require(endpoint)
        return try await eventually("an answer to \(path)") {
            // Not listening yet.
            guard
                let response = try? await HTTPClient.shared.execute(
                    HTTPClientRequest(url: "http://\(endpoint)\(path)"), timeout: .seconds(10))
            else { return nil }
            return String(buffer: try await response.body.collect(upTo: 1 << 20))
        }
    }

    /// Waits until `probe` gives a value, at most 30 s.
    static func eventually<Value>(_ what: String, _ probe: () async throws -> Value?) async throws -> Value {
        guard let value = try await firstValue(within: .seconds(30), probe) else { throw TimedOut(what: what) }
        return value
    }

    struct TimedOut: Error {
        var what: String
    }

    @discardableResult
    static func docker(_ arguments: [String]) async -> String { await run(["docker"] + arguments).output }

    @discardableResult
    static func run(_ words: [String]) async -> (status: Int32, output: String) { await TestEngine.run(words) }
}

extension Result where Failure == any Error {
    /// What `body` returns or throws, for work that needs cleaning up after it either way.
    static func of(_ body: () async throws -> Success) async -> Result {
        do {
            return .success(try await body())
        } catch {
            return .failure(error)
        }
    }
}
