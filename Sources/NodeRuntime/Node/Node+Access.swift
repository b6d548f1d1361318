import Logging
import OrchestryModel
import PostgresStore

/// Tokens, as this node gets them.
extension Node {
    /// From PostgreSQL; where that does not answer, or this node has none, from the leader. nil: from neither.
    func tokensInForce() async -> [APIToken]? {
        if let store = controller?.store, store.isAvailable {
            do {
                return try await store.tokens()
            } catch {
                logger.debug("Tokens can't be read from PostgreSQL", metadata: ["error": "\(error)"])
            }
        }
        if let term = currentTerm { return await term.tokensInForce() }
        guard let leader, leader != id else { return nil }
        do {
            let answer = try await forward(
                ControlRequest(operation: .tokensInForce, idempotencyKey: "node", actor: "node:\(id)"), to: leader)
            guard answer.status == 200 else { return nil }
            return try APIToken.list(from: answer.body)
        } catch {
            logger.debug("Tokens can't be had from the leader", metadata: ["error": "\(error)"])
            return nil
        }
    }

    func noteTokenUse(_ uses: [String: WallTime]) async -> Bool {
        guard let store = controller?.store, store.isAvailable else { return false }
        do {
            try await store.noteTokenUse(uses)
            return true
        } catch {
            logger.debug("When tokens were used is kept for later", metadata: ["error": "\(error)"])
            return false
        }
    }
}
