import ArgumentParser
import OrchestryModel

struct WaitOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How long to wait, such as 90s, 5m or 1h.",
            discussion: "(--timeout is for servers that do not answer.) An app that is not there by then: exit code 1.")
    )
    var within = "5m"

    func duration() throws -> Duration { .seconds(try ShortDuration.seconds(within, option: "--within", 1...86_400)) }

    func validate() throws { _ = try duration() }
}

/// Waits for an app, and says meanwhile how far it is.
struct AppWait {
    enum Goal: Hashable {
        /// As many instances ready as are wanted, and no rollout under way.
        case ready
        /// Stopped, and its last instance gone.
        case stopped
        /// The rollout of a revision (nil: of the one there is at the first look) has succeeded, and the app is ready.
        case rolledOut(revision: Int?)
    }

    enum Verdict: Hashable {
        case reached
        /// It will never be reached: why, and what to do.
        case impossible(String)
        /// How far it is.
        case waiting(String)
    }

    let name: String
    let goal: Goal
    let deadline: ContinuousClock.Instant

    /// - Returns: the app's status when the goal was reached.
    /// - Throws: `CommandFailure.local` when it is not reached in time, or can't be.
    func run(with client: APIClient) async throws -> JSONValue {
        var progress = Progress()
        defer { progress.end() }
        var goal = self.goal
        var last = "no answer yet"
        while true {
            do {
                let status = try await client.get(APIClient.appPath(name, "/status"), app: name)
                if goal == .rolledOut(revision: nil) {
                    goal = .rolledOut(revision: status["revision"]?.intValue)
                }
                switch Self.verdict(on: status, goal: goal) {
                case .reached: return status
                case .impossible(let reason): throw CommandFailure.local("\(name): \(reason)")
                case .waiting(let text): last = text
                }
            } catch let failure as CommandFailure where failure.mayPass {
                // A change of leader, a node that restarts: the wait goes on.
                last = "the cluster does not answer now"
            }
            progress.show("\(name): \(last)")
            guard ContinuousClock.now < deadline else {
                throw CommandFailure.local(
                    "\(name): not in time (--within): \(last). Next: orchestry status \(name), "
                        + "orchestry events --app \(name)")
            }
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    /// - Parameter status: an answer of `GET /apps/{name}/status`.
    static func verdict(on status: JSONValue, goal: Goal) -> Verdict {
        let wanted = status["desired_replicas"]?.intValue ?? 0
        let ready = status["ready_replicas"]?.intValue ?? 0
        let isStopped = status["status"] == "stopped"
        let app = Output.cell(status["app"])
        let rollout = status["rollout"] ?? .null
        let isRolling = rollout["active"] == true
        var words = "\(ready) of \(wanted) ready"
        if status["stale"] == true { return .waiting("nobody leads now") }
        let rolled = "rollout of revision \(Output.cell(rollout["revision"]))"
        if isRolling { words += "; \(rolled): \(RolloutText.line(rollout))" }
        switch goal {
        case .stopped:
            let left = status["instances"]?.arrayValue?.count ?? 0
            if !isStopped { return .impossible("it is not stopped. Stop it: orchestry down \(app)") }
            return left == 0 ? .reached : .waiting("\(left) instance\(left == 1 ? "" : "s") still there")
        case .ready:
            if isStopped { return .impossible("it is stopped. Start it: orchestry up \(app)") }
            return ready >= wanted && !isRolling ? .reached : .waiting(words)
        case .rolledOut(let revision):
            if isStopped { return .impossible("it is stopped: nothing is rolled out. Start it: orchestry up \(app)") }
            let now = status["revision"]?.intValue
            if let revision, let now, now > revision {
                let reason = rollout["reason"]?.stringValue.map { $0.isEmpty ? "" : ": \($0)" } ?? ""
                return .impossible(
                    "revision \(revision) has been replaced by revision \(now)\(reason). Next: orchestry revisions \(app)"
                )
            }
            if !isRolling, ["failed", "aborted"].contains(rollout["state"]?.stringValue) {
                return .impossible(
                    "the \(rolled) has not succeeded: \(RolloutText.line(rollout)). "
                        + "Next: orchestry events --app \(app)")
            }
            return ready >= wanted && !isRolling ? .reached : .waiting(words)
        }
    }
}

extension CommandFailure {
    /// Whether asking again may help.
    var mayPass: Bool {
        switch self {
        case .unreachable: true
        case .refused(let status, _): [502, 503, 504].contains(status)
        case .usage, .appNotFound, .local: false
        }
    }
}
