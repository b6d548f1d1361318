import Logging
import NIOCore
import NIOHTTP1
import OrchestryModel
import Synchronization

/// A node's containers, through the Docker Engine API (1.41) or Podman's compatible one.
///
/// Only containers with this cluster's *and* this node's labels are listed, and only those are stopped or removed: several
/// nodes and strangers may share an engine. Restarts are never left to the engine.
/// Every call is bounded in time and throws `EngineError`; none is repeated here unless its doc says so.
package final class DockerEngine: Sendable {
    package let configuration: EngineConfiguration
    let transport: EngineTransport
    let logger: Logger
    /// Commands that did not end in time, by container.
    let lateCommands = Mutex<[String: String]>([:])

    /// - Parameter eventLoopGroup: is not shut down by the engine.
    package init(configuration: EngineConfiguration, eventLoopGroup: any EventLoopGroup, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        transport = EngineTransport(configuration: configuration, eventLoopGroup: eventLoopGroup)
    }

    /// Closes the connections and waits for that. Calls under way fail, streams end.
    package func shutdown() async { await transport.shutdown() }

    package func ping() async throws(EngineError) {
        _ = try await send("ping the engine", .GET, "/_ping")
    }

    package func version() async throws(EngineError) -> EngineVersion {
        let document = try await get(VersionDocument.self, "read the engine's version", "/version")
        return EngineVersion(
            version: document.Version, apiVersion: document.ApiVersion, kernel: document.KernelVersion ?? "",
            isPodman: document.Components?.contains { $0.Name.hasPrefix("Podman") } ?? false)
    }

    /// What the engine's host has: a node may reserve less, never more.
    package func capacity() async throws(EngineError) -> EngineCapacity {
        let document = try await get(InfoDocument.self, "read the engine's capacity", "/info")
        return EngineCapacity(millicores: document.NCPU * 1_000, memoryBytes: document.MemTotal)
    }

    /// - Throws: `notFound` also for a container that is not this cluster's and node's.
    package func inspect(_ containerID: String) async throws(EngineError) -> ManagedContainer {
        let operation = "inspect container"
        let document = try await self.document(of: containerID, operation)
        guard let container = ManagedContainer(document, configuration: configuration) else {
            throw EngineError(.notFound, operation: operation, message: "\(containerID) is not this node's")
        }
        return container
    }

    /// All containers of this cluster and node, running or not, sorted by instance.
    package func managedContainers() async throws(EngineError) -> [ManagedContainer] {
        let operation = "list containers"
        let list = try await get(
            [ContainerListDocument].self, operation, "/containers/json",
            query: [("all", "1"), ("filters", EngineJSON.filters(["label": ownLabels]))])
        var containers: [ManagedContainer] = []
        for entry in list {
            do {
                containers.append(try await inspect(entry.Id))
            } catch  where error.code == .notFound {
                // Removed since the list was made, or its labels are not of our making.
                logger.debug("listed container left out", metadata: ["container.id": "\(entry.Id)"])
            }
        }
        return containers.sorted { $0.instance < $1.instance }
    }

    /// SIGTERM (or what the image asks for), then SIGKILL after `graceSeconds` (0…600). Returns when it has ended.
    /// A container that is stopped or gone is a success.
    package func stop(_ containerID: String, graceSeconds: Int) async throws(EngineError) {
        let operation = "stop container"
        guard try await isOurs(containerID, operation) else { return }
        _ = try await send(
            operation, .POST, "/containers/\(containerID)/stop", query: [("t", String(graceSeconds))],
            timeout: .seconds(graceSeconds) + configuration.startTimeout, accepting: [304, 404])
    }

    /// A container that has ended or is gone is a success.
    /// - Parameter signal: a name such as `SIGKILL`.
    package func kill(_ containerID: String, signal: String = "SIGKILL") async throws(EngineError) {
        let operation = "signal container"
        guard try await isOurs(containerID, operation) else { return }
        _ = try await send(
            operation, .POST, "/containers/\(containerID)/kill", query: [("signal", signal)], accepting: [404, 409])
    }

    /// Kills it if need be and removes it with its anonymous volumes. A container that is gone is a success.
    package func remove(_ containerID: String) async throws(EngineError) {
        let operation = "remove container"
        guard try await isOurs(containerID, operation) else { return }
        try await removeUnchecked(containerID, operation)
    }

    func removeUnchecked(_ containerID: String, _ operation: String) async throws(EngineError) {
        lateCommands.withLock { $0[containerID] = nil }
        // 409: somebody else's removal of it is under way.
        _ = try await send(
            operation, .DELETE, "/containers/\(containerID)", query: [("force", "1"), ("v", "1")],
            timeout: configuration.startTimeout, accepting: [404, 409])
    }

    /// - Returns: false when there is no such container.
    /// - Throws: `notFound` when it is a stranger's.
    private func isOurs(_ containerID: String, _ operation: String) async throws(EngineError) -> Bool {
        let document: ContainerDocument
        do {
            document = try await self.document(of: containerID, operation)
        } catch  where error.code == .notFound {
            return false
        }
        guard ManagedContainer(document, configuration: configuration) != nil else {
            throw EngineError(.notFound, operation: operation, message: "\(containerID) is not this node's")
        }
        return true
    }
}

extension DockerEngine {
    /// What list and event filters ask for.
    var ownLabels: [String] {
        [
            "\(ContainerLabels.cluster)=\(configuration.cluster)",
            "\(ContainerLabels.node)=\(configuration.node)",
        ]
    }

    /// - Parameter container: an id, or a name of ours.
    func document(of container: String, _ operation: String) async throws(EngineError) -> ContainerDocument {
        try await get(ContainerDocument.self, operation, "/containers/\(PercentEncoding.component(container))/json")
    }

    func get<Value: Decodable>(
        _ type: Value.Type, _ operation: String, _ path: String, query: [(name: String, value: String)] = []
    ) async throws(EngineError) -> Value {
        let body = try await send(operation, .GET, path, query: query).body
        return try decode(type, body, operation)
    }

    func decode<Value: Decodable>(
        _ type: Value.Type, _ body: ByteBuffer, _ operation: String
    ) throws(EngineError) -> Value {
        do {
            return try EngineJSON.decode(type, from: body)
        } catch {
            throw EngineTransport.translate(error, operation)
        }
    }

    func encode(_ value: some Encodable, _ operation: String) throws(EngineError) -> ByteBuffer {
        do {
            return try EngineJSON.encode(value)
        } catch {
            throw EngineError(.invalid, operation: operation, message: "\(error)")
        }
    }
}
