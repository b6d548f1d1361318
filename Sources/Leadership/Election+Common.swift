import OrchestryModel

/// What all roles share: time running out, order among candidates, reporting.
extension Election {
    var majority: Int { voters.count / 2 + 1 }

    func isBound(at now: Instant) -> Bool {
        promise.map { now < $0.until } ?? false
    }

    func tell(_ message: ElectionMessage, _ outputs: inout [Output]) {
        for (index, voter) in voters.enumerated() where index != myIndex { outputs.append(.send(message, to: voter)) }
    }

    /// Forgets what has run out at `now`.
    mutating func expire(at now: Instant) {
        if let held = promise, now >= held.until { promise = nil }
        if let hold = voteHold, now >= hold.until { voteHold = nil }
        // An answer later than a lease lasts is of no use to anyone.
        sent.removeAll { $0.timedOut && now >= $0.sentAt.after(timing.countedLease) }
    }

    mutating func runTimers(at now: Instant, _ outputs: inout [Output]) {
        for index in sent.indices
        where !sent[index].timedOut && now >= sent[index].sentAt.after(timing.requestTimeout) {
            sent[index].timedOut = true
            unanswered(sent[index].request, at: now, &outputs)
        }
        switch role {
        case .follower: campaignIfDue(at: now, &outputs)
        case .candidate: campaign(at: now, &outputs)
        case .leader: lead(at: now, &outputs)
        }
    }

    mutating func submit(_ statement: LeaseRequest.Statement, at now: Instant, _ outputs: inout [Output]) -> UInt64 {
        lastRequestID += 1
        let request = LeaseRequest(id: lastRequestID, statement: statement)
        sent.append(SentRequest(request: request, sentAt: now))
        outputs.append(.lease(request))
        return request.id
    }

    /// Takes note of an epoch that exists. A leader of a lower one is deposed.
    /// - Parameter announce: tell the voters, so that their promises to the old epoch don't delay the new leader.
    mutating func observe(_ epoch: Epoch, announce: Bool, at now: Instant, _ outputs: inout [Output]) {
        guard epoch > highestEpoch else { return }
        highestEpoch = epoch
        if case .leader = role { endTenure(.deposed, announce: announce, at: now, &outputs) }
    }

    // MARK: L8

    /// Whether the voter at `left` should stand before the one at `right`: fresher metrics, then the lower id.
    func precedes(_ left: Int, _ right: Int) -> Bool {
        if let one = freshness[left], let other = freshness[right], one != other { return one > other }
        return left < right
    }

    mutating func setFreshness(_ value: Int64, of index: Int, at now: Instant) {
        freshness[index] = value
        // A starting node drew its place in the order before it knew.
        if now < readyAt, lastLeader == nil { standAfter(readyAt) }
    }

    /// Nanoseconds this node leaves to better-placed voters. The best-placed one waits for nobody.
    mutating func stagger() -> Int64 {
        let rank = voters.indices.count { $0 != myIndex && voters[$0] != lastLeader && precedes($0, myIndex) }
        return rank == 0 ? 0 : Int64(rank) * timing.stagger + random.next(below: timing.jitter)
    }

    /// Stands for election no sooner than after `instant` and the stagger.
    mutating func standAfter(_ instant: Instant) {
        campaignAt = max(instant.after(stagger()), storeBackoffUntil, readyAt)
    }

    // MARK: Reporting

    /// Tells the shell what changed, and keeps the tenure's own record of it.
    mutating func report(at now: Instant, _ outputs: inout [Output]) {
        let followed = promise.map { Followed(node: $0.leader, epoch: $0.epoch) }
        if followed != reportedLeader {
            reportedLeader = followed
            outputs.append(.leaderChanged(followed?.node, followed?.epoch ?? highestEpoch))
        }
        guard case .leader(var tenure) = role else { return }
        role = .follower  // Keeps `tenure` the only reference, so that its arrays are not copied.
        if now < tenure.majorityUntil {
            if tenure.majoritySince == nil { tenure.majoritySince = now }
        } else {
            tenure.majoritySince = nil
        }
        let leaseUntil = tenure.leaseUntil
        role = .leader(tenure)
        switch activity(at: now) {
        case .active(let epoch, let mode, _):
            setInactiveSince(nil)
            if let last = reportedActivity, last.epoch == epoch, last.mode == mode { break }
            reportedActivity = (epoch, mode)
            outputs.append(.activated(epoch, mode))
        case .inactive:
            setInactiveSince(now)
            if let last = reportedActivity {
                reportedActivity = nil
                outputs.append(.deactivated(last.epoch, now < leaseUntil ? .promisesLapsed : .leaseLapsed))
            }
        }
    }

    /// Nil clears it; an instant is kept only if none is set.
    private mutating func setInactiveSince(_ instant: Instant?) {
        guard case .leader(var tenure) = role, (tenure.inactiveSince == nil) != (instant == nil) else { return }
        role = .follower
        tenure.inactiveSince = instant
        if instant == nil { tenure.probedAt = latest }
        role = .leader(tenure)
    }
}
