import Logging
import NIOCore
import NIOHTTP1
import OrchestryModel

extension DockerEngine {
    /// Enough for a leftover to go away (each try waits a little) and for a few taken addresses.
    private static let startAttempts = 20
    private static let pauseBetweenAttempts = Duration.milliseconds(100)

    /// Makes and starts an instance's container, unless one runs already: that one is adopted as it is.
    /// A leftover that does not run is removed first. The image must be on this host (`pull`).
    /// One call for an instance at a time; safe to repeat after any failure.
    ///
    /// `instance.ip` in the environment has to be known before the container is made: an address is then chosen here, in
    /// the upper half of the network's range, where the engine's own choices (from the bottom) come last.
    /// - Parameters:
    ///   - epoch: of the leader who ordered it; becomes a label.
    ///   - secrets: the opened values of those the environment names. They reach the engine in the request's body only,
    ///     and whoever may ask the engine about the container can read them there.
    /// - Throws: `imageMissing`; `invalid` when the spec can't work here (no such program, user or limit).
    package func start(
        _ assignment: Assignment, epoch: Epoch, secrets: [SecretName: String] = [:]
    ) async throws(EngineError) -> RunningContainer {
        let operation = "start instance \(assignment.instance)"
        guard assignment.node == configuration.node else {
            throw EngineError(.invalid, operation: operation, message: "it is assigned to node \(assignment.node)")
        }
        if let missing = assignment.spec.environmentSecrets.first(where: { secrets[$0] == nil }) {
            throw EngineError(.invalid, operation: operation, message: "it lacks secret '\(missing)'")
        }
        var failure = EngineError(.conflict, operation: operation, message: "no attempt was made")
        for attempt in 0..<Self.startAttempts {
            if attempt > 0 { try await pause(operation) }
            do {
                let id = try await create(assignment, epoch: epoch, secrets: secrets, operation)
                try await startCreated(id, operation)
                return RunningContainer(container: try await inspect(id), adopted: false)
            } catch  where error.code == .conflict {
                failure = error
                if let running = try await adoptOrRemove(assignment, operation) { return running }
            } catch  where Self.isMissingNetwork(error) {
                failure = error
                try await ensureNetwork(for: assignment.spec)
            } catch  where Self.isTakenAddress(error) {
                failure = error
            }
        }
        throw failure
    }

    private func create(
        _ assignment: Assignment, epoch: Epoch, secrets: [SecretName: String], _ operation: String
    ) async throws(EngineError) -> String {
        let image = assignment.spec.image
        guard let imageDocument = try await imageDocument(image) else {
            throw EngineError(.imageMissing, operation: operation, message: "image \(image) is not on this host")
        }
        let address =
            ContainerOptions.needsAddress(assignment.spec)
            ? try await freeAddress(on: configuration.network(of: assignment.spec), operation) : nil
        let options = ContainerOptions(
            assignment: assignment, epoch: epoch, configuration: configuration,
            imageUser: imageDocument.Config?.User ?? "", address: address, secrets: secrets,
            isPodman: assignment.spec.security.seccompProfile == nil ? false : try await version().isPodman)
        let body: ByteBuffer
        do {
            body = try EngineJSON.encode(options.document())
        } catch let objection as HostPolicy.Objection {
            throw EngineError(.invalid, operation: operation, message: objection.text)
        } catch {
            throw EngineError(.invalid, operation: operation, message: "\(error)")
        }
        let name = ContainerOptions.name(of: assignment.instance, cluster: configuration.cluster)
        let answer = try await send(
            operation, .POST, "/containers/create", query: [("name", name)], body: body,
            timeout: configuration.startTimeout)
        return try decode(CreatedDocument.self, answer.body, operation).Id
    }

    /// Starts a container just made, and takes it away again when the engine refuses.
    private func startCreated(_ id: String, _ operation: String) async throws(EngineError) {
        do {
            try await send(
                operation, .POST, "/containers/\(id)/start", timeout: configuration.startTimeout, accepting: [304])
        } catch {
            switch error.code {
            case .unavailable, .timeout, .cancelled, .malformed:
                // It may be running: the next `start` adopts it or removes it.
                break
            case .notFound, .conflict, .imageMissing, .invalid, .serverError:
                do {
                    try await removeUnchecked(id, operation)
                } catch let removal {
                    logger.warning(
                        "container that did not start could not be removed",
                        metadata: ["container.id": "\(id)", "error": "\(removal)"])
                }
            }
            // A conflict here is not about the container's name.
            throw error.code == .conflict
                ? EngineError(.serverError, operation: operation, message: error.message) : error
        }
    }

    /// Looks at the container that holds an instance's name.
    /// - Returns: it, when it runs; nil when it was removed, is going, or is gone.
    private func adoptOrRemove(_ assignment: Assignment, _ operation: String) async throws(EngineError)
        -> RunningContainer?
    {
        let name = ContainerOptions.name(of: assignment.instance, cluster: configuration.cluster)
        let document: ContainerDocument
        do {
            document = try await self.document(of: name, operation)
        } catch  where error.code == .notFound {
            return nil
        }
        guard let container = ManagedContainer(document, configuration: configuration),
            container.instance == assignment.instance
        else {
            throw EngineError(
                .invalid, operation: operation, message: "a container that is not this node's is named \(name)")
        }
        if document.State.Status == "removing" { return nil }
        if container.isRunning { return RunningContainer(container: container, adopted: true) }
        try await removeUnchecked(container.id, operation)
        return nil
    }

    private static func isMissingNetwork(_ error: EngineError) -> Bool {
        (error.code == .notFound && error.message.contains("network")) || error.message.contains("network not found")
    }

    private static func isTakenAddress(_ error: EngineError) -> Bool {
        let words = error.message.lowercased()
        return words.contains("address already in use") || words.contains("is already allocated")
    }

    func pause(_ operation: String) async throws(EngineError) {
        do {
            try await Task.sleep(for: Self.pauseBetweenAttempts)
        } catch {
            throw EngineError(.cancelled, operation: operation, message: "cancelled")
        }
    }
}
