import OrchestryModel

/// L3 and L8: from silence to the lease.
extension Election {
    mutating func campaignIfDue(at now: Instant, _ outputs: inout [Output]) {
        guard !isLeaving, now >= campaignAt else { return }
        if let promise { return standAfter(promise.until) }
        if let voteHold { return standAfter(voteHold.until) }
        if now < storeBackoffUntil { return standAfter(now) }
        var campaign = nextRound(acquireAt: now.after(timing.acquireRetry), at: now)
        campaign.askAgain = timing.voteRetry
        role = .candidate(campaign)
        self.campaign(at: now, &outputs)
    }

    /// `round` is new, and everyone is asked at once.
    private mutating func nextRound(acquireAt: Instant, at now: Instant) -> Campaign {
        round = round == .max ? 1 : round + 1
        var granted = Array(repeating: false, count: voters.count)
        granted[myIndex] = true
        var askAt = [Instant?](repeating: now, count: voters.count)
        askAt[myIndex] = nil
        return Campaign(
            round: round, roundEndsAt: now.after(timing.promise), granted: granted, askAt: askAt,
            askAgain: timing.heartbeat, requestHoldsUntil: now, acquireAt: acquireAt,
            retry: min(timing.voteRetry * 2, timing.acquireRetry))
    }

    func deadline(of campaign: Campaign) -> Instant {
        var deadline = campaign.roundEndsAt
        for ask in campaign.askAt { if let ask { deadline = min(deadline, ask) } }
        return campaign.request == nil ? min(deadline, campaign.acquireAt) : deadline
    }

    mutating func campaign(at now: Instant, _ outputs: inout [Output]) {
        guard case .candidate(var campaign) = role else { return }
        role = .follower  // Keeps `campaign` the only reference, so that its arrays are not copied.
        if now >= campaign.roundEndsAt {
            var next = nextRound(acquireAt: campaign.acquireAt, at: now)
            next.request = campaign.request
            next.requestHoldsUntil = campaign.requestHoldsUntil
            next.refusedDespiteVotes = campaign.refusedDespiteVotes
            next.retry = campaign.retry
            campaign = next
        }
        for index in campaign.askAt.indices {
            guard let ask = campaign.askAt[index], now >= ask else { continue }
            outputs.append(.send(.voteRequest(round: campaign.round), to: voters[index]))
            // Unless a reply decides otherwise: the request or its reply was lost.
            campaign.askAt[index] = now.after(timing.heartbeat)
        }
        let granted = campaign.votes >= majority
        if campaign.request == nil, now >= campaign.acquireAt || (granted && !campaign.refusedDespiteVotes) {
            let statement = LeaseRequest.Statement.acquire(votesGranted: granted, highestEpoch: highestEpoch)
            campaign.request = submit(statement, at: now, &outputs)
            campaign.requestHoldsUntil = now.after(timing.voteHold)
        }
        role = .candidate(campaign)
    }

    /// A vote, or the hint to a leader of the past that it is one.
    mutating func replied(
        _ index: Int, round: UInt32, granted: Bool, highest: Epoch, at now: Instant, _ outputs: inout [Output]
    ) {
        let isNews = highest > highestEpoch
        observe(highest, announce: false, at: now, &outputs)
        guard case .candidate(var campaign) = role, campaign.round == round else { return }
        if isNews, campaign.request == nil {
            // A leader unknown to this node was there: it may be alive, and about to be heard.
            role = .follower
            return standAfter(now.after(timing.promise))
        }
        if granted {
            campaign.granted[index] = true
            campaign.askAt[index] = nil
        } else if !campaign.granted[index] {
            campaign.askAt[index] = now.after(campaign.askAgain + random.next(below: timing.jitter))
        }
        role = .candidate(campaign)
    }

    // MARK: PostgreSQL's answers

    /// An answer to `acquire`, which may come long after this node stopped waiting for it.
    mutating func acquireAnswered(
        _ entry: SentRequest, _ outcome: LeaseOutcome, at now: Instant, _ outputs: inout [Output]
    ) {
        switch outcome {
        case .acquired(let epoch): acquired(epoch, by: entry, at: now, &outputs)
        case .refused(let row):
            if let row { observe(row.epoch, announce: false, at: now, &outputs) }
            guard case .candidate(var campaign) = role, campaign.request == entry.request.id else { return }
            campaign.request = nil
            if case .acquire(votesGranted: true, _) = entry.request.statement { campaign.refusedDespiteVotes = true }
            campaign.acquireAt = now.after(campaign.retry + random.next(below: timing.jitter))
            campaign.retry = min(campaign.retry * 2, timing.acquireRetry)
            role = .candidate(campaign)
        case .failed: if !entry.timedOut { storeUnreachable(entry.request.id, at: now) }
        // Not an answer to this statement.
        case .renewed, .released: break
        }
    }

    /// PostgreSQL does not answer this node: others may have better luck, so it stands back.
    mutating func storeUnreachable(_ id: UInt64, at now: Instant) {
        storeBackoffUntil = now.after(timing.storeBackoff + random.next(below: timing.storeBackoff / 2))
        guard case .candidate(let campaign) = role, campaign.request == id else { return }
        role = .follower
        standAfter(now)
    }

    /// The row is this node's under `epoch`, or was when PostgreSQL answered. A late answer is taken like a timely one:
    /// whoever led before has lost the lease, and what counts here counts from when the statement was sent. That the
    /// epoch is known already is no objection: it is this node's alone, and others may have read it in the row first.
    private mutating func acquired(
        _ epoch: Epoch, by entry: SentRequest, at now: Instant, _ outputs: inout [Output]
    ) {
        let sentAt = entry.sentAt
        guard epoch >= highestEpoch else {
            // Someone acquired after it, and is about to be heard.
            guard case .candidate(let campaign) = role, campaign.request == entry.request.id else { return }
            role = .follower
            return standAfter(now.after(timing.promise))
        }
        observe(epoch, announce: false, at: now, &outputs)
        if isLeaving {
            _ = submit(.release(epoch: epoch, seq: 1), at: now, &outputs)
            return
        }
        voteHold = nil
        role = .leader(
            Tenure(
                epoch: epoch, at: now, leaseUntil: sentAt.after(timing.countedLease),
                renewAt: max(now, sentAt.after(timing.renew)), probeWait: timing.renew, voters: voters.count))
    }
}
