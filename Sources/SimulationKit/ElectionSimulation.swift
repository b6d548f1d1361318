import Leadership
import OrchestryModel

/// One random schedule: faults for a while, checked after each step, then calm, in which a leader must come and stay.
public struct ElectionSimulation: Sendable {
    public struct Report: Sendable {
        public var seed: UInt64
        public var voters: Int
        public var steps: Int
        /// Nil: nothing wrong.
        public var failure: SimulationFailure?
        /// Nanoseconds from the end of the faults until the leader that stayed became active; nil: none did.
        public var convergence: Int64?
        public var activations: [ActivityMode: Int]
        public var lastEpoch: Epoch
        /// Empty unless asked for.
        public var trace: [String]

        /// The end of the trace, for a failing test's text.
        public func story(_ lines: Int = 80) -> String {
            "seed \(seed), \(voters) voters, \(steps) steps: \(failure?.description ?? "no failure")\n"
                + trace.suffix(lines).joined(separator: "\n")
        }
    }

    public var seed: UInt64
    public var mutation: Election.Mutation
    public var settings = LeadershipSettings()
    /// Nanoseconds of faults.
    public var faultsFor: Int64 = 25_000_000_000
    /// Nanoseconds of calm within which a leader must be active that stays so.
    public var calmWithin: Int64 = 15_000_000_000
    /// A leader that was active for this long in the calm has come to stay.
    public var steadyFor: Int64 = 2_000_000_000
    public var stepLimit = 500_000

    public init(seed: UInt64, mutation: Election.Mutation = .none) {
        self.seed = seed
        self.mutation = mutation
    }

    public func run(traces: Bool = false) -> Report {
        var random = SplitMix64(seed: seed)
        var options = SimulatedCluster.Options()
        options.voters = [3, 3, 3, 3, 3, 3, 3, 5, 5, 1][Int(random.next(below: 10))]
        options.mutation = mutation
        options.settings = settings
        options.traces = traces
        if random.next(below: 5) == 0 {
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
        return Report(
            seed: seed, voters: options.voters, steps: cluster.steps, failure: cluster.failure,
            convergence: convergence, activations: cluster.activations,
            lastEpoch: cluster.register.row?.epoch ?? .none, trace: cluster.trace)
    }

    private func calm(_ cluster: inout SimulatedCluster) -> Int64? {
        guard cluster.failure == nil else { return nil }
        let start = cluster.now
        cluster.heal()
        var steady: (node: Int, epoch: Epoch, since: Int64)?
        while cluster.failure == nil, cluster.now <= start + calmWithin + steadyFor, cluster.steps < stepLimit {
            if let node = cluster.activeNode, case .active(let epoch, _, _) = cluster.activity(of: node) {
                if let last = steady, last.node == node, last.epoch == epoch {
                    if cluster.now - last.since >= steadyFor { return last.since - start }
                } else {
                    steady = (node, epoch, cluster.now)
                }
            } else {
                steady = nil
            }
            cluster.run(for: 10_000_000)
        }
        if cluster.steps >= stepLimit {
            cluster.fail(.tooManySteps, "\(cluster.steps) steps")
        } else {
            cluster.fail(.noLeader, "\(calmWithin / 1_000_000_000) s after the faults")
        }
        return nil
    }
}
