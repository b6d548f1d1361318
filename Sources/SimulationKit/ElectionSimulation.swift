import Leadership
import OrchestryModel

/// One random schedule: faults for a while, checked after each step, then calm, in which a leader must come and stay,
/// agents must obey it, and the writes of before must be answered.
public struct ElectionSimulation: Sendable {
    public struct Report: Sendable {
        public var seed: UInt64
        public var mutant: Mutant
        public var voters: Int
        public var steps: Int
        /// What it was made of, for people.
        public var plan: String
        /// Nil: nothing wrong.
        public var failure: SimulationFailure?
        /// Nanoseconds from the end of the faults until the leader that stayed became active; nil: none did.
        public var convergence: Int64?
        public var activations: [ActivityMode: Int]
        public var coverage: Coverage
        public var lastEpoch: Epoch
        /// Empty unless asked for.
        public var trace: [String]
        /// Who was what at the end.
        public var situation: [String]

        /// What a failing test prints: what the run was, the end of its trace, who was what then, and how to see it again.
        public func story(_ lines: Int = 80) -> String {
            var text = ["seed \(seed): \(failure?.description ?? "no failure")", "  \(plan)"]
            text.append("  \(steps) steps; times are true time since the start unless said otherwise")
            if trace.count > lines { text.append("  … \(trace.count - lines) lines before these") }
            text += trace.suffix(lines).map { "  \($0)" }
            text.append("at the end:")
            text += situation.map { "  \($0)" }
            text.append(
                mutant == .none
                    ? "again: SIM_SEED=\(seed) swift test --filter RandomScheduleTests"
                    : "again: orchestry-bench election --seeds \(seed) --mutant \(mutant) --trace")
            return text.joined(separator: "\n")
        }
    }

    public var seed: UInt64
    public var mutant: Mutant
    public var settings = LeadershipSettings()
    /// How far clocks are off at most; `settings.drift` is what nodes assume.
    public var driftPartsPerMillion: Int64 = 20_000
    /// Nanoseconds of faults.
    public var faultsFor: Int64 = 25_000_000_000
    /// Nanoseconds of calm within which a leader must be active that stays so.
    public var calmWithin: Int64 = 15_000_000_000
    /// A leader that was active for this long in the calm has come to stay.
    public var steadyFor: Int64 = 2_000_000_000
    public var stepLimit = 500_000

    public init(seed: UInt64, mutant: Mutant = .none) {
        self.seed = seed
        self.mutant = mutant
    }

    public func run(traces: Bool = false) -> Report {
        var random = SplitMix64(seed: seed)
        var options = SimulatedCluster.Options()
        options.voters = [3, 3, 3, 3, 3, 3, 3, 5, 5, 1][Int(random.next(below: 10))]
        options.mutant = mutant
        options.settings = settings
        options.driftPartsPerMillion = driftPartsPerMillion
        options.traces = traces
        options.clients = 2
        options.commands = true
        let isLate = random.next(below: 5) == 0
        if isLate {
            options.tickLateness = Delays(
                minimum: 0, maximum: 5_000_000, slowPerMille: 50, slowMaximum: 300_000_000)
        }
        var cluster = SimulatedCluster(seed: random.next(), options: options)
        var plan = FaultPlan(seed: random.next())
        while cluster.failure == nil, cluster.now < faultsFor, cluster.steps < stepLimit {
            cluster.run(for: min(plan.nextInterval(), faultsFor - cluster.now))
            if cluster.failure == nil { plan.apply(to: &cluster) }
        }
        let convergence = calm(&cluster)
        if cluster.failure == nil { cluster.checkLog() }
        return Report(
            seed: seed, mutant: mutant, voters: options.voters, steps: cluster.steps,
            plan: "\(options.voters) voters; faults: \(plan.summary); ticks \(options.tickLateness.summary) late"
                + (mutant == .none ? "" : "; MUTANT \(mutant)"),
            failure: cluster.failure, convergence: convergence, activations: cluster.activations,
            coverage: cluster.coverage, lastEpoch: cluster.register.row?.epoch ?? .none, trace: cluster.trace,
            situation: traces ? cluster.situation : [])
    }

    /// The active node, and since when it has been under this epoch.
    private typealias Steady = (node: Int, epoch: Epoch, since: Int64)

    private func calm(_ cluster: inout SimulatedCluster) -> Int64? {
        guard cluster.failure == nil else { return nil }
        let start = cluster.now
        cluster.heal()
        let writes = cluster.clients.map(\.key)
        var steady: Steady?
        while cluster.failure == nil, cluster.now <= start + calmWithin + steadyFor, cluster.steps < stepLimit {
            if let node = cluster.activeNode, case .active(let epoch, _, _) = cluster.activity(of: node) {
                if steady?.node != node || steady?.epoch != epoch { steady = (node, epoch, cluster.now) }
            } else {
                steady = nil
            }
            if let steady, cluster.now - steady.since >= steadyFor, complaint(cluster, steady, writes) == nil {
                return steady.since - start
            }
            cluster.run(for: 10_000_000)
        }
        if cluster.steps >= stepLimit {
            cluster.fail(.tooManySteps, "\(cluster.steps) steps")
        } else if let steady, cluster.now - steady.since >= steadyFor,
            let (kind, detail) = complaint(cluster, steady, writes)
        {
            cluster.fail(kind, detail)
        } else {
            cluster.fail(.noLeader, "\(calmWithin / 1_000_000_000) s after the faults")
        }
        return nil
    }

    /// What a steady leader has not achieved yet; nil: nothing.
    private func complaint(
        _ cluster: SimulatedCluster, _ steady: Steady, _ writes: [UInt64]
    ) -> (SimulationFailure.Kind, String)? {
        for node in cluster.voters where cluster.nodes[node].agent.obeyed != steady.epoch {
            return (
                .agentDeaf,
                "\(cluster.name(of: node))'s agent obeyed \(cluster.obeyedEpoch(of: node)), knows "
                    + "\(cluster.gate(of: node).highest), and \(cluster.name(of: steady.node)) leads under \(steady.epoch)"
            )
        }
        for (client, key) in writes.enumerated()
        where key & 0xFFFF_FFFF > 0 && !cluster.acknowledged.contains(key) {
            return (.writeStuck, "client \(client + 1) got no answer to its write \(key & 0xFFFF_FFFF)")
        }
        return nil
    }
}
