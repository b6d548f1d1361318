import OrchestryModel

/// Which endpoints this node's proxy has lost the way to. Pure.
///
/// A host that is cut off refuses nothing and resets nothing: requests under way on standing connections hang until the
/// app's read time-out, new ones wait for the connect time-out. An instance that was sent requests of which none succeeds
/// gives it away. Such an endpoint and its host are tried by TCP connections; two attempts without any answer, not even a
/// refusal, and it is lost, whatever its node is thought to do. One that could be reached is never left out, however slow
/// it is. The others at a lost one's address are tried at once. A lost one is tried each second, and found again when it
/// answers.
package struct Reachability: Sendable {
    package enum Input: Hashable, Sendable {
        /// What the proxy saw in the last second, of endpoints that were sent anything.
        case traffic([Endpoint: Traffic])
        /// Those of the routing table; others are forgotten.
        case endpoints(Set<Endpoint>)
        /// The answer to `attempt`. A refusal is an answer.
        case attempted(Endpoint, isAnswered: Bool)
    }

    package struct Traffic: Hashable, Sendable {
        /// Finished in the interval, and how many of these failed.
        package var requests: UInt64
        package var errors: UInt64
        package var inFlight: UInt64
        package init(requests: UInt64, errors: UInt64, inFlight: UInt64) {
            self.requests = requests
            self.errors = errors
            self.inFlight = inFlight
        }
        var isDoubtful: Bool { requests <= errors && (errors > 0 || inFlight > 0) }
    }

    package enum Output: Hashable, Sendable {
        case attempt(Endpoint)
        /// To be left out of routing; what was sent there is to be given up.
        case lost(Endpoint)
        case found(Endpoint)
    }

    private enum State: Hashable, Sendable {
        /// Not tried again before `quietUntil`, however doubtful: it has answered, and is only slow.
        case answering(quietUntil: Instant, quiet: Duration)
        /// `quiet`: how long it is left alone if it answers; longer each time in a row.
        case trying(failures: Int, quiet: Duration)
        case lost(nextAttempt: Instant, isTrying: Bool)
    }

    private static let attempts = 2
    private static let pause = Duration.seconds(1)
    private static let longestQuiet = Duration.seconds(16)

    /// Endpoints in doubt, or that were lately; all others answer.
    private var states: [Endpoint: State] = [:]
    private var known: Set<Endpoint> = []

    package init() {}

    package var lost: Set<Endpoint> {
        Set(states.filter { if case .lost = $0.value { true } else { false } }.keys)
    }

    package mutating func handle(_ input: Input, at now: Instant) -> [Output] {
        switch input {
        case .endpoints(let endpoints):
            known = endpoints
            states = states.filter { endpoints.contains($0.key) }
            return []
        case .traffic(let seen):
            var outputs: [Output] = []
            for endpoint in seen.keys.sorted(by: Self.inOrder) where known.contains(endpoint) {
                // The filter above: it is there.
                if let traffic = seen[endpoint] { look(at: endpoint, traffic, now, &outputs) }
            }
            for (endpoint, state) in states.sorted(by: { Self.inOrder($0.key, $1.key) }) {
                guard case .lost(let next, false) = state, now >= next else { continue }
                states[endpoint] = .lost(nextAttempt: next, isTrying: true)
                outputs.append(.attempt(endpoint))
            }
            return outputs
        case .attempted(let endpoint, let isAnswered):
            return isAnswered ? answered(endpoint, now) : failed(endpoint, now)
        }
    }

    private mutating func look(at endpoint: Endpoint, _ traffic: Traffic, _ now: Instant, _ outputs: inout [Output]) {
        switch states[endpoint] {
        case .trying, .lost: return
        case .answering(let until, let quiet):
            guard traffic.isDoubtful else {
                states[endpoint] = nil
                return
            }
            guard now >= until else { return }
            states[endpoint] = .trying(failures: 0, quiet: min(quiet * 2, Self.longestQuiet))
        case nil:
            guard traffic.isDoubtful else { return }
            states[endpoint] = .trying(failures: 0, quiet: Self.pause)
        }
        outputs.append(.attempt(endpoint))
    }

    private mutating func answered(_ endpoint: Endpoint, _ now: Instant) -> [Output] {
        switch states[endpoint] {
        case .trying(_, let quiet):
            states[endpoint] = .answering(quietUntil: now + quiet, quiet: quiet)
            return []
        case .lost:
            states[endpoint] = nil
            return [.found(endpoint)]
        case .answering, nil: return []
        }
    }
    private mutating func failed(_ endpoint: Endpoint, _ now: Instant) -> [Output] {
        switch states[endpoint] {
        case .trying(let failures, let quiet):
            guard failures + 1 >= Self.attempts else {
                states[endpoint] = .trying(failures: failures + 1, quiet: quiet)
                return [.attempt(endpoint)]
            }
            states[endpoint] = .lost(nextAttempt: now + Self.pause, isTrying: false)
            return [.lost(endpoint)] + tryNeighbours(of: endpoint)
        case .lost:
            states[endpoint] = .lost(nextAttempt: now + Self.pause, isTrying: false)
            return []
        case .answering, nil: return []
        }
    }

    /// Where one is gone, the others most likely are: they needn't each cost a request first.
    private mutating func tryNeighbours(of endpoint: Endpoint) -> [Output] {
        var outputs: [Output] = []
        for other in known.sorted(by: Self.inOrder) where other.host == endpoint.host {
            switch states[other] {
            case .trying, .lost: continue
            case .answering, nil:
                states[other] = .trying(failures: 0, quiet: Self.pause)
                outputs.append(.attempt(other))
            }
        }
        return outputs
    }

    private static func inOrder(_ left: Endpoint, _ right: Endpoint) -> Bool {
        (left.host, left.port) < (right.host, right.port)
    }
}
