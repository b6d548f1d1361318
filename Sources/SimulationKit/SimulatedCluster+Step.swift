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
        case .statement(let call, let node, let incarnation, let era, let answers, let sentAt):
            guard nodes[node].storeLink != .stalled else { return nodes[node].stalled.append(event) }
            // Sent to a server that is gone: the connection breaks, or nobody ever says anything.
            if era != storeEra {
                if happens(perMille: 500) { fail(call, of: node, incarnation, sentAt) }
                return
            }
            carryOut(call, of: node, incarnation, answers: answers, sentAt)
        case .answer(let reply, let node, let incarnation, let sentAt):
            guard nodes[node].storeLink != .stalled else { return nodes[node].stalled.append(event) }
            guard nodes[node].incarnation == incarnation, isAwake(node, else: event) else { return }
            take(reply, by: node, sentAt)
        case .restart(let node):
            guard nodes[node].election == nil else { return }
            coverage.note(.restart)
            start(node)
        case .work(let node, let term): if isAwake(node, else: event) { work(node, term: term) }
        case .adopt(let node, let incarnation):
            if nodes[node].incarnation == incarnation, isAwake(node, else: event) { adopt(node) }
        case .command(let command, let receiver):
            if isAwake(receiver, else: event) { receive(command, at: receiver) }
        case .refusal(let epoch, let node):
            if isAwake(node, else: event) { heed(epoch, at: node) }
        case .client(let client, let turn): takeTurn(client, turn)
        case .request(let write, let node, let incarnation):
            if nodes[node].incarnation == incarnation, isAwake(node, else: event) { handle(write, at: node) }
        case .again(let write, let node, let incarnation):
            if nodes[node].incarnation == incarnation, isAwake(node, else: event) { submit(.write(write), of: node) }
        case .response(let write, let node): if isAwake(node, else: event) { answer(write, from: node) }
        case .acknowledged(let write): acknowledge(write)
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
            now: nodes[node].clock.local(at: now), seed: random.next(), mutation: options.mutant.election)
        note { "\($0.nodes[node].id) starts" }
        startAgent(of: node)
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
            send(.message(message, from: node, to: index), from: node, to: index)
        case .lease(let request):
            note { "\($0.nodes[node].id)#\(request.id) sends \(request.statement.summary)" }
            submit(.lease(request), of: node)
        case .activated(let epoch, let mode):
            note { "\($0.nodes[node].id) ACTIVE under \(epoch), \(mode)" }
            activations[mode, default: 0] += 1
            let isNew = nodes[node].reported == nil
            nodes[node].reported = (epoch, mode)
            if isNew { beginTerm(of: node) }
        case .deactivated(let epoch, let reason):
            note { "\($0.nodes[node].id) not active under \(epoch): \(reason)" }
            deactivations += 1
            coverage.note(reason.item)
            if nodes[node].reported?.epoch != epoch {
                fail(.misreported, "\(nodes[node].id) deactivated \(epoch), which it had not reported")
            }
            nodes[node].reported = nil
        case .leaderChanged(let leader, let epoch):
            note { "\($0.nodes[node].id) follows \(leader?.rawValue ?? "nobody") (epoch \(epoch))" }
        }
    }

    /// To another node, over the network as it is now.
    mutating func send(_ event: Event, from sender: Int, to receiver: Int) {
        if nodes[sender].cutTo[receiver] {
            return coverage.note(nodes[receiver].cutTo[sender] ? .messageCut : .messageCutOneWay)
        }
        if happens(perMille: network.lossPerMille) { return coverage.note(.messageLost) }
        let delay = draw(network.delays)
        queue.push(event, at: now + delay)
        if delay > 1_000_000_000 { coverage.note(.messageOverOneSecond) }
        if now + delay < nodes[sender].lastArrival[receiver] { coverage.note(.messageOvertaken) }
        nodes[sender].lastArrival[receiver] = max(nodes[sender].lastArrival[receiver], now + delay)
        if happens(perMille: network.duplicatePerMille) {
            coverage.note(.messageDuplicated)
            queue.push(event, at: now + draw(network.delays) + draw(network.delays))
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
                return fail(
                    .twoActive, "\(nodes[other].id) is \(one.summary) and \(nodes[node].id) is \(two.summary)")
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
}

extension DeactivationReason {
    fileprivate var item: Coverage.Item {
        switch self {
        case .deposed: .deposed
        case .leaseLost: .leaseLost
        case .leaseLapsed: .leaseLapsed
        case .promisesLapsed: .promisesLapsed
        case .left, .steppedDown: .steppedDown
        }
    }
}
