import Autoscaling
import OrchestryModel
import Testing

/// What must hold for any history; each failure names its seed.
struct PropertyTests {
    private func randomPolicy(_ random: inout Seeded) -> ScalingPolicy {
        let least = Int.random(in: 1...4, using: &random)
        var policy = ScalingPolicy(minReplicas: least, maxReplicas: least + Int.random(in: 0...20, using: &random))
        if Bool.random(using: &random) { policy.targetRPS = Double.random(in: 5...200, using: &random) }
        if Bool.random(using: &random) { policy.maxConnections = Double.random(in: 1...100, using: &random) }
        if Bool.random(using: &random) { policy.maxCPUPercent = Double.random(in: 20...90, using: &random) }
        if Bool.random(using: &random) { policy.maxMemoryPercent = Double.random(in: 20...90, using: &random) }
        if Bool.random(using: &random) {
            policy.maxP95LatencyMilliseconds = Double.random(in: 20...900, using: &random)
        }
        policy.windowSeconds = Int.random(in: 2...30, using: &random)
        policy.cooldownSeconds = Int.random(in: 0...20, using: &random)
        policy.stabilizationWindowSeconds = Int.random(in: 0...20, using: &random)
        policy.scaleOutThresholdPercent = Double.random(in: 70...100, using: &random)
        policy.scaleInThresholdPercent = Double.random(in: 20...70, using: &random)
        policy.toleranceOut = Double.random(in: 0...0.1, using: &random)
        if Bool.random(using: &random) { policy.maxScaleOutStep = Int.random(in: 1...5, using: &random) }
        if Bool.random(using: &random) { policy.maxScaleInStep = Int.random(in: 1...5, using: &random) }
        if Bool.random(using: &random) {
            policy.scaleOutPolicies = [.init(.percent, 100, periodSeconds: 15), .init(.instances, 2, periodSeconds: 5)]
        }
        return policy
    }

    /// A minute of arbitrary samples: nodes fall silent, readings are missing, loads jump.
    private func randomSamples(_ random: inout Seeded) -> [Sample] {
        var samples: [Sample] = []
        for second in Int64(0)..<60 {
            let scale = [0, 1, 10, 400].randomElement(using: &random) ?? 1
            for number in 1...3 where Int.random(in: 0..<5, using: &random) > 0 {
                // An instance runs on one node.
                let cpu = (0..<8).map { index in
                    index % 3 == number - 1 && Bool.random(using: &random)
                        ? Double.random(in: 0...120, using: &random) : nil
                }
                samples.append(
                    sample(
                        second, node: number, rps: Double.random(in: 0...1, using: &random) * Double(scale),
                        concurrency: Double.random(in: 0...1, using: &random) * Double(scale),
                        inFlight: UInt64.random(in: 0...3, using: &random),
                        latencyMilliseconds: Double.random(in: 1...2_000, using: &random),
                        instances: readings(cpu: cpu, memory: cpu)))
            }
        }
        return samples
    }

    /// Feeds the samples second by second, acting on each evaluation.
    private func replay(
        _ samples: [Sample], _ policy: ScalingPolicy, desired start: Int, shuffledBy seed: UInt64? = nil
    ) -> [Evaluation] {
        var scaler = Autoscaler()
        var evaluations: [Evaluation] = []
        var desired = start
        for second in Int64(0)..<60 {
            var arrived = samples.filter { $0.second == second }
            if let seed {
                var random = Seeded(seed &+ UInt64(second))
                arrived.shuffle(using: &random)
            }
            for one in arrived { scaler.record(one) }
            let state = ReplicaState(
                desired: desired, ready: ready(min(desired, 8), since: -100), starting: max(0, desired - 8))
            let evaluation = scaler.evaluate(app, policy: policy, state: state, at: second + 1)
            if evaluation.shouldScale {
                scaler.noteScaled(app, from: desired, to: evaluation.wanted, at: second + 1)
                desired = evaluation.wanted
            }
            evaluations.append(evaluation)
        }
        return evaluations
    }

    @Test(arguments: UInt64(1)...150)
    func `the count stays within its bounds, and the same history gives the same answers`(seed: UInt64) {
        var random = Seeded(seed)
        let policy = randomPolicy(&random)
        let samples = randomSamples(&random)
        let start = Int.random(in: policy.minReplicas...policy.maxReplicas, using: &random)
        let evaluations = replay(samples, policy, desired: start)
        for evaluation in evaluations {
            #expect((policy.minReplicas...policy.maxReplicas).contains(evaluation.wanted), "\(evaluation.words)")
        }
        let again = replay(samples, policy, desired: start, shuffledBy: seed)
        let differing = zip(evaluations, again).first { $0 != $1 }
        #expect(differing == nil, "seed \(seed)")
    }

    @Test(arguments: UInt64(1)...100)
    func `more load never means fewer instances`(seed: UInt64) {
        var random = Seeded(seed)
        let policy = plainPolicy(rps: 50, connections: 20, cpu: 60)
        let count = Int.random(in: 1...12, using: &random)
        let state = ReplicaState(desired: count, ready: ready(count))
        let shape = (0..<20).map { _ in Double.random(in: 0...30, using: &random) }
        var before = 0
        for scale in stride(from: 0.0, through: 4, by: 0.25) {
            var scaler = Autoscaler()
            scaler.record(seconds: 80...99) { second in
                let load = shape[Int(second) - 80] * scale * Double(count)
                return sample(
                    second, rps: load.rounded(), concurrency: load / 10,
                    instances: readings(cpu: (0..<count).map { _ in min(100, shape[Int(second) - 80] * scale) }))
            }
            let wanted = scaler.evaluate(app, policy: policy, state: state, at: 100).wanted
            #expect(wanted >= before, "seed \(seed), scale \(scale)")
            before = wanted
        }
    }

    @Test(arguments: UInt64(1)...100)
    func `nothing happens inside the tolerance`(seed: UInt64) {
        var random = Seeded(seed)
        var policy = plainPolicy(rps: 100, cpu: 50).likeHPA
        policy.toleranceOut = Double.random(in: 0.05...0.3, using: &random)
        policy.toleranceIn = Double.random(in: 0.05...0.3, using: &random)
        let count = Int.random(in: 1...20, using: &random)
        let state = ReplicaState(desired: count, ready: ready(count))
        let factor = Double.random(
            in: (1 - policy.toleranceIn + 0.01)...(1 + policy.toleranceOut - 0.01), using: &random)
        // Whole percents of CPU, well inside.
        let cpu = Double(Int(50 * (1 + (factor - 1) / 2)))
        var scaler = Autoscaler()
        scaler.record(seconds: 70...99) {
            sample(
                $0, rps: 100 * factor * Double(count), instances: readings(cpu: (0..<count).map { _ in cpu }))
        }
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 100)
        #expect(evaluation.wanted == count, "seed \(seed): \(evaluation.words)")
    }

    /// Steady traffic of which a part is not reported: the answer may only be nearer to the present count, or above
    /// the full answer, never a deeper cut.
    @Test(arguments: UInt64(1)...200)
    func `missing data never shrinks`(seed: UInt64) {
        var random = Seeded(seed)
        let policy = plainPolicy(rps: 50, connections: 20, cpu: 60, memory: 70)
        let count = Int.random(in: 1...12, using: &random)
        let state = ReplicaState(desired: count, ready: ready(count))
        let rates = (0..<3).map { _ in Double.random(in: 0...300, using: &random).rounded() }
        let cpu = (0..<count).map { _ in Double.random(in: 0...100, using: &random) }
        let memory = (0..<count).map { _ in Double.random(in: 0...100, using: &random) }
        let silentFrom = Int64.random(in: 75...100, using: &random)
        let lossPercent = Int.random(in: 0...60, using: &random)
        var full = Autoscaler()
        var partial = Autoscaler()
        for second in Int64(60)...99 {
            for number in 1...3 {
                let mine = (0..<count).filter { $0 % 3 == number - 1 }
                let one = sample(
                    second, node: number, rps: rates[number - 1], concurrency: rates[number - 1] / 25,
                    instances: mine.map {
                        InstanceSample(instance: instance($0), cpuPercent: cpu[$0], memoryPercent: memory[$0])
                    })
                full.record(one)
                if number == 1, second >= silentFrom { continue }
                if number > 1, Int.random(in: 0..<100, using: &random) < lossPercent { continue }
                var rest = one
                for index in rest.instances.indices where index % 2 == 0 { rest.instances[index].cpuPercent = nil }
                partial.record(rest)
            }
        }
        let known = full.evaluate(app, policy: policy, state: state, at: 100)
        let unsure = partial.evaluate(app, policy: policy, state: state, at: 100)
        #expect(
            unsure.wanted >= min(count, known.wanted),
            "seed \(seed): \(known.words) became \(unsure.words)")
        #expect(unsure.wanted <= max(count, known.wanted), "seed \(seed): \(known.words) became \(unsure.words)")
    }

    /// Ten minutes of a load that lies anywhere, the line between two counts included, and wavers by 10%.
    @Test(arguments: UInt64(1)...60)
    func `noise does not flap`(seed: UInt64) {
        var random = Seeded(seed)
        let policy = ScalingPolicy(minReplicas: 1, maxReplicas: 30, targetRPS: 50)
        let instances = Int.random(in: 1...10, using: &random)
        let level = seed % 2 == 0 ? instances * 40 : Int.random(in: 20...400, using: &random)
        var world = World(policy: policy, instances: instances)
        for second in Int64(0)..<600 {
            world.run(second, load: level + Int.random(in: -level / 10...level / 10, using: &random))
        }
        let settled = world.steps.filter { $0.second > 120 }
        #expect(settled.count <= 1, "seed \(seed), level \(level): \(world.steps)")
    }
}
