import OrchestryModel
import Scheduling
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Random faults and writes against real reconcilers and real lifecycles, with checks after every input; then the
/// faults end, and everything must become as wanted. `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` that many.
@Suite struct ModelTests {
    static var seeds: [UInt64] {
        func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }
        if let seed = number("SIM_SEED") { return [seed] }
        return Array(1...(number("SIM_SEEDS") ?? 12))
    }

    @Test(arguments: seeds)
    func `promises hold under faults, and the wanted state is reached after them`(seed: UInt64) {
        var cluster = FakeCluster(seed: seed)
        for (index, name) in ["a", "b", "c"].enumerated() {
            cluster.write(
                makeApplication(
                    makeSpec(
                        name, surge: index == 2 ? 0 : 1, unavailable: index == 2 ? 1 : 0, progressDeadlineSeconds: 30,
                        minHealthySeconds: index == 0 ? 3 : 0,
                        canary: index == 1
                            ? .init(weightPercent: 20, intervalSeconds: 5, minRequests: 5, maxErrorRatePct: 5) : nil,
                        release: index > 0 ? .init(command: ["migrate"], timeoutSeconds: 20) : nil),
                    replicas: 2 + index))
        }
        for _ in 0..<3_000 {  // 150 s
            if cluster.generator.chance(0.02) { disturb(&cluster) }
            cluster.advance()
            if !cluster.checker.violations.isEmpty { break }
        }
        for id in cluster.nodeIDs { whenLed(&cluster) { $0.schedule(NodeScheduling(node: id)) } }
        for name in cluster.applications.keys.sorted() {
            whenLed(&cluster) { $0.pause(name, false) }
            deploy(&cluster, name, image: "good", later: true)
        }
        var differences = ["not run"]
        var quietSteps = 0
        for _ in 0..<6_000 where quietSteps < 100 {  // At most 300 s, of which 5 s in the wanted state.
            cluster.advance()
            if !cluster.checker.violations.isEmpty { break }
            differences = Checker.differences(cluster)
            quietSteps = differences.isEmpty ? quietSteps + 1 : 0
        }
        let context = "seed \(seed)\n\(cluster.trace.suffix(60).joined(separator: "\n"))"
        #expect(cluster.checker.violations.isEmpty, "\(context)")
        #expect(differences.isEmpty, "\(context)")
    }

    private func disturb(_ cluster: inout FakeCluster) {
        let id = cluster.nodeIDs.randomElement(using: &cluster.generator) ?? node("n1")
        let name = cluster.applications.keys.sorted().randomElement(using: &cluster.generator)
        switch Int.random(in: -40..<100, using: &cluster.generator) {
        case ..<0: steer(&cluster, id, name)
        case 0..<25:
            let running = cluster.nodes[id]?.containers.filter(\.value.isRunning).keys.sorted() ?? []
            if let container = running.randomElement(using: &cluster.generator) { cluster.kill(container, at: id) }
        case 25..<40:
            let running = cluster.nodes[id]?.containers.keys.sorted() ?? []
            guard let container = running.randomElement(using: &cluster.generator) else { return }
            let seconds = Double.random(in: 2...25, using: &cluster.generator)
            cluster.note("\(container) hangs for \(seconds) s")
            cluster.nodes[id]?.containers[container]?.hangsUntil = cluster.now + .seconds(seconds)
        case 40..<50: cluster.cut(id, for: .milliseconds(Int.random(in: 100...45_000, using: &cluster.generator)))
        case 50..<58:
            cluster.crash(id, host: false, for: .milliseconds(Int.random(in: 100...40_000, using: &cluster.generator)))
        case 58..<62:
            cluster.crash(id, host: true, for: .milliseconds(Int.random(in: 2_000...50_000, using: &cluster.generator)))
        case 62..<70: cluster.loseLeader()
        case 70..<85: if let name { scale(&cluster, name) }
        case 85..<93:
            let image = ["bad", "bad", "flaky", "good", "good"].randomElement(using: &cluster.generator) ?? "good"
            if let name { deploy(&cluster, name, image: image, later: false) }
        case 93..<96: if let name, cluster.electionAt == nil, cluster.applications.count > 1 { cluster.delete(name) }
        default:
            guard cluster.electionAt == nil else { return }
            let fresh = "d\(Int.random(in: 0..<1_000, using: &cluster.generator))"
            if cluster.applications.count < 4 { cluster.write(makeApplication(makeSpec(fresh), replicas: 2)) }
        }
    }

    /// What people do to rollouts and nodes.
    private func steer(_ cluster: inout FakeCluster, _ id: NodeID, _ name: AppName?) {
        guard cluster.electionAt == nil, let name else { return }
        switch Int.random(in: 0..<40, using: &cluster.generator) {
        case 0..<8: cluster.pause(name, true)
        case 8..<14: cluster.pause(name, false)
        case 14..<19:
            guard let view = cluster.leader.rolloutView(of: name), view.isActive, let from = view.record.from else {
                return
            }
            cluster.goBack(name, to: from, .abort, "aborted")
        case 19..<25:
            let kept = (cluster.specs[name] ?? [:]).keys.sorted()
            if let old = kept.randomElement(using: &cluster.generator) { cluster.goBack(name, to: old, .rollback) }
        case 25..<28: cluster.schedule(NodeScheduling(node: id, isCordoned: true))
        case 28..<33:
            let seconds = Double.random(in: 5...60, using: &cluster.generator)
            cluster.schedule(
                NodeScheduling(
                    node: id, isCordoned: true, isDraining: true,
                    drainSecondsLeft: cluster.generator.chance(0.7) ? seconds : nil))
        case 33..<38: cluster.schedule(NodeScheduling(node: id))
        default: cluster.rebalance(atOnce: Int.random(in: 1...3, using: &cluster.generator))
        }
    }

    private func whenLed(_ cluster: inout FakeCluster, _ body: (inout FakeCluster) -> Void) {
        while cluster.electionAt != nil { cluster.advance() }
        body(&cluster)
    }

    private func scale(_ cluster: inout FakeCluster, _ name: AppName) {
        guard cluster.electionAt == nil, var application = cluster.applications[name] else { return }
        application.replicas = Int.random(in: 0...5, using: &cluster.generator)
        application.status = application.replicas == 0 ? .stopped : .running
        cluster.note("\(name) is scaled to \(application.replicas)")
        cluster.write(application)
    }

    private func deploy(_ cluster: inout FakeCluster, _ name: AppName, image: String, later: Bool) {
        while later, cluster.electionAt != nil { cluster.advance() }
        guard cluster.electionAt == nil, var application = cluster.applications[name] else { return }
        application.revision += 1
        application.equalRevisions = []
        application.spec.image = "\(image):\(application.revision)"
        cluster.note("\(name) is deployed as \(application.spec.image)")
        cluster.write(application)
    }
}
