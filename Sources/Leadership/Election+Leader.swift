import OrchestryModel

/// L2, L4 and L7: heartbeats, renewals, and the end of an epoch.
extension Election {
    func deadline(of tenure: Tenure) -> Instant {
        var deadline = tenure.quietUntil ?? min(tenure.heartbeatAt, silenceDue(tenure) ?? tenure.heartbeatAt)
        if tenure.request == nil { deadline = min(deadline, renewalDue(tenure)) }
        switch activity(at: latest) {
        case .inactive: break
        case .active(_, _, let until): deadline = min(deadline, until)
        }
        return deadline
    }

    mutating func lead(at now: Instant, _ outputs: inout [Output]) {
        guard case .leader(var tenure) = role else { return }
        if let quiet = tenure.quietUntil, now >= quiet {
            tenure.quietUntil = nil
            tenure.heartbeatAt = now
            tenure.probedAt = now
            if tenure.inactiveSince != nil { tenure.inactiveSince = now }
        }
        if tenure.quietUntil == nil, let due = silenceDue(tenure), now >= due {
            tenure.quietUntil = now.after(timing.promise * 3 + random.next(below: timing.promise))
            if tenure.inactiveSince == nil { tenure.probeWait = min(tenure.probeWait * 4, timing.storeProbe) }
        }
        if tenure.quietUntil == nil, now >= tenure.heartbeatAt { beat(&tenure, at: now, &outputs) }
        if tenure.request == nil, now >= renewalDue(tenure) { renew(&tenure, at: now, &outputs) }
        role = .leader(tenure)
    }

    private mutating func beat(_ tenure: inout Tenure, at now: Instant, _ outputs: inout [Output]) {
        tenure.heartbeatAt = now.after(timing.heartbeat)
        // Rounded down: what is echoed may only say that it was sent earlier.
        tell(.heartbeat(epoch: tenure.epoch, sentAt: UInt64(max(0, now.nanoseconds) / 1_000)), &outputs)
        // Its own promise, under the same rule.
        if let held = promise, held.leader != me { return }
        promise = Promise(leader: me, epoch: tenure.epoch, until: now.after(timing.promise))
        tenure.promisedUntil[myIndex] = now.after(timing.countedPromise)
    }

    /// A voter's promise, as echoed.
    mutating func promised(by index: Int, _ epoch: Epoch, sentAt: UInt64, at now: Instant) {
        guard case .leader(var tenure) = role, tenure.epoch == epoch, sentAt <= UInt64(max(0, now.nanoseconds) / 1_000)
        else { return }
        role = .follower  // Keeps `tenure` the only reference, so that its arrays are not copied.
        let start = mutation == .countFromReceipt ? now : Instant(nanoseconds: Int64(sentAt) * 1_000)
        let until = start.after(timing.countedPromise)
        tenure.promisedUntil[index] = max(tenure.promisedUntil[index], until)
        role = .leader(tenure)
    }

    /// When to fall silent for a moment: its heartbeats keep the others from trying, and without a lease it can't be
    /// active, or only without writes. Nil: not at all as things stand.
    private func silenceDue(_ tenure: Tenure) -> Instant? {
        guard voters.count > 1 else { return nil }
        if let since = tenure.inactiveSince { return max(tenure.leaseUntil, since.after(timing.promise * 2)) }
        return max(tenure.leaseUntil, tenure.probedAt).after(tenure.probeWait)
    }

    // MARK: L4

    /// When a majority has been missing long enough to ask for solo.
    private func soloDue(_ tenure: Tenure) -> Instant {
        max(tenure.majorityUntil.after(timing.promise), tenure.soloAt)
    }

    private func renewalDue(_ tenure: Tenure) -> Instant {
        tenure.asked == .quorum ? min(tenure.renewAt, soloDue(tenure)) : tenure.renewAt
    }

    private mutating func renew(_ tenure: inout Tenure, at now: Instant, _ outputs: inout [Output]) {
        let mode: LeaseMode
        switch tenure.asked {
        case .quorum: mode = now >= soloDue(tenure) ? .solo : .quorum
        // Back to quorum only when the majority is there to stay.
        case .solo: mode = tenure.majoritySince.map { now >= $0.after(timing.promise) } == true ? .quorum : .solo
        }
        tenure.seq += 1
        tenure.asked = mode
        if mode == .quorum {
            tenure.quorumSeq = tenure.seq
            // Before PostgreSQL may let others take over by votes.
            if tenure.mode == .solo, mutation != .keepSoloWhileAsking { tenure.mode = nil }
        }
        tenure.renewAt = now.after(timing.renew)
        tenure.request = submit(.renew(epoch: tenure.epoch, seq: tenure.seq, mode: mode), at: now, &outputs)
    }

    /// An answer to `renew`, which may come after later statements were sent.
    mutating func renewalAnswered(
        _ entry: SentRequest, _ outcome: LeaseOutcome, at now: Instant, _ outputs: inout [Output]
    ) {
        guard case .renew(let epoch, let seq, _) = entry.request.statement else { return }
        if case .refused(let row?) = outcome { observe(row.epoch, announce: false, at: now, &outputs) }
        guard case .leader(var tenure) = role, tenure.epoch == epoch else { return }
        let isLatest = tenure.request == entry.request.id
        if isLatest { tenure.request = nil }
        switch outcome {
        case .renewed(epoch, let mode):
            tenure.leaseUntil = max(tenure.leaseUntil, entry.sentAt.after(timing.countedLease))
            tenure.probeWait = timing.renew
            // Void once a statement was sent that may have ended it.
            if seq > tenure.modeSeq, mode == .quorum || seq > tenure.quorumSeq {
                tenure.mode = mode
                tenure.modeSeq = seq
            }
            if now < tenure.leaseUntil, tenure.quietUntil != nil {
                tenure.quietUntil = nil
                tenure.heartbeatAt = now
            }
        case .refused(let row?) where row.leader == me && row.epoch == epoch:
            // Not lost: an earlier holder's lease may still run, or a later statement was quicker. Meanwhile quorum
            // keeps the lease alive.
            if isLatest {
                tenure.renewAt = tenure.asked == .solo ? now : now.after(timing.renew / 4)
                tenure.soloAt = now.after(timing.renew / 2)
                tenure.asked = .quorum
            }
        case .refused:
            role = .leader(tenure)
            return endTenure(.leaseLost, announce: false, at: now, &outputs)
        case .failed:
            if isLatest { tenure.renewAt = now.after(timing.renew / 4) }
        // Not an answer to this statement.
        case .acquired, .renewed, .released: break
        }
        role = .leader(tenure)
    }

    // MARK: Answers and their absence

    mutating func answered(_ id: UInt64, _ outcome: LeaseOutcome, at now: Instant, _ outputs: inout [Output]) {
        guard let position = sent.firstIndex(where: { $0.request.id == id }) else { return }
        let entry = sent.remove(at: position)
        switch entry.request.statement {
        case .acquire: acquireAnswered(entry, outcome, at: now, &outputs)
        case .renew: renewalAnswered(entry, outcome, at: now, &outputs)
        case .release: break
        }
    }

    /// No answer in time. What it may still do in PostgreSQL is answered for by `seq` and the epoch.
    mutating func unanswered(_ request: LeaseRequest, at now: Instant, _ outputs: inout [Output]) {
        switch request.statement {
        case .acquire: storeUnreachable(request.id, at: now)
        case .renew:
            guard case .leader(var tenure) = role, tenure.request == request.id else { return }
            tenure.request = nil
            tenure.renewAt = now
            role = .leader(tenure)
        case .release: break
        }
    }

    // MARK: L7

    /// Stops acting, then says so, then gives the lease back.
    mutating func giveUp(_ reason: DeactivationReason, at now: Instant, _ outputs: inout [Output]) {
        switch role {
        case .follower: break
        case .candidate:
            role = .follower
            standAfter(now.after(timing.promise * 2))
        case .leader(let tenure):
            endTenure(reason, announce: true, at: now, &outputs)
            _ = submit(.release(epoch: tenure.epoch, seq: tenure.seq + 1), at: now, &outputs)
        }
    }

    /// Never acts, beats or renews under this epoch again.
    mutating func endTenure(
        _ reason: DeactivationReason, announce: Bool, at now: Instant, _ outputs: inout [Output]
    ) {
        guard case .leader(let tenure) = role else { return }
        role = .follower
        endedEpochs[myIndex] = tenure.epoch
        if let last = reportedActivity {
            reportedActivity = nil
            outputs.append(.deactivated(last.epoch, reason))
        }
        // Its promise to itself ends with the epoch: nobody else counts it.
        if let held = promise, held.leader == me { promise = nil }
        // Others first: it has just shown that it is not the best choice.
        standAfter(now.after(timing.promise * 2))
        if announce { tell(.released(epoch: tenure.epoch), &outputs) }
    }
}
