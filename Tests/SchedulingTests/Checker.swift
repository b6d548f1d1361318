import OrchestryModel
import Scheduling

/// What must hold after every single input of a leader.
struct Checker {
    private(set) var violations: [String] = []
    private var drainSince: [InstanceID: Instant] = [:]
    /// Apps there are or were: what is left of a deleted one drains under later leaders too.
    private var names: Set<AppName> = []

    mutating func newLeader() { drainSince = [:] }

    mutating func check(
        _ outputs: [Reconciler.Output], input: Reconciler.Input, before: Reconciler, cluster: FakeCluster
    ) {
        let leader = cluster.leader
        var runs: [AppName: Int] = [:]
        var newlyDraining: [AppName: [InstanceID]] = [:]
        for output in outputs {
            switch output {
            case .command(_, .run(let assignment)): runs[assignment.app, default: 0] += 1
            case .command(let node, .stop(let id, _)): checkStop(id, on: node, cluster)
            case .record(.instanceDraining, let app?, _, let details):
                if let id = details["instance"]?.stringValue {
                    newlyDraining[app, default: []].append(InstanceID(unchecked: id))
                }
            case .record, .command, .publish, .publishTo, .persist, .forget, .revert, .saveRollout, .nodeDrained: break
            }
        }
        names.formUnion(cluster.applications.keys)
        for name in names {
            for status in leader.instances(of: name)
            where status.state == .draining && drainSince[status.instance] == nil {
                drainSince[status.instance] = cluster.now
            }
        }
        for name in runs.keys { checkCount(name, before: before, cluster) }
        for view in leader.nodeViews where view.isConnected && view.reservedMillicores > view.capacityMillicores {
            // A node that came back may hold more than it was given; only new instances must fit.
            if outputs.contains(where: { output in
                if case .command(view.id, .run(let assignment)) = output {
                    return !before.instances(of: assignment.app).contains { $0.instance == assignment.instance }
                }
                return false
            }) {
                fail("\(view.id) got an instance beyond its capacity", cluster)
            }
        }
        for output in outputs {
            if case .command(let node, .run(let assignment)) = output,
                before.nodeViews.first(where: { $0.id == node })?.scheduling.isCordoned == true,
                leader.nodeViews.first(where: { $0.id == node })?.scheduling.isCordoned == true,
                !before.instances(of: assignment.app).contains(where: { $0.instance == assignment.instance })
            {
                fail("\(assignment.instance) is placed on \(node), which is cordoned", cluster)
            }
        }
        for (name, ids) in newlyDraining { checkReady(name, drained: ids, input: input, before: before, cluster) }
    }

    private mutating func fail(_ text: String, _ cluster: FakeCluster) {
        violations.append("\(cluster.now): \(text)")
    }

    /// Nobody is stopped while a connected proxy may still send it requests or waits for its answers.
    private mutating func checkStop(_ id: InstanceID, on node: NodeID, _ cluster: FakeCluster) {
        // Under way already, or done: the order is only repeated.
        guard let state = cluster.nodes[node]?.instances[id]?.lifecycle.status.state, state != .draining else { return }
        let app = AppName(unchecked: id.rawValue.split(separator: "-").dropLast(2).joined(separator: "-"))
        let drainSeconds = cluster.applications[app]?.spec.termination.drainSeconds ?? 0
        if let since = drainSince[id], cluster.now >= since + .seconds(drainSeconds) { return }
        for other in cluster.nodes.values where other.isConnected {
            if other.table.routes.contains(where: { $0.targets.contains { $0.instance == id } }) {
                fail("\(id) is stopped while \(other.id) routes to it", cluster)
            }
            if other.inFlight[id] ?? 0 > 0 {
                fail("\(id) is stopped with requests in flight from \(other.id)", cluster)
            }
        }
    }

    /// Nothing is made beyond wanted + surge.
    private mutating func checkCount(_ name: AppName, before: Reconciler, _ cluster: FakeCluster) {
        guard let application = cluster.applications[name] else {
            return fail("\(name) is gone, and instances are run", cluster)
        }
        let known = Set(before.instances(of: name).map(\.instance))
        let now = cluster.leader.instances(of: name).filter { $0.state != .draining && !$0.instance.isReleaseStep }
        guard now.contains(where: { !known.contains($0.instance) }) else { return }  // Only repeated.
        // A move is a surge of one of its own, on each side of a rollout that holds.
        let hold = cluster.leader.rolloutView(of: name)?.record
        let isHolding = hold?.phase == .canary || hold?.isPaused == true
        let surge = application.spec.rollout.surge.resolved(of: application.replicas, roundingUp: true)
        let limit = application.replicas + max(isHolding ? 2 : 1, surge)
        if now.count > limit { fail("\(name) has \(now.count) instances, the limit is \(limit)", cluster) }
    }

    /// Our own drains leave wanted − unavailable ready, or all that were.
    private mutating func checkReady(
        _ name: AppName, drained: [InstanceID], input: Reconciler.Input, before: Reconciler, _ cluster: FakeCluster
    ) {
        guard let application = cluster.applications[name], application.status == .running else { return }
        // What the input itself told to be no longer ready is no loss of ours.
        let fallen: [InstanceStatus] =
            switch input {
            case .status(let status): [status]
            case .inventory(let inventory): inventory.instances
            default: []
            }
        let wasReady = before.instances(of: name).filter { status in
            status.state == .ready && drained.contains(status.instance)
                && !fallen.contains { $0.instance == status.instance && $0.state != .ready }
        }
        guard !wasReady.isEmpty else { return }
        // A drained node's deadline is the operator's word; it takes what is left.
        if wasReady.contains(where: { lost in
            cluster.leader.instances(of: name).contains {
                $0.instance == lost.instance && $0.message.contains("its deadline has passed")
            }
        }) {
            return
        }
        let floor =
            application.replicas
            - application.spec.rollout.unavailable.resolved(of: application.replicas, roundingUp: false)
        let ready = cluster.leader.readyCount(of: name)
        if ready < floor {
            fail("draining \(wasReady.map(\.instance)) leaves \(name) with \(ready) of \(floor)", cluster)
        }
    }

    /// Once faults have ended: exactly what is wanted, everywhere.
    static func differences(_ cluster: FakeCluster) -> [String] {
        var found: [String] = []
        var expected: Set<InstanceID> = []
        for application in cluster.applications.values.sorted(by: { $0.name < $1.name }) {
            let name = application.name
            let instances = cluster.leader.instances(of: name)
            expected.formUnion(instances.map(\.instance))
            if instances.count != application.replicas || instances.contains(where: { $0.state != .ready }) {
                found.append(
                    "\(name): wanted \(application.replicas), has "
                        + "\(instances.map { "\($0.instance) \($0.state.label)" })"
                )
            }
            if instances.contains(where: { !application.isCurrent($0.revision) }) {
                found.append("\(name): not all of revision \(application.revision)")
            }
            let targets = cluster.leader.routingTable.routes.first { $0.app == name }?.targets.map(\.instance) ?? []
            if targets != instances.map(\.instance) { found.append("\(name): routed to \(targets)") }
        }
        if cluster.leader.routingTable.routes.count != cluster.applications.count {
            found.append("routes without an app")
        }
        if Set(cluster.rows.keys) != expected { found.append("rows: \(cluster.rows.keys.sorted())") }
        for node in cluster.nodes.values {
            if node.table != cluster.leader.routingTable { found.append("\(node.id) serves \(node.table.version)") }
            for (id, managed) in node.instances where managed.lifecycle.status.state != .ready || !expected.contains(id)
            {
                found.append("\(node.id) runs \(id) \(managed.lifecycle.status.state.label)")
            }
            for (name, container) in node.containers {
                let owner = node.instances[container.instance]
                if owner?.lifecycle.status.containerID != name { found.append("\(node.id): stray container \(name)") }
                if container.endpoint != owner?.lifecycle.status.endpoint { found.append("\(name): another endpoint") }
            }
        }
        return found
    }
}
