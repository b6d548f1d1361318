import Leadership
import OrchestryModel

let nodeA = NodeID(unchecked: "a")
let nodeB = NodeID(unchecked: "b")
let nodeC = NodeID(unchecked: "c")

/// A point on the node's clock, in milliseconds since it started.
func at(_ milliseconds: Int) -> Instant { Instant(nanoseconds: Int64(milliseconds) * 1_000_000) }

/// The `sentAt` of a heartbeat sent at that point.
func stamp(_ milliseconds: Int) -> UInt64 { UInt64(milliseconds) * 1_000 }

/// One node, started at 0 ms, driven as its shell would: ticks come exactly when asked for.
struct ElectionHarness {
    var election: Election
    /// Everything it wanted done, with the time in milliseconds.
    var log: [(at: Int, output: Election.Output)] = []
    private var now = at(0)

    init(
        _ me: NodeID = nodeB, voters: [NodeID] = [nodeA, nodeB, nodeC], mutation: Election.Mutation = .none,
        settings: LeadershipSettings = LeadershipSettings()
    ) {
        election = Election(
            me: me, voters: voters, settings: settings, now: now, seed: 7, mutation: mutation)
    }

    /// Ticks until just before `milliseconds`, then feeds the input.
    @discardableResult
    mutating func feed(_ input: Election.Input, _ milliseconds: Int) -> [Election.Output] {
        run(to: milliseconds - 1)
        now = at(milliseconds)
        let outputs = election.handle(input, at: now)
        log += outputs.map { (milliseconds, $0) }
        return outputs
    }

    /// Ticks at every deadline up to and including `milliseconds`.
    mutating func run(to milliseconds: Int) {
        while election.nextDeadline <= at(milliseconds) {
            now = max(now, election.nextDeadline)
            let outputs = election.handle(.tick, at: now)
            log += outputs.map { (Int(now.nanoseconds / 1_000_000), $0) }
        }
        now = max(now, at(milliseconds))
    }

    /// Receives a message.
    @discardableResult
    mutating func hear(_ message: ElectionMessage, from sender: NodeID, _ milliseconds: Int) -> [Election.Output] {
        feed(.received(message, from: sender), milliseconds)
    }

    /// PostgreSQL answers the last statement.
    @discardableResult
    mutating func answer(_ outcome: LeaseOutcome, _ milliseconds: Int) -> [Election.Output] {
        feed(.leaseReply(id: lastRequest?.id ?? 0, outcome), milliseconds)
    }

    /// Both other voters acknowledge the heartbeat sent at `sent`.
    mutating func acknowledge(_ epoch: UInt64, sent: Int, _ milliseconds: Int, by voters: [NodeID] = [nodeA, nodeC]) {
        for voter in voters { hear(.heartbeatAck(epoch: Epoch(epoch), sentAt: stamp(sent)), from: voter, milliseconds) }
    }

    /// Makes node b the leader of `epoch` at 600 ms, with `acquire` sent at 590 and no promise but its own.
    mutating func win(_ epoch: UInt64) {
        run(to: 589)
        hear(.voteReply(round: lastRound ?? 0, granted: true, highestEpoch: Epoch(epoch - 1)), from: nodeA, 590)
        if epoch > 1 {
            // The news of an earlier epoch made it wait for that leader; it stands again.
            log.removeAll()
            run(to: 1_200)
            hear(.voteReply(round: lastRound ?? 0, granted: true, highestEpoch: Epoch(epoch - 1)), from: nodeA, 1_201)
            answer(.acquired(Epoch(epoch)), 1_211)
        } else {
            answer(.acquired(Epoch(epoch)), 600)
        }
    }

    /// Answers every renewal at once, and acknowledges every heartbeat on behalf of `voters`, up to `milliseconds`.
    mutating func runSupported(to milliseconds: Int, by voters: [NodeID], renewing: Bool = true) {
        var seen = log.count
        while election.nextDeadline <= at(milliseconds) {
            run(to: Int((election.nextDeadline.nanoseconds + 999_999) / 1_000_000))
            while seen < log.count {
                let (time, output) = log[seen]
                seen += 1
                switch output {
                case .send(.heartbeat(let epoch, let sentAt), let to) where voters.contains(to):
                    hear(.heartbeatAck(epoch: epoch, sentAt: sentAt), from: to, time + 1)
                case .lease(let request):
                    guard renewing, case .renew(let epoch, _, let mode) = request.statement else { continue }
                    feed(.leaseReply(id: request.id, .renewed(epoch: epoch, mode: mode)), time + 1)
                default: break
                }
            }
        }
        run(to: milliseconds)
    }

    var lastRequest: LeaseRequest? {
        for entry in log.reversed() { if case .lease(let request) = entry.output { return request } }
        return nil
    }

    var lastRound: UInt32? {
        for entry in log.reversed() { if case .send(.voteRequest(let round), _) = entry.output { return round } }
        return nil
    }

    /// Statements sent since `milliseconds`.
    func statements(since milliseconds: Int = 0) -> [LeaseRequest.Statement] {
        log.compactMap { entry in
            guard entry.at >= milliseconds, case .lease(let request) = entry.output else { return nil }
            return request.statement
        }
    }

    /// When vote requests were sent, since `milliseconds`, in milliseconds; each once.
    func voteRequests(since milliseconds: Int = 0) -> [Int] {
        var times: [Int] = []
        for entry in log where entry.at >= milliseconds {
            if case .send(.voteRequest, _) = entry.output, times.last != entry.at { times.append(entry.at) }
        }
        return times
    }

    func activity(_ milliseconds: Int) -> Activity { election.activity(at: at(milliseconds)) }
}

/// The row as PostgreSQL shows it in a refusal.
func row(of leader: NodeID, _ epoch: UInt64, _ mode: LeaseMode = .quorum, expired: Bool = false) -> LeaseRow {
    let time = WallTime(milliseconds: 0)
    return LeaseRow(
        leader: leader, epoch: Epoch(epoch), mode: mode, acquiredAt: time, renewedAt: time, expiresAt: time,
        expired: expired, hostname: "", apiURL: "")
}
