import Logging
import OrchestryModel
import PostgresStore
import RestFacade
import Synchronization

extension Node {
    /// Where the node's streams get what they show.
    static func makeFeed(store: StateStore, reference: NodeReference, logger: Logger) -> LiveFeed {
        LiveFeed(
            sources: LiveFeed.Sources(
                newestEvent: { () async throws(StoreError) in try await store.newestEventID() },
                events: { id, limit async throws(StoreError) in try await store.events(after: id, limit: limit) },
                overview: { await reference.node?.overview() },
                cluster: {
                    guard let node = reference.node else { return .null }
                    return Presentation.clusterSummary(await node.clusterView())
                }),
            logger: logger)
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
        if answer == nil { answer = await readFromStore(.overview) }
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
