import Leadership
import OrchestryModel

/// Clients' writes: through any node to the leader, in one fenced transaction with the request's key, and back.
extension SimulatedCluster {
    /// How long a client waits before it asks another node.
    private static let patience: Int64 = 1_000_000_000

    /// The client's next write, or the same one again.
    mutating func takeTurn(_ client: Int, _ turn: UInt32) {
        guard clients[client].turn == turn else { return }
        if clients[client].isWaiting {
            coverage.note(.clientRetry)
        } else {
            clients[client].key += 1
            clients[client].isWaiting = true
        }
        clients[client].turn += 1
        let front = Int(random.next(below: Int64(nodes.count)))
        let write = SimulatedWrite(client: client, key: clients[client].key, front: front)
        if nodes[front].election == nil {
            // Refused: at once the next.
            return queue.push(.client(client, turn: clients[client].turn), at: now + 20_000_000)
        }
        queue.push(
            .request(write, at: front, incarnation: nodes[front].incarnation),
            at: now + 100_000 + random.next(below: 900_000))
        queue.push(
            .client(client, turn: clients[client].turn), at: now + Self.patience + random.next(below: Self.patience))
    }

    /// At the node the client asked, or at the one it took for the leader.
    mutating func handle(_ write: SimulatedWrite, at node: Int) {
        switch activity(of: node) {
        case .active(let epoch, _, _):
            var transaction = write
            transaction.epoch = epoch
            transaction.tries = 1
            submit(.write(transaction), of: node)
        case .inactive:
            // A node that was taken for the leader and is not says nothing here; the client asks again.
            guard node == write.front, let election = nodes[node].election else { return }
            if let leader = election.leader?.node, leader != nodes[node].id,
                let index = nodes.firstIndex(where: { $0.id == leader })
            {
                coverage.note(.writeForwarded)
                let request = Event.request(write, at: index, incarnation: nodes[index].incarnation)
                return send(request, from: node, to: index)
            }
            // Requests wait through an election.
            guard write.tries < 10 else { return }
            var waiting = write
            waiting.tries += 1
            queue.push(.request(waiting, at: node, incarnation: nodes[node].incarnation), at: now + 100_000_000)
        }
    }

    /// In PostgreSQL.
    mutating func execute(_ write: SimulatedWrite, of node: Int) -> SimulatedDatabase.WriteOutcome {
        let isStored = database.holds(write.key)
        let last = database.log.last
        let outcome = database.write(write.key, write.epoch, by: node, nodes[node].id, at: now)
        switch outcome {
        case .committed:
            coverage.note(.writeCommitted)
            lost.remove(write.key)
            if isStored {
                fail(.appliedTwice, "request \(write.name) was carried out again by \(nodes[node].id)")
            }
            if let last, write.epoch < last.epoch {
                fail(.epochFell, "\(nodes[node].id) wrote under \(write.epoch) after a write under \(last.epoch)")
            }
        case .duplicate: coverage.note(.retryDeduplicated)
        case .fenced:
            coverage.note(.writeFenced)
            note {
                "postgres refuses \($0.nodes[node].id)'s write \(write.name) under \(write.epoch); row: \($0.rowSummary)"
            }
        case .unknown: break
        }
        return outcome
    }

    /// The leader has PostgreSQL's answer.
    mutating func stored(_ write: SimulatedWrite, _ outcome: SimulatedDatabase.WriteOutcome, by node: Int) {
        switch outcome {
        case .committed, .duplicate:
            if node == write.front { return answer(write, from: node) }
            send(.response(write, to: write.front), from: node, to: write.front)
        case .fenced: break
        case .unknown:
            coverage.note(.outcomeUnknown)
            guard write.tries < 4 else { return }
            var transaction = write
            transaction.tries += 1
            queue.push(
                .again(transaction, at: node, incarnation: nodes[node].incarnation),
                at: now + 50_000_000 * Int64(write.tries))
        }
    }

    /// The front node has the answer.
    mutating func answer(_ write: SimulatedWrite, from node: Int) {
        queue.push(.acknowledged(write), at: now + 100_000 + random.next(below: 900_000))
    }

    /// The client has it.
    mutating func acknowledge(_ write: SimulatedWrite) {
        guard clients[write.client].key == write.key, clients[write.client].isWaiting else { return }
        coverage.note(.writeAcknowledged)
        clients[write.client].isWaiting = false
        clients[write.client].turn += 1
        acknowledged.insert(write.key)
        if !database.holds(write.key) {
            if lost.contains(write.key) {
                coverage.note(.acknowledgedWriteLost)
            } else {
                fail(.acknowledgedLost, "request \(write.name) was acknowledged and is not stored")
            }
        }
        queue.push(
            .client(write.client, turn: clients[write.client].turn),
            at: now + 50_000_000 + random.next(below: 300_000_000))
    }

    /// The whole log: to be checked where it may have shrunk, and at the end. It only grows otherwise, checked then.
    mutating func checkLog() {
        var seen: Set<UInt64> = []
        var epoch = Epoch.none
        for entry in database.log {
            if !seen.insert(entry.key).inserted {
                return fail(.appliedTwice, "request \(entry.key) is in the log twice")
            }
            if entry.epoch < epoch { return fail(.epochFell, "the log goes from epoch \(epoch) to \(entry.epoch)") }
            epoch = entry.epoch
        }
        for key in acknowledged where !seen.contains(key) && !lost.contains(key) {
            return fail(.acknowledgedLost, "request \(key) was acknowledged and is not stored")
        }
    }
}

extension SimulatedWrite {
    /// Of the client and its how-manieth write this is.
    var name: String { "\(client + 1).\(key & 0xFFFF_FFFF)" }
}
