import Logging
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RestFacade
import Synchronization

extension Node {
    /// Where the node's streams get what they show.
    static func makeFeed(_ reference: NodeReference, logger: Logger) -> LiveFeed {
        LiveFeed(
            sources: LiveFeed.Sources(
                newestEvent: { () async throws(StoreError) in
                    guard let node = reference.node else { throw .unavailable("the node stops") }
                    if let store = node.controller?.store { return try await store.newestEventID() }
                    return try await node.eventsOfControllers(after: 0, limit: 0).newest
                },
                events: { id, limit async throws(StoreError) in
                    guard let node = reference.node else { throw .unavailable("the node stops") }
                    if let store = node.controller?.store { return try await store.events(after: id, limit: limit) }
                    return try await node.eventsOfControllers(after: id, limit: limit).events
                },
                overview: { await reference.node?.overview() },
                cluster: {
                    guard let node = reference.node else { return .null }
                    return Presentation.clusterSummary(await node.clusterView())
                }),
            logger: logger)
    }

    /// For a worker, which has no PostgreSQL.
    private func eventsOfControllers(
        after id: Int64, limit: Int
    ) async throws(StoreError) -> (newest: Int64, events: [StoredEvent]) {
        let answer = await NodeControlPlane(node: self).perform(
            ControlRequest(operation: .eventsAfter(id, limit: limit), idempotencyKey: "events", actor: self.id.rawValue)
        )
        guard answer.status == 200, let newest = answer.body["newest"]?.intValue else {
            throw .unavailable(answer.body["detail"]?.stringValue ?? "no controller gives events")
        }
        return (Int64(newest), (answer.body["events"]?.arrayValue ?? []).compactMap(StoredEvent.init(presented:)))
    }

    /// A row for each app, from the leader, else from PostgreSQL; nil: from neither.
    private func overview() async -> [JSONValue]? {
        let request = ControlRequest(operation: .overview, idempotencyKey: "overview", actor: id.rawValue)
        var answer: ControlResponse?
        if let term = currentTerm {
            answer = await term.perform(request)
        } else if let leader, leader != id, feedTrouble(with: leader) == false {
            do {
                answer = try await forward(request, to: leader)
            } catch {
                noteFeedTrouble(with: leader)
                logger.debug("The leader gives no overview", metadata: ["peer": "\(leader)", "error": "\(error)"])
            }
        }
        if answer == nil { answer = await readWithoutLeader(request) }
        return answer?.status == 200 ? answer?.body["apps"]?.arrayValue : nil
    }

    /// A leader of a release that has no overview closes the connection on that question: it is not asked each second.
    private static let troublePause = Duration.seconds(10)

    private func feedTrouble(with leader: NodeID) -> Bool {
        state.withLock { $0.feedTrouble.map { $0.leader == leader && .now - $0.since < Self.troublePause } ?? false }
    }

    private func noteFeedTrouble(with leader: NodeID) {
        state.withLock { $0.feedTrouble = (leader, .now) }
    }
}

extension StoredEvent {
    /// nil: not an event as `Presentation.event` shows them.
    fileprivate init?(presented: JSONValue) {
        guard let id = presented["id"]?.stringValue.flatMap({ Int64($0) }),
            let node = presented["node_id"]?.stringValue,
            let kind = presented["event_type"]?.stringValue, let message = presented["message"]?.stringValue,
            let seconds = presented["timestamp"]?.doubleValue
        else { return nil }
        self.init(
            id: id,
            event: Event(
                node: NodeID(unchecked: node), sequence: Int64(presented["sequence"]?.intValue ?? 0),
                time: WallTime(seconds: seconds), app: presented["app_name"]?.stringValue.map(AppName.init(unchecked:)),
                kindName: kind, message: message, details: presented["details"] ?? .null))
    }
}
