import OrchestryModel

/// L1, L6 and the voter's side of L3 and L7.
extension Election {
    mutating func receive(_ message: ElectionMessage, from index: Int, at now: Instant, _ outputs: inout [Output]) {
        switch message {
        case .heartbeat(let epoch, let sentAt): heard(epoch, sentAt: sentAt, from: index, at: now, &outputs)
        case .heartbeatAck(let epoch, let sentAt): promised(by: index, epoch, sentAt: sentAt, at: now)
        case .voteRequest(let round):
            let granted = grant(index, at: now)
            let reply = ElectionMessage.voteReply(round: round, granted: granted, highestEpoch: highestEpoch)
            outputs.append(.send(reply, to: voters[index]))
        case .voteReply(let round, let granted, let epoch):
            replied(index, round: round, granted: granted, highest: epoch, at: now, &outputs)
        case .released(let epoch): released(epoch, by: index, at: now)
        }
    }

    private mutating func heard(
        _ epoch: Epoch, sentAt: UInt64, from index: Int, at now: Instant, _ outputs: inout [Output]
    ) {
        let sender = voters[index]
        observe(epoch, announce: true, at: now, &outputs)
        guard epoch >= highestEpoch else {
            // Round 0 is nobody's: this only tells a leader of the past what it missed.
            outputs.append(.send(.voteReply(round: 0, granted: false, highestEpoch: highestEpoch), to: sender))
            return
        }
        // A heartbeat that a `released` overtook grants nothing.
        guard epoch > endedEpochs[index] else { return }
        // L8: whoever hears a leader leaves it alone, even while an older promise forbids to acknowledge it.
        lastLeader = sender
        standAfter(now.after(timing.promise))
        guard now >= readyAt else { return }
        if let held = promise, held.leader != sender, now < held.until, mutation != .ackUnderPromise { return }
        promise = Promise(leader: sender, epoch: epoch, until: now.after(timing.promise))
        if case .candidate = role { role = .follower }
        outputs.append(.send(.heartbeatAck(epoch: epoch, sentAt: sentAt), to: sender))
    }

    /// Whether the candidate gets this node's vote. Safety does not rest on votes (promises, the lease and the epoch give
    /// it): they keep a follower that lost touch from taking over a lease whose holder the others still hear. So a vote
    /// binds nobody, but for `voteHold` others get none: two winners in a row would cost a whole promise.
    private mutating func grant(_ index: Int, at now: Instant) -> Bool {
        let candidate = voters[index]
        guard now >= readyAt, !isBound(at: now), !activity(at: now).isActive else { return false }
        if let hold = voteHold, hold.candidate != candidate { return false }
        if case .candidate(let campaign) = role {
            // Of two candidates the better-placed one goes on, unless the other has just asked PostgreSQL.
            let givesWay =
                campaign.request == nil ? precedes(index, myIndex) : now >= campaign.requestHoldsUntil
            guard givesWay else { return false }
            role = .follower
        }
        let until = now.after(timing.voteHold)
        voteHold = (candidate, until)
        standAfter(until)
        return true
    }

    /// L7, seen by a voter.
    private mutating func released(_ epoch: Epoch, by index: Int, at now: Instant) {
        guard epoch > endedEpochs[index] else { return }
        endedEpochs[index] = epoch
        let leader = voters[index]
        if let held = promise, held.leader == leader, held.epoch <= epoch { promise = nil }
        if voteHold?.candidate == leader { voteHold = nil }
        lastLeader = leader
        guard case .follower = role else { return }
        if highestEpoch > epoch {
            // It has a successor, which will be heard soon.
            standAfter(now.after(timing.promise))
        } else {
            standAfter(now)
        }
    }
}
