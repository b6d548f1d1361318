import Autoscaling
import OrchestryModel
import Testing

/// One rule at a time.
struct EvaluationTests {
    /// An app with `rps` requests per second for the last minute, evaluated at second 100.
    private func evaluate(
        rps: Double, _ policy: ScalingPolicy, _ state: ReplicaState, lastSecond: Int64 = 99
    ) -> Evaluation {
        var scaler = Autoscaler()
        scaler.record(seconds: 40...lastSecond) { sample($0, rps: rps) }
        return scaler.evaluate(app, policy: policy, state: state, at: 100)
    }

    struct Size: Sendable {
        var rps: Double
        var instances: Int
        var wanted: Int
    }

    /// Target 50, thresholds 80/60: out above 40 for each instance, in below 30.
    @Test(arguments: [
        Size(rps: 40, instances: 1, wanted: 1), Size(rps: 40.25, instances: 1, wanted: 2),
        Size(rps: 160, instances: 4, wanted: 4), Size(rps: 161, instances: 4, wanted: 5),
        Size(rps: 120, instances: 4, wanted: 4), Size(rps: 119, instances: 4, wanted: 4),
        Size(rps: 110, instances: 4, wanted: 3), Size(rps: 100, instances: 10, wanted: 3),
        Size(rps: 0, instances: 10, wanted: 1), Size(rps: 1_000, instances: 20, wanted: 25),
    ])
    func `size follows from load and threshold`(_ size: Size) {
        let state = ReplicaState(desired: size.instances, ready: ready(size.instances))
        let evaluation = evaluate(rps: size.rps, plainPolicy(rps: 50), state)
        #expect(evaluation.wanted == size.wanted, "\(evaluation.words)")
    }

    @Test func `instances on their way count`() {
        let state = ReplicaState(desired: 13, ready: ready(1), starting: 12)
        let enough = evaluate(rps: 500, plainPolicy(rps: 50), state)
        #expect(enough.wanted == 13)
        #expect(enough.limits.contains { $0.rule == .onTheWay })
        #expect(evaluate(rps: 600, plainPolicy(rps: 50), state).wanted == 15)
        #expect(evaluate(rps: 300, plainPolicy(rps: 50), state).wanted == 13)
        // Over the line for the one that is ready, no burst, and fewer needed than wanted: not a reason to shrink.
        let four = ReplicaState(desired: 4, ready: ready(1), starting: 3)
        #expect(evaluate(rps: 60, plainPolicy(rps: 50), four).wanted == 4)
    }

    @Test func `the largest wish decides, and one metric below is not enough to shrink`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) {
            sample($0, rps: 10, concurrency: 90, instances: readings(cpu: [40, 40, 40], memory: [10, 10, 10]))
        }
        let three = ReplicaState(desired: 3, ready: ready(3))
        let all = plainPolicy(rps: 50, connections: 80, cpu: 30, memory: 80)
        let evaluation = scaler.evaluate(app, policy: all, state: three, at: 100)
        #expect(evaluation.deciding == .cpu)
        #expect(evaluation.wanted == 5)
        let some = plainPolicy(rps: 50, cpu: 60)
        #expect(scaler.evaluate(app, policy: some, state: three, at: 100).wanted == 3)
    }

    @Test func `manual mode never changes anything`() {
        var policy = plainPolicy(rps: 50)
        policy.mode = .manual
        for state in [ReplicaState(desired: 3, ready: ready(3)), ReplicaState(desired: 2_000, ready: ready(3))] {
            let evaluation = evaluate(rps: 900, policy, state)
            #expect(!evaluation.shouldScale)
            #expect(evaluation.reason.contains("the mode is manual"))
            #expect(evaluation.factor(of: .rps)?.factor == 6)
        }
    }

    @Test func `an app that is down stays down`() {
        let evaluation = evaluate(rps: 900, plainPolicy(rps: 50), ReplicaState(desired: 0, ready: [:]))
        #expect(evaluation.wanted == 0)
        #expect(evaluation.limits.map(\.rule) == [.stopped])
    }

    @Test func `a count outside the bounds is corrected at once`() {
        var policy = ScalingPolicy(minReplicas: 3, maxReplicas: 6, targetRPS: 50)
        policy.maxScaleInStep = 1
        policy.maxScaleOutStep = 1
        policy.scaleOutPolicies = [.init(.instances, 1, periodSeconds: 60)]
        policy.scaleInPolicies = [.init(.instances, 1, periodSeconds: 60)]
        let many = ReplicaState(desired: 10, ready: ready(10), lastScaledSecond: 99)
        // Between the lines: the load itself asks for nothing.
        let fewer = evaluate(rps: 400, policy, many)
        #expect(fewer.wanted == 6)
        #expect(fewer.reason == "Scale in: maxReplicas is 6: 10 → 6")
        let one = ReplicaState(desired: 1, ready: ready(1), lastScaledSecond: 99)
        let more = evaluate(rps: 20, policy, one)
        #expect(more.wanted == 3)
        #expect(more.reason == "Scale out: minReplicas is 3: 1 → 3")
        #expect(evaluate(rps: 20, policy, one, lastSecond: 60).wanted == 3, "without fresh metrics too")
        let noTargets = ScalingPolicy(minReplicas: 3, maxReplicas: 6)
        #expect(evaluate(rps: 20, noTargets, many).wanted == 6)
    }

    @Test func `steps bound one decision`() {
        var policy = plainPolicy(rps: 50)
        policy.maxScaleOutStep = 2
        policy.maxScaleInStep = 3
        let state = ReplicaState(desired: 10, ready: ready(10))
        #expect(evaluate(rps: 1_000, policy, state).wanted == 12)
        #expect(evaluate(rps: 40, policy, state).wanted == 7)
    }

    @Test func `cooldown holds shrinking only, whoever changed the count`() {
        var policy = plainPolicy(rps: 50)
        policy.cooldownSeconds = 30
        var state = ReplicaState(desired: 4, ready: ready(4), lastScaledSecond: 71)
        let held = evaluate(rps: 20, policy, state)
        #expect(held.wanted == 4)
        #expect(held.reason.hasSuffix("cooldown for another 1 s"))
        #expect(evaluate(rps: 300, policy, state).wanted == 8)
        state.lastScaledSecond = 70
        #expect(evaluate(rps: 20, policy, state).wanted == 1)
        // Known from a person's change instead.
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, rps: 20) }
        scaler.noteScaled(app, from: 1, to: 4, at: 90)
        scaler.noteScaled(app, from: 4, to: 4, at: 95)
        let fresh = ReplicaState(desired: 4, ready: ready(4))
        let waiting = scaler.evaluate(app, policy: policy, state: fresh, at: 100)
        #expect(waiting.limits.last?.rule == .cooldown)
        #expect(waiting.limits.last?.value == 20)
    }

    @Test func `shrinking takes the highest wish of the stabilization window`() {
        var policy = plainPolicy(rps: 50, window: 5)
        policy.stabilizationWindowSeconds = 30
        var world = World(policy: policy, instances: 10)
        for second in Int64(0)..<60 { world.run(second, load: 350) }
        for second in Int64(60)..<75 { world.run(second, load: 160) }
        for second in Int64(75)..<140 { world.run(second, load: 20) }
        // 350 stops arguing for 10 thirty seconds after it ended, then 160 for 5 (in below 0.76 · 50), then 20.
        let sizes = world.steps.map(\.to)
        #expect(sizes.last == 1, "\(world.steps)")
        #expect(sizes.contains(5), "\(world.steps)")
        #expect((world.steps.first?.second ?? 0) > 90, "\(world.steps)")
    }

    @Test func `a rollout and pauses hold their direction`() {
        let policy = plainPolicy(rps: 50)
        var state = ReplicaState(desired: 4, ready: ready(4), rolloutInProgress: true)
        #expect(evaluate(rps: 20, policy, state).limits.last?.rule == .rollout)
        #expect(evaluate(rps: 20, policy, state).wanted == 4)
        #expect(evaluate(rps: 300, policy, state).wanted == 8)
        state.rolloutInProgress = false
        state.pauseIn = true
        #expect(evaluate(rps: 20, policy, state).wanted == 4)
        state.pauseOut = true
        #expect(evaluate(rps: 300, policy, state).wanted == 4)
        #expect(evaluate(rps: 300, policy, state).reason.hasSuffix("scale-out is paused"))
    }

    @Test func `growth stops at the cluster's capacity and says so`() {
        var state = ReplicaState(desired: 4, ready: ready(4), capacityLimit: 6)
        let evaluation = evaluate(rps: 800, plainPolicy(rps: 50), state)
        #expect(evaluation.wanted == 6)
        #expect(evaluation.reason.contains("the cluster can hold at most 6"))
        // Less room than instances: that is no reason to stop any.
        state.capacityLimit = 2
        #expect(evaluate(rps: 800, plainPolicy(rps: 50), state).wanted == 4)
    }

    @Test func `with none ready traffic may add, nothing may remove`() {
        let policy = plainPolicy(rps: 50)
        let starting = ReplicaState(desired: 2, ready: [:], starting: 2)
        #expect(evaluate(rps: 200, policy, starting).wanted == 5)
        let idle = evaluate(rps: 0, policy, starting)
        #expect(idle.wanted == 2)
        #expect(idle.limits.contains { $0.rule == .noneReady })
    }

    @Test func `a metric without data stops shrinking, not growth`() {
        let policy = plainPolicy(rps: 50, cpu: 70)
        let state = ReplicaState(desired: 4, ready: ready(4))
        let held = evaluate(rps: 20, policy, state)
        #expect(held.wanted == 4)
        #expect(held.limits.contains { $0.rule == .missingMetrics })
        #expect(evaluate(rps: 300, policy, state).wanted == 8)
    }

    @Test func `CPU of instances in their warm-up is set aside, and readings from it never count`() {
        let policy = plainPolicy(cpu: 50)
        var scaler = Autoscaler()
        // Instance 1 burned its whole limit while it started, until second 90.
        let burning: (Int64) -> Sample = { second in
            sample(second, instances: readings(cpu: [30, second < 90 ? 100 : 30]))
        }
        scaler.record(seconds: 60...84, burning)
        let state = ReplicaState(desired: 2, ready: [instance(0): 0, instance(1): 80])
        let warming = scaler.evaluate(app, policy: policy, state: state, at: 85)
        #expect(warming.factor(of: .cpu)?.setAside == 1)
        #expect(warming.factor(of: .cpu)?.observed == 30)
        scaler.record(seconds: 85...94, burning)
        let warm = scaler.evaluate(app, policy: policy, state: state, at: 95)
        #expect(warm.factor(of: .cpu)?.measured == 2)
        #expect(warm.factor(of: .cpu)?.observed == 30)
    }

    @Test func `an instance that still starts counts as idle when growing`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, instances: readings(cpu: [68, 68, 68])) }
        let policy = plainPolicy(cpu: 50).likeHPA
        // Three at 136% of target: by themselves they would ask for five. With the fourth they are on target.
        let starting = ReplicaState(desired: 4, ready: ready(3), starting: 1)
        #expect(scaler.evaluate(app, policy: policy, state: starting, at: 100).wanted == 4)
        let without = ReplicaState(desired: 3, ready: ready(3))
        #expect(scaler.evaluate(app, policy: policy, state: without, at: 100).wanted == 5)
    }

    @Test func `CPU of a dead node's instances is missing`() {
        let policy = plainPolicy(cpu: 50)
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, node: 1, instances: readings(cpu: [10])) }
        scaler.record(seconds: 40...90) {
            sample($0, node: 2, instances: [InstanceSample(instance: instance(1), cpuPercent: 10)])
        }
        let state = ReplicaState(desired: 2, ready: ready(2))
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 100)
        #expect(evaluation.factor(of: .cpu)?.missing == 1)
        #expect(evaluation.wanted == 2, "counted as on target: \(evaluation.words)")
    }

    @Test func `p95 is read from all nodes' histograms together`() throws {
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, node: 1, rps: 990, latencyMilliseconds: 10) }
        scaler.record(seconds: 40...99) { sample($0, node: 2, rps: 10, latencyMilliseconds: 2_000) }
        let evaluation = scaler.evaluate(
            app, policy: plainPolicy(latency: 250), state: ReplicaState(desired: 3, ready: ready(3)), at: 100)
        let observed = try #require(evaluation.factor(of: .latency)?.observed)
        #expect(abs(observed - 10) < 0.2)
    }

    @Test func `latency alone adds at most half again, and waits until that has been tried`() {
        let policy = plainPolicy(latency: 100)
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, rps: 50, latencyMilliseconds: 900) }
        for (count, wanted) in [(1, 2), (2, 3), (3, 4), (4, 6), (10, 15)] {
            let state = ReplicaState(desired: count, ready: ready(count))
            let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 100)
            #expect(evaluation.wanted == wanted, "\(evaluation.words)")
        }
        // 4 became 6: two are on their way, then ready at 105. Old latencies say nothing about six.
        var state = ReplicaState(desired: 6, ready: ready(4), starting: 2, lastScaledSecond: 100)
        scaler.record(seconds: 100...107) { sample($0, rps: 50, latencyMilliseconds: 900) }
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 103).wanted == 6)
        state.ready[instance(4)] = 105
        state.ready[instance(5)] = 105
        state.starting = 0
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 107).wanted == 6)
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 108).wanted == 9)
    }

    @Test func `latency alone gives back at most a third, and an idle app counts as fast`() {
        let state = ReplicaState(desired: 9, ready: ready(9))
        #expect(evaluate(rps: 0, plainPolicy(latency: 100), state).wanted == 6)
        #expect(evaluate(rps: 0, plainPolicy(rps: 50, latency: 100), state).wanted == 1)
    }

    @Test func `a burst scales out at once and forbids shrinking for a window`() {
        var policy = plainPolicy(rps: 50)
        policy.maxReplicas = 20
        var world = World(policy: policy, instances: 2)
        for second in Int64(0)..<60 { world.run(second, load: 60) }
        // One odd second is no burst: what there is of it in the window's mean carries on.
        let first = world.run(60, load: 600)
        #expect(first.burst == nil, "\(first.reason)")
        let second = world.run(61, load: 600)
        #expect(second.wanted == 15)
        #expect(second.reason.hasPrefix("Scale out: burst, rps at"), "\(second.reason)")
        for second in Int64(62)...81 {
            let evaluation = world.run(second, load: 10)
            #expect(evaluation.wanted == 15, "at \(second): \(evaluation.reason)")
        }
        for second in Int64(82)..<120 { world.run(second, load: 10) }
        #expect(world.desired == 1)
    }

    /// As recorded at a step from 20 to 500 requests per second over a few kept connections, by proxies of three nodes:
    /// no node is busy for two seconds, all together are all the time, and one node's newest second is on its way.
    @Test func `traffic that goes from node to node is a burst like any other`() throws {
        var scaler = Autoscaler()
        for (number, rates) in [(1, [95.0, 83, 71]), (2, [33, 255]), (3, [372, 160, 16])] {
            scaler.record(seconds: 80...115) { sample($0, node: number, rps: 20.0 / 3) }
            for (second, rate) in zip(Int64(116)..., rates) { scaler.record(sample(second, node: number, rps: rate)) }
        }
        let six = ReplicaState(desired: 6, ready: ready(6))
        let evaluation = scaler.evaluate(app, policy: plainPolicy(rps: 50), state: six, at: 119)
        let burst = try #require(evaluation.burst, "\(evaluation.words)")
        #expect(abs(burst.observed * 6 - 498) < 1, "\(burst)")
        #expect(evaluation.wanted == 13, "\(evaluation.words)")
    }

    @Test func `noticing a change by hand during a burst is respected`() {
        let policy = plainPolicy(rps: 50)
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, rps: 300) }
        #expect(
            scaler.evaluate(app, policy: policy, state: ReplicaState(desired: 1, ready: ready(1)), at: 100).wanted == 8)
        scaler.record(seconds: 100...101) { sample($0, rps: 60) }
        scaler.noteScaled(app, from: 1, to: 8, at: 100)
        scaler.noteScaled(app, from: 8, to: 6, at: 101)
        let six = ReplicaState(desired: 6, ready: ready(6))
        #expect(scaler.evaluate(app, policy: policy, state: six, at: 102).wanted <= 7)
    }
}
