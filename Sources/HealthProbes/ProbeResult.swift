/// What one probe found.
package struct ProbeResult: Hashable, Sendable {
    package enum Outcome: Hashable, Sendable {
        case success
        case failure(ProbeFailure)
    }
    package var outcome: Outcome
    /// From the start of the connection attempt to the answer's status line (or the failure).
    package var elapsed: Duration
    package init(outcome: Outcome, elapsed: Duration) {
        self.outcome = outcome
        self.elapsed = elapsed
    }
    package var isSuccess: Bool { outcome == .success }
    /// nil for a success.
    package var failure: ProbeFailure? { if case .failure(let failure) = outcome { failure } else { nil } }
}

/// Why a probe failed.
package enum ProbeFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nothing listens there.
    case refused
    /// No answer within the check's timeout.
    case timeout(Duration)
    case unexpectedStatus(Int)
    /// The command ended with this code.
    case exitCode(Int)
    /// The command could not be run, in the engine's words.
    case notRun(String)
    /// The connection ended before an answer.
    case closed
    /// What came is not HTTP.
    case malformed
    /// No way there, or another failure of the network, in the system's words.
    case unreachable(String)

    package var description: String {
        switch self {
        case .refused: "connection refused"
        case .timeout(let limit): "no answer within \(limit)"
        case .unexpectedStatus(let status): "status \(status)"
        case .exitCode(let code): "the command ended with \(code)"
        case .notRun(let reason): "the command could not be run: \(reason)"
        case .closed: "connection closed without an answer"
        case .malformed: "the answer is not HTTP"
        case .unreachable(let reason): reason
        }
    }
}
