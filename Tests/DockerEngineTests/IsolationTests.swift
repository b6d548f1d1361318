import DockerEngine
import OrchestryModel
import TestSupport
import Testing

/// An app's network of its own.
@Suite(.needsTools, .timeLimit(.minutes(3)))
struct IsolationTests {
    private static func assignment(_ app: String, isolated: Bool, image: String = EngineFixture.image) -> Assignment {
        EngineFixture.assignment("\(app)-1-aaaaaa") {
            $0.name = AppName(unchecked: app)
            $0.image = image
            $0.network = .init(isolated: isolated)
        }
    }

    /// Asks from within a container.
    private func reaches(_ endpoint: Endpoint?, from container: RunningContainer, _ engine: DockerEngine) async throws
        -> Bool
    {
        let endpoint = try #require(endpoint)
        return try await engine.execute(
            ToolsImage.request(host: endpoint.host, port: endpoint.port), in: container.id, timeout: .seconds(10)
        ).exitCode == 0
    }

    private func networks(_ engine: DockerEngine) async -> Int {
        await EngineFixture.docker(
            ["network", "ls", "-q", "--filter", "label=orchestry.cluster=\(engine.configuration.cluster)"]
        ).split(separator: "\n").count
    }

    /// Two at once must be safe: nodes that share an engine, instances that are started together.
    @Test func `other apps' containers can't connect, this host can, and the network goes when it is not used`()
        async throws
    {
        try await EngineFixture.withTools { engine, spy in
            let apart = try await engine.start(Self.assignment("apart", isolated: true), epoch: Epoch(1))
            let open = try await engine.start(Self.assignment("open", isolated: false), epoch: Epoch(1))
            let other = try await engine.start(
                Self.assignment("other", isolated: true, image: ToolsImage.name), epoch: Epoch(1))
            #expect(await networks(engine) == 3)
            for container in [apart, open] { try await EngineFixture.request("/health", container.endpoint) }
            #expect(try await reaches(open.endpoint, from: spy, engine), "the way is there where nothing forbids it")
            #expect(try await !reaches(apart.endpoint, from: spy, engine))
            #expect(try await !reaches(apart.endpoint, from: other, engine))
            #expect(try await !reaches(open.endpoint, from: other, engine), "nor does an isolated app reach others")

            // In use: it stays, also when somebody else of the app has just gone.
            await engine.removeUnusedNetworks(of: AppName(unchecked: "apart"))
            #expect(await networks(engine) == 3)
            for round in 1...3 {
                try await engine.remove(apart.id)
                await engine.removeUnusedNetworks(of: AppName(unchecked: "apart"))
                #expect(await networks(engine) == 2, "round \(round)")
                async let first = engine.start(Self.assignment("apart", isolated: true), epoch: Epoch(1))
                async let second = engine.start(
                    EngineFixture.assignment("apart-1-bbbbbb") {
                        $0.name = AppName(unchecked: "apart")
                        $0.network = .init(isolated: true)
                        $0.environment = [.init(name: "IP", source: .sdk("instance.ip"))]
                    }, epoch: Epoch(1))
                let both = try await [first, second]
                #expect(await networks(engine) == 3)
                for container in both {
                    try await EngineFixture.request("/health", container.endpoint)
                    try await engine.remove(container.id)
                }
            }
            try await engine.remove(other.id)
            await engine.removeUnusedNetworks()
            #expect(await networks(engine) == 1, "only the one that all share")
        }
    }
}
