import Logging
import OrchestryModel
import PostgresStore
import Scheduling

/// A write whose answer never came may have been carried out, or may still be: memory may be behind PostgreSQL. All of
/// this is called under the write lock.
extension LeaderTerm {
    /// For the next write of desired state; the same for all attempts at it.
    func nextTurn() -> Int64 {
        turn += 1
        return turn
    }

    /// Nothing is written on the strength of a memory that may be wrong: finds out first, and makes sure that what was
    /// given up can't be carried out any more.
    /// - Throws: `.fenced`, or that PostgreSQL can't be asked now: nothing must be written then.
    func settle() async throws(StoreError) {
        guard isInDoubt else { return }
        let state = try await surroundings.store.settle(after: turn, epoch: epoch, leader: surroundings.me.id)
        let storedSecrets = try await surroundings.store.secrets()
        secrets = Dictionary(storedSecrets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let storedTokens = try await surroundings.store.tokens()
        tokens = Dictionary(storedTokens.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        turn = state.turn
        isInDoubt = false
        var changed = 0
        for var stored in state.applications {
            let known = applications[stored.name]
            // Scaled while PostgreSQL was away: that still has to be told it.
            if let known, unsaved.contains(stored.name), known.status == stored.status {
                stored.replicas = known.replicas
                stored.lastScaledAt = known.lastScaledAt
            }
            if stored == known { continue }
            changed += 1
            take(stored, replacing: known?.replicas, rollout: state.rollouts.first { $0.app == stored.name })
        }
        for rollout in state.rollouts { reconcile(.rolloutPaused(rollout.app, rollout.isPaused)) }
        let known = Dictionary(reconciler.nodeViews.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        for stored in state.nodes.map(\.scheduling) {
            guard let view = known[stored.node] else { continue }
            // That a node is empty is written behind: PostgreSQL may not know yet.
            let drains = stored.isDraining && !view.scheduling.isDraining && view.instances > 0
            if drains || stored.isCordoned != view.scheduling.isCordoned { reconcile(.scheduling(stored)) }
        }
        for name in Set(applications.keys).subtracting(state.applications.map(\.name)).sorted() {
            changed += 1
            drop(name)
        }
        logger.info("Read again what PostgreSQL holds", metadata: ["changed": "\(changed)", "turn": "\(turn)"])
    }
}

extension LeaderTerm {
    /// As after a doubt. Called under the write lock.
    func readAgain() async {
        isInDoubt = true
        do {
            try await settle()
        } catch {
            logger.warning(
                "What was written is read again as soon as PostgreSQL answers", metadata: ["error": "\(error)"])
        }
    }

    /// Ends a doubt also when nobody writes.
    func settleInPassing() async {
        guard isInDoubt else { return }
        await writeLock.withLock {
            do {
                try await self.settle()
            } catch {
                logger.debug("What became of a write is not known yet", metadata: ["error": "\(error)"])
            }
        }
    }
}
