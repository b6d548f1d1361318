import Autoscaling
import Logging
import OrchestryModel

/// Apps that have no instance while nobody asks for them.
extension LeaderTerm {
    /// What one node said last of the requests that wait in its proxy.
    struct HeldReport {
        var held: HeldRequests
        var at: Instant
        /// It can be relied upon this long.
        static let validity = Duration.seconds(5)
    }

    /// Takes what a node says.
    /// - Returns: idle apps that requests wait for.
    func take(_ held: HeldRequests, from node: NodeID, at now: Instant) -> [AppName] {
        let before = heldReports[node]?.held.canHold
        heldReports[node] = HeldReport(held: held, at: now)
        if !held.canHold, before != false {
            logger.notice(
                "A node's nginx has no Lua and can't hold requests: no app goes to zero", metadata: ["from": "\(node)"])
        }
        return held.waiting.map(\.app).filter { applications[$0]?.isIdle == true }
    }

    /// What the evaluator is told of the proxies; nil for an app that always has an instance.
    func activation(of application: Application) -> Activation? {
        guard application.spec.scaling.scaleToZero != nil || application.isIdle else { return nil }
        let now = surroundings.clock.now()
        var activation = Activation(isIdle: application.isIdle)
        let nodes = Set(surroundings.connectedPeers().map(\.id)).union([surroundings.me.id])
        for node in nodes.sorted() {
            guard let report = heldReports[node], now - report.at < HeldReport.validity else {
                activation.silentNodes.append(node)
                continue
            }
            if !report.held.canHold { activation.blindNodes.append(node) }
            if let waiting = report.held.waiting.first(where: { $0.app == application.name }) {
                activation.waiting.append(Activation.Waiting(node: node, requests: waiting.requests))
            }
        }
        return activation
    }

    /// How many requests wait for the app, as far as is known.
    func waitingRequests(of application: Application) -> UInt64 {
        activation(of: application)?.requests ?? 0
    }

    /// Starts an idle app that requests wait for, once for all of them: whoever comes second finds it started.
    func wake(_ name: AppName) async {
        guard waking.insert(name).inserted else { return }
        defer { waking.remove(name) }
        guard let application = applications[name], application.isIdle else { return }
        let second = surroundings.clock.wall().wholeSecond
        let state = replicaState(of: application, at: second)
        guard
            let evaluation = surroundings.scaling.wake(
                name, policy: application.spec.scaling, state: state, at: second)
        else { return }
        await scale(name, by: evaluation)
    }
}
