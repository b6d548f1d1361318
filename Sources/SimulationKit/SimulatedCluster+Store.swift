import Leadership
import OrchestryModel

/// Between a node and PostgreSQL, and what PostgreSQL does.
extension SimulatedCluster {
    mutating func submit(_ call: StoreCall, of node: Int) {
        let incarnation = nodes[node].incarnation
        if now < storeDownUntil {
            coverage.note(.storeRefused)
            return fail(call, of: node, incarnation, now)
        }
        let era = storeEra
        func statement(answers: Bool) -> Event {
            .statement(call, node: node, incarnation: incarnation, era: era, answers: answers, sentAt: now)
        }
        switch nodes[node].storeLink {
        case .refusing:
            coverage.note(.storeRefused)
            fail(call, of: node, incarnation, now)
        case .silent: coverage.note(.storeSilent)
        case .stalled:
            coverage.note(.storeStalled)
            nodes[node].stalled.append(statement(answers: true))
        case .open, .deaf:
            let isBroken = happens(perMille: store.brokenPerMille)
            if isBroken {
                coverage.note(.storeBroken)
                fail(call, of: node, incarnation, now)
                if happens(perMille: 500) { return }
            }
            queue.push(statement(answers: !isBroken), at: now + draw(store.delays))
        }
    }

    /// The node hears of a broken connection in a moment.
    mutating func fail(_ call: StoreCall, of node: Int, _ incarnation: UInt32, _ sentAt: Int64) {
        let reply: StoreReply =
            switch call {
            case .lease(let request): .lease(request.id, .failed("no connection"))
            case .write(let write): .write(write, .unknown)
            }
        queue.push(.answer(reply, node: node, incarnation: incarnation, sentAt: sentAt), at: now + 1_000_000)
    }

    private func isLate(_ sentAt: Int64) -> Bool {
        now - sentAt > options.settings.leaseRequestTimeout.inNanoseconds
    }

    /// In PostgreSQL.
    mutating func carryOut(_ call: StoreCall, of node: Int, _ incarnation: UInt32, answers: Bool, _ sentAt: Int64) {
        if isLate(sentAt) { coverage.note(.lateStatement) }
        let reply: StoreReply
        switch call {
        case .lease(let request): reply = .lease(request.id, execute(request, of: node))
        case .write(let write): reply = .write(write, execute(write, of: node))
        }
        if nodes[node].storeLink == .deaf { coverage.note(.storeDeaf) }
        guard answers, nodes[node].storeLink == .open else { return }
        queue.push(
            .answer(reply, node: node, incarnation: incarnation, sentAt: sentAt), at: now + draw(store.delays))
    }

    private mutating func execute(_ request: LeaseRequest, of node: Int) -> LeaseOutcome {
        let clock = storeClock.local(at: now)
        let outcome = database.execute(request.statement, by: nodes[node].id, clock: clock, at: now)
        note {
            "postgres carries out \($0.nodes[node].id)#\(request.id) \(request.statement.summary) -> \(outcome.summary)"
        }
        switch outcome {
        case .acquired(let epoch):
            if let other = winners[epoch] {
                fail(.epochReused, "\(nodes[node].id) acquired \(epoch), as \(nodes[other].id) had before")
            }
            winners[epoch] = node
        case .refused: if register.isHeld(at: clock) { coverage.note(.heldAfterPromotion) }
        case .renewed, .released, .failed: break
        }
        return outcome
    }

    mutating func take(_ reply: StoreReply, by node: Int, _ sentAt: Int64) {
        switch reply {
        case .lease(let id, let outcome):
            if isLate(sentAt) { coverage.note(.lateAnswer) }
            note { "\($0.nodes[node].id)#\(id) answered: \(outcome.summary)" }
            feed(.leaseReply(id: id, outcome), to: node)
        case .write(let write, let outcome): stored(write, outcome, by: node)
        }
    }

    // MARK: L9

    /// PostgreSQL fails over to a standby that lacks what was committed in the last `lag` nanoseconds; it answers after
    /// `downFor`. The new server's clock shows another time, off by up to two seconds, and runs at another rate.
    /// Commits to the old server end here: whoever promotes must see to that.
    public mutating func promote(lag: Int64, downFor: Int64) {
        coverage.note(.promotion)
        let loss = database.promote(asOf: now - lag)
        storeEra += 1
        storeDownUntil = max(storeDownUntil, now + downFor)
        let offset = random.next(below: 4_000_000_001) - 2_000_000_000
        let shown = storeClock.local(at: now).nanoseconds + offset
        storeClock = SimulatedClock(local: shown, at: now, partsPerMillion: drawRate())
        note {
            "postgres fails over to a standby \(Double(lag) / 1e9) s behind: \(loss.leaseCommits) lease commits and "
                + "\(loss.writes.count) writes lost; row: \($0.rowSummary)"
        }
        coverage.note(.leaseCommitLost, loss.leaseCommits)
        coverage.note(.epochLost, loss.epochs)
        coverage.note(.writeLost, loss.writes.count)
        for entry in loss.writes {
            lost.insert(entry.key)
            if acknowledged.contains(entry.key) { coverage.note(.acknowledgedWriteLost) }
        }
        checkLog()
    }
}
