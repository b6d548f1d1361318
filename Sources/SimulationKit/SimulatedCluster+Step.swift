import Leadership
import OrchestryModel

/// What happens to each event, and the checks after it.
extension SimulatedCluster {
    mutating func perform(_ event: Event) {
        switch event {
        case .message(let message, let sender, let receiver):
            guard isAwake(receiver, else: event) else { return }
            note(message, sender, receiver)
            feed(.received(message, from: nodes[sender].id), to: receiver)
        case .tick(let node, let number):
            guard nodes[node].tickNumber == number, isAwake(node, else: event) else { return }
            nodes[node].tickAt = nil
            feed(.tick, to: node)
        case .statement(let request, let node, let incarnation, let answers):
            let outcome = register.execute(
                request.statement, by: nodes[node].id, clock: storeClock.local(at: now))
            note {
                "postgres carries out \($0.nodes[node].id)#\(request.id) \(request.statement) -> \(outcome.summary)"
            }
            guard answers, nodes[node].storeLink == .open else { return }
            let answer = Event.answer(request.id, outcome, node: node, incarnation: incarnation)
            queue.push(answer, at: now + draw(store.delays))
        case .answer(let id, let outcome, let node, let incarnation):
            guard nodes[node].incarnation == incarnation, isAwake(node, else: event) else { return }
            note { "\($0.nodes[node].id)#\(id) answered: \(outcome.summary)" }
            feed(.leaseReply(id: id, outcome), to: node)
        case .write(let epoch, let node):
            guard register.admits(epoch) else { return }
            if epoch < lastWritten {
                fail(.epochFell, "\(nodes[node].id) wrote under \(epoch) after a write under \(lastWritten)")
            }
            lastWritten = epoch
        case .restart(let node): if nodes[node].election == nil { start(node) }
        }
    }

    /// Whether the node can take the event now. If it is paused, the event waits for it.
    private mutating func isAwake(_ node: Int, else event: Event) -> Bool {
        guard nodes[node].election != nil else { return false }
        guard now < nodes[node].pausedUntil else { return true }
        queue.push(event, at: nodes[node].pausedUntil)
        return false
    }

    mutating func start(_ node: Int) {
        nodes[node].incarnation += 1
        nodes[node].pausedUntil = 0
        nodes[node].tickAt = nil
        nodes[node].reported = nil
        nodes[node].election = Election(
            me: nodes[node].id, voters: nodes.map(\.id), settings: options.settings,
            now: nodes[node].clock.local(at: now), seed: random.next(), mutation: options.mutation)
        note { "\($0.nodes[node].id) starts" }
        scheduleTick(node)
    }

    /// One input to one node, and what it wants done.
    mutating func feed(_ input: Election.Input, to node: Int) {
        guard var election = nodes[node].election else { return }
        nodes[node].election = nil  // Keeps `election` the only reference while it changes.
        let local = nodes[node].clock.local(at: now)
        let outputs = election.handle(input, at: local)
        if election.nextDeadline <= local {
            fail(.deadlinePassed, "\(nodes[node].id) at \(local) wants \(election.nextDeadline) after \(input)")
        }
        nodes[node].election = election
        for output in outputs { carryOut(output, of: node) }
        checkReport(of: node)
        scheduleTick(node)
    }

    private mutating func carryOut(_ output: Election.Output, of node: Int) {
        switch output {
        case .send(let message, let receiver):
            guard let index = nodes.firstIndex(where: { $0.id == receiver }) else { return }
            send(message, from: node, to: index)
        case .lease(let request): submit(request, of: node)
        case .activated(let epoch, let mode):
            note { "\($0.nodes[node].id) ACTIVE under \(epoch), \(mode)" }
            activations[mode, default: 0] += 1
            nodes[node].reported = (epoch, mode)
            write(epoch, by: node)
        case .deactivated(let epoch, let reason):
            note { "\($0.nodes[node].id) not active under \(epoch): \(reason)" }
            deactivations += 1
            if nodes[node].reported?.epoch != epoch {
                fail(.misreported, "\(nodes[node].id) deactivated \(epoch), which it had not reported")
            }
            nodes[node].reported = nil
        case .leaderChanged(let leader, let epoch):
            note { "\($0.nodes[node].id) follows \(leader?.rawValue ?? "nobody") (epoch \(epoch))" }
        }
    }

    private mutating func send(_ message: ElectionMessage, from sender: Int, to receiver: Int) {
        guard !nodes[sender].cutTo[receiver], !happens(perMille: network.lossPerMille) else { return }
        // A write as leader now and then, with the same fate as a heartbeat.
        if case .heartbeat(let epoch, _) = message, activity(of: sender).isActive { write(epoch, by: sender) }
        let event = Event.message(message, from: sender, to: receiver)
        queue.push(event, at: now + draw(network.delays))
        if happens(perMille: network.duplicatePerMille) {
            queue.push(event, at: now + draw(network.delays) + draw(network.delays))
        }
    }

    private mutating func write(_ epoch: Epoch, by node: Int) {
        guard nodes[node].storeLink == .open else { return }
        queue.push(.write(epoch, node: node), at: now + draw(store.delays))
    }

    private mutating func submit(_ request: LeaseRequest, of node: Int) {
        note { "\($0.nodes[node].id)#\(request.id) sends \(request.statement)" }
        let incarnation = nodes[node].incarnation
        func failing() -> Event {
            .answer(request.id, .failed("no connection"), node: node, incarnation: incarnation)
        }
        switch nodes[node].storeLink {
        case .refusing: queue.push(failing(), at: now + 1_000_000)
        case .silent: break
        case .open, .deaf:
            let isBroken = happens(perMille: store.brokenPerMille)
            if isBroken { queue.push(failing(), at: now + 1_000_000) }
            if isBroken, happens(perMille: 500) { return }
            let event = Event.statement(request, node: node, incarnation: incarnation, answers: !isBroken)
            queue.push(event, at: now + draw(store.delays))
        }
    }

    /// A tick that comes too early does no harm, so one in the queue is enough unless an earlier one is wanted.
    mutating func scheduleTick(_ node: Int) {
        guard let election = nodes[node].election else { return }
        let wanted = max(now, nodes[node].clock.time(of: election.nextDeadline)) + draw(options.tickLateness)
        if let tickAt = nodes[node].tickAt, tickAt <= wanted { return }
        nodes[node].tickAt = wanted
        nodes[node].tickNumber += 1
        queue.push(.tick(node, number: nodes[node].tickNumber), at: wanted)
    }

    // MARK: Checks

    mutating func checkActivity() {
        var first: Int?
        for node in nodes.indices where activity(of: node).isActive {
            if let other = first {
                let one = activity(of: other)
                let two = activity(of: node)
                return fail(.twoActive, "\(nodes[other].id) \(one) and \(nodes[node].id) \(two)")
            }
            first = node
        }
    }

    private mutating func checkReport(of node: Int) {
        let reported = nodes[node].reported
        let holds =
            switch activity(of: node) {
            case .inactive: reported == nil
            case .active(let epoch, let mode, _): reported?.epoch == epoch && reported?.mode == mode
            }
        if !holds {
            fail(.misreported, "\(nodes[node].id) said \(String(describing: reported)), is \(activity(of: node))")
        }
    }

    mutating func fail(_ kind: SimulationFailure.Kind, _ detail: String) {
        guard failure == nil else { return }
        failure = SimulationFailure(kind: kind, detail: "at \(Instant(nanoseconds: now)): \(detail)")
        note { _ in "FAILURE \(kind): \(detail)" }
    }

    /// Adds a line to the trace, if one is kept.
    mutating func note(_ line: (SimulatedCluster) -> String) {
        guard options.traces else { return }
        trace.append("\(Instant(nanoseconds: now))  \(line(self))")
    }

    /// Heartbeats would drown the rest; what they change is noted where it changes.
    private mutating func note(_ message: ElectionMessage, _ sender: Int, _ receiver: Int) {
        guard options.traces else { return }
        switch message {
        case .heartbeat, .heartbeatAck: break
        case .voteRequest, .voteReply, .released:
            note { "\($0.nodes[sender].id) -> \($0.nodes[receiver].id)  \(message)" }
        }
    }
}

extension LeaseOutcome {
    /// Short enough for one line of a trace.
    fileprivate var summary: String {
        switch self {
        case .acquired(let epoch): "acquired \(epoch)"
        case .renewed(let epoch, let mode): "renewed \(epoch) \(mode)"
        case .released(let epoch): "released \(epoch)"
        case .refused(let row):
            row.map { "refused, row is \($0.leader)'s, \($0.epoch) \($0.mode)" } ?? "refused, no row"
        case .failed(let reason): "failed: \(reason)"
        }
    }
}
