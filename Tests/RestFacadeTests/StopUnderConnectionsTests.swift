import Hummingbird
import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import RestFacade
import Testing

struct StopUnderConnectionsTests {
    /// Without `AcceptedConnection` the process ends within a few rounds.
    @Test func `a node that stops while clients come in stops in order`() async throws {
        for round in 0..<100 {
            let facade = RestFacade(
                configuration: RestFacadeConfiguration(port: 0, version: "1.0.0"), controlPlane: ScriptedControlPlane(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let (ports, listening) = AsyncStream.makeStream(of: Int.self)
            let node = Task {
                try await facade.application { listening.yield($0.localAddress?.port ?? 0) }.run()
            }
            let port = try #require(await ports.first { _ in true })
            let connected = try await withThrowingTaskGroup(of: Int.self) { clients in
                for _ in 0..<8 {
                    clients.addTask {
                        var count = 0
                        // Until it is refused: the node has stopped.
                        while let channel = try? await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                            .connect(host: "127.0.0.1", port: port).get()
                        {
                            count += 1
                            try? await channel.close()  // The node may have been first.
                        }
                        return count
                    }
                }
                try await Task.sleep(for: .milliseconds(5 + round % 20))  // They are to be in the middle of it.
                node.cancel()
                return try await clients.reduce(0, +)
            }
            _ = await node.result
            #expect(connected > 0)
        }
    }
}
