import Leadership
import OrchestryModel

/// What a person reads of a run.
extension SimulatedCluster {
    /// Adds a line to the trace, if one is kept.
    mutating func note(_ line: (SimulatedCluster) -> String) {
        guard options.traces else { return }
        trace.append("\(seconds(now))  \(line(self))")
    }

    /// Heartbeats would drown the rest; what they change is noted where it changes.
    mutating func note(_ message: ElectionMessage, _ sender: Int, _ receiver: Int) {
        guard options.traces else { return }
        switch message {
        case .heartbeat, .heartbeatAck: break
        case .voteRequest, .voteReply, .released:
            note { "\($0.nodes[sender].id) -> \($0.nodes[receiver].id)  \(message.summary)" }
        }
    }

    /// Who is what at this moment: PostgreSQL, the network, and each node, one line or two each.
    public var situation: [String] {
        var lines = [
            "postgres: row \(rowSummary); \(store.summary)"
                + (now < storeDownUntil ? "; down until \(seconds(storeDownUntil))" : ""),
            "log: \(database.log.count) writes"
                + (database.log.last.map { ", the last under \($0.epoch) by \(nodes[$0.leader].id)" } ?? ""),
            "network: \(network.summary)",
        ]
        for node in nodes { lines += situation(of: node) }
        return lines
    }

    private func situation(of node: SimulatedNode) -> [String] {
        let local = node.clock.local(at: now)
        var state = "crashed"
        if let election = node.election {
            state = "\(election.state)"
            switch election.activity(at: local) {
            case .inactive: state += ", not active"
            case .active(let epoch, let mode, let until):
                state += ", ACTIVE under \(epoch), \(mode), for \(span(until, from: local)) yet"
            }
            state += "; highest epoch \(election.highestEpoch)"
            if let leader = election.leader { state += "; promised to \(leader.node) under \(leader.epoch)" }
        }
        if now < node.pausedUntil { state += "; FROZEN until \(seconds(node.pausedUntil))" }
        let cut = nodes.indices.filter { node.cutTo[$0] }.map { nodes[$0].id.rawValue }
        var surroundings = "clock \(Double(node.clock.partsPerMillion) / 10_000)%, shows \(seconds(local.nanoseconds))"
        surroundings +=
            "; postgres link \(node.storeLink); cut to \(cut.isEmpty ? "nobody" : cut.joined(separator: ", "))"
        if options.commands {
            surroundings +=
                "; agent: highest \(node.agent.gate.highest), obeyed \(node.agent.obeyed), labels "
                + "\(node.agent.labels.map(\.rawValue))"
        }
        return ["\(node.id): \(state)", "   \(surroundings)"]
    }

    var rowSummary: String {
        guard let row = register.row else { return "nobody's" }
        let clock = storeClock.local(at: now)
        var text = "\(row.leader)'s, epoch \(row.epoch), \(row.mode), seq \(row.seq), expires in "
        text += "\(span(row.expiresAt, from: clock)), earlier leases in \(span(row.priorExpiresAt, from: clock))"
        if database.timeline > 1 { text += ", timeline \(register.timeline) of \(database.timeline)" }
        if let held = register.notBefore, clock < held { text += ", held for \(span(held, from: clock))" }
        return text
    }

    private func span(_ end: Instant, from start: Instant) -> String {
        "\(Double((end - start).inNanoseconds / 100_000) / 10_000) s"
    }
}

/// True time, in seconds to the microsecond.
private func seconds(_ nanoseconds: Int64) -> String { "\(Instant(nanoseconds: nanoseconds))" }

extension Activity {
    var summary: String {
        switch self {
        case .inactive: "not active"
        case .active(let epoch, let mode, let until): "active under \(epoch), \(mode), until \(until) by its clock"
        }
    }
}

extension Delays {
    var summary: String {
        func milliseconds(_ nanoseconds: Int64) -> String { "\(Double(nanoseconds / 100_000) / 10)" }
        let usual = "\(milliseconds(minimum))–\(milliseconds(maximum)) ms"
        return slowPerMille == 0
            ? usual : "\(usual), \(Double(slowPerMille) / 10)% up to \(milliseconds(slowMaximum)) ms"
    }
}

extension NetworkConditions {
    var summary: String {
        "\(delays.summary), \(Double(lossPerMille) / 10)% lost, \(Double(duplicatePerMille) / 10)% twice"
    }
}

extension StoreConditions {
    var summary: String { "\(delays.summary) each way, \(Double(brokenPerMille) / 10)% broken" }
}

extension ElectionMessage {
    fileprivate var summary: String {
        switch self {
        case .heartbeat(let epoch, _): "heartbeat \(epoch)"
        case .heartbeatAck(let epoch, _): "ack \(epoch)"
        case .voteRequest(let round): "asks for a vote, round \(round)"
        case .voteReply(0, _, let highest): "knows epoch \(highest)"
        case .voteReply(let round, let granted, let highest):
            "\(granted ? "grants" : "refuses") its vote, round \(round), knows epoch \(highest)"
        case .released(let epoch): "released \(epoch)"
        }
    }
}

extension LeaseRequest.Statement {
    var summary: String {
        switch self {
        case .acquire(let votesGranted, let highest):
            "acquire \(votesGranted ? "with" : "without") votes, above \(highest)"
        case .renew(let epoch, let seq, let mode): "renew \(epoch), seq \(seq), \(mode)"
        case .release(let epoch, let seq): "release \(epoch), seq \(seq)"
        }
    }
}

extension LeaseOutcome {
    /// Short enough for one line of a trace.
    var summary: String {
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
