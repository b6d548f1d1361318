import Leadership
import OrchestryModel

/// Leaders at work, and the agents that obey them (L5).
extension SimulatedCluster {
    mutating func beginTerm(of node: Int) {
        guard options.commands else { return }
        nodes[node].term += 1
        queue.push(.work(node, term: nodes[node].term), at: now + random.next(below: 20_000_000))
    }

    /// One round of commands, and the next one later.
    mutating func work(_ node: Int, term: UInt32) {
        guard nodes[node].term == term, let reported = nodes[node].reported else { return }
        let activity = activity(of: node)
        if activity.isActive || options.mutant == .actOnReport {
            for receiver in nodes.indices {
                let command = SimulatedCommand(
                    epoch: reported.epoch, sender: node, wasActive: activity.isActive,
                    makesContainer: happens(perMille: 500))
                if receiver == node {
                    queue.push(.command(command, to: node), at: now)
                } else {
                    send(.command(command, to: receiver), from: node, to: receiver)
                }
            }
        }
        queue.push(.work(node, term: term), at: now + 100_000_000 + random.next(below: 300_000_000))
    }

    // MARK: The agent

    /// It takes a while until the engine has told what runs.
    mutating func startAgent(of node: Int) {
        guard options.commands else { return }
        nodes[node].agent.start()
        let delay = happens(perMille: 200) ? random.next(below: 3_000_000_000) : random.next(below: 100_000_000)
        queue.push(.adopt(node, incarnation: nodes[node].incarnation), at: now + delay)
    }

    mutating func adopt(_ node: Int) {
        let labels = nodes[node].agent.labels
        nodes[node].agent.gate.adopt(options.mutant == .forgetLabels ? [] : labels)
        if !labels.isEmpty { coverage.note(.labelsAdopted) }
        note { "\($0.nodes[node].id)'s agent reads its labels: \(labels.map(\.rawValue))" }
        if options.mutant != .ignoreRefusals { feed(.epochSeen(nodes[node].agent.gate.highest), to: node) }
    }

    mutating func receive(_ command: SimulatedCommand, at node: Int) {
        let before = nodes[node].agent.gate
        guard nodes[node].agent.gate.admit(.command, of: command.epoch) || options.mutant == .obeyAnyEpoch else {
            coverage.note(command.epoch < before.highest ? .oldCommandRefused : .earlyCommandRefused)
            note {
                "\($0.nodes[node].id)'s agent refuses \($0.nodes[command.sender].id)'s command of \(command.epoch), "
                    + (before.knowsLabels ? "knows \(before.highest)" : "has not read its labels")
            }
            let refusal = Event.refusal(nodes[node].agent.gate.highest, to: command.sender)
            if command.sender == node {
                queue.push(refusal, at: now)
            } else {
                send(refusal, from: node, to: command.sender)
            }
            return
        }
        coverage.note(.commandObeyed)
        if !command.wasActive {
            fail(
                .obeyedInactive,
                "\(nodes[node].id) obeyed \(nodes[command.sender].id), which was not active when it sent its command "
                    + "of epoch \(command.epoch)")
        }
        if command.epoch < nodes[node].agent.floor {
            fail(
                .obeyedOld,
                "\(nodes[node].id) obeyed epoch \(command.epoch) of \(nodes[command.sender].id) after "
                    + "\(nodes[node].agent.floor)")
        }
        if command.epoch > nodes[node].agent.obeyed {
            note { "\($0.nodes[node].id)'s agent obeys \($0.nodes[command.sender].id) under \(command.epoch)" }
        }
        nodes[node].agent.obey(command)
    }

    /// What an agent that refused knows.
    mutating func heed(_ epoch: Epoch, at node: Int) {
        guard options.mutant != .ignoreRefusals, let election = nodes[node].election else { return }
        if epoch > election.highestEpoch { coverage.note(.refusalHeeded) }
        feed(.epochSeen(epoch), to: node)
    }
}
