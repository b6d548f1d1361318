import DockerEngine
import Logging
import OrchestryModel
import PeerTransport
import RestFacade
import Synchronization
import WireProtocol

/// Following containers' output, here and on other nodes.
extension Node {
    /// Answers `Operation.followLog` for an instance of this node; whoever leads has nothing to do with it.
    func logPage(_ instance: InstanceID, session: String, cursor: String?, tail: Int?) async -> ControlResponse {
        let (container, exists) = await agent.container(of: instance)
        let page = await logTails.page(
            session: session, instance: instance, container: container, exists: exists,
            cursor: cursor.flatMap(LogCursor.init(text:)), tail: tail, now: clock.wall())
        return ControlResponse(
            body: [
                "container": .string(page.container), "cursor": JSONValue(page.cursor?.text),
                "lines": .array(page.lines.map { [.int($0.time.milliseconds), .string($0.text)] }),
                "until": page.until.map { .int($0) } ?? .null, "more": .bool(page.hasMore), "over": .bool(page.isOver),
            ])
    }

    func logFollower(of app: AppName, tail: Int, plane: NodeControlPlane) -> LogFollower {
        LogFollower(
            sources: LogFollower.Sources(
                instances: { () async throws(Problem) in try await plane.instances(of: app) },
                page: { [weak self] node, instance, session, cursor, tail in
                    let operation = Operation.followLog(instance, session: session, cursor: cursor, tail: tail)
                    return await self?.askForLog(operation, of: node)
                },
                isStopping: { [weak self] in self?.state.withLock { $0.isStopping } ?? true }, clock: clock),
            tail: tail)
    }

    private func askForLog(_ operation: OrchestryModel.Operation, of node: NodeID) async -> JSONValue? {
        if node == id {
            guard case .followLog(let instance, let session, let cursor, let tail) = operation else { return nil }
            return await logPage(instance, session: session, cursor: cursor, tail: tail).body
        }
        guard transport.supports(PeerFeatures.streams, node) else { return nil }
        let request = ControlRequest(operation: operation, idempotencyKey: "log", actor: id.rawValue)
        do {
            let reply = try await transport.request(
                .forwardRequest(request, deadlineMilliseconds: 2_000), to: node, timeout: .seconds(2))
            guard case .forwardResponse(let response) = reply, response.status == 200 else { return nil }
            return response.body
        } catch {
            logger.debug("Another node's output can't be followed", metadata: ["peer": "\(node)", "error": "\(error)"])
            return nil
        }
    }
}

extension NodeControlPlane {
    func followLogs(of app: AppName, tail: Int) async throws(Problem) -> any LogFollowing {
        try mayStream()
        // Whoever follows what does not exist is told so before anything is sent.
        for holder in Set((try await instances(of: app) ?? [:]).values).sorted() where holder != node.id {
            let isConnected = node.transport.connectedPeers.contains { $0.id == holder }
            // Its instances' lines would silently be missing.
            if isConnected, !node.transport.supports(PeerFeatures.streams, holder) {
                throw node.objectionToStreams(of: holder)
            }
        }
        return node.logFollower(of: app, tail: tail, plane: self)
    }

    /// nil: nobody can tell now.
    /// - Throws: `Problem` 404.
    func instances(of app: AppName) async throws(Problem) -> [InstanceID: NodeID]? {
        let answer = await perform(
            ControlRequest(operation: .appStatus(app), idempotencyKey: "log", actor: node.id.rawValue))
        if answer.status == 404 { throw .appNotFound(app) }
        guard answer.status == 200, let rows = answer.body["instances"]?.arrayValue else { return nil }
        var instances: [InstanceID: NodeID] = [:]
        for row in rows {
            guard let instance = row["instance"]?.stringValue.flatMap({ InstanceID(rawValue: $0) }),
                let node = row["node"]?.stringValue.flatMap({ NodeID(rawValue: $0) })
            else { continue }
            instances[instance] = node
        }
        return instances
    }
}
