import Autoscaling
import OrchestryModel
import Testing

/// The last instance goes when nobody asks for the app, and comes back with the first request.
struct ScaleToZeroTests {
    private var policy: ScalingPolicy {
        var policy = plainPolicy(rps: 50)
        policy.minReplicas = 0
        policy.scaleToZero = .init(idleSeconds: 60)
        return policy
    }
    private let awake = Activation(isIdle: false)

    private func idle(waiting: [Activation.Waiting] = [], blind: [NodeID] = [], silent: [NodeID] = []) -> ReplicaState {
        ReplicaState(
            desired: 0, ready: [:],
            activation: Activation(isIdle: true, waiting: waiting, blindNodes: blind, silentNodes: silent))
    }

    /// One instance, a request in second 100, silence since.
    private func scaler(nodes: Int = 3, until last: Int64) -> Autoscaler {
        var scaler = Autoscaler()
        for number in 1...nodes {
            scaler.record(seconds: 40...last) { sample($0, node: number, rps: $0 == 100 && number == 1 ? 1 : 0) }
        }
        return scaler
    }

    /// With everything known up to the second before.
    private func evaluate(
        at second: Int64, _ state: ReplicaState, nodes: Int = 3, policy: ScalingPolicy? = nil
    ) -> Evaluation {
        var scaler = scaler(nodes: nodes, until: second - 1)
        return scaler.evaluate(app, policy: policy ?? self.policy, state: state, at: second)
    }

    private func one(
        since second: Int64 = 40, scaled: Int64? = nil, activation: Activation? = Activation(isIdle: false),
        change: (inout ReplicaState) -> Void = { _ in }
    ) -> ReplicaState {
        var state = ReplicaState(
            desired: 1, ready: ready(1, since: second), lastScaledSecond: scaled, activation: activation)
        change(&state)
        return state
    }

    @Test func `the last instance goes when no request came for idleSeconds`() {
        // Seconds 101…160 are the first sixty quiet ones: known at 161.
        let early = evaluate(at: 160, one())
        #expect(early.wanted == 1)
        #expect(early.limits.last?.rule == .notIdleYet)
        #expect(early.reason.hasSuffix("the last instance goes when no request comes for another 1 s (idleSeconds)"))
        let gone = evaluate(at: 161, one())
        #expect(gone.wanted == 0)
        #expect(gone.reason == "Scale in: no request for 60 s (idleSeconds): 1 → 0")
    }

    @Test func `the metrics alone never take the last one`() {
        for second in Int64(41)...160 {
            #expect(evaluate(at: second, one()).wanted == 1)
        }
        // Nor where the proxies are not asked, as in a simulation.
        #expect(evaluate(at: 250, one(activation: nil)).wanted == 1)
        // And three become one first.
        let three = ReplicaState(desired: 3, ready: ready(3), activation: awake)
        #expect(evaluate(at: 250, three).wanted == 1)
    }

    @Test func `what is in flight, a WebSocket too, keeps it`() {
        var scaler = scaler(until: 99)
        scaler.record(seconds: 100...300) { sample($0, node: 1, inFlight: 1) }
        for number in 2...3 { scaler.record(seconds: 100...300) { sample($0, node: number) } }
        #expect(scaler.evaluate(app, policy: policy, state: one(), at: 301).wanted == 1)
        let waiting = Activation(isIdle: false, waiting: [.init(node: node(2), requests: 1)])
        #expect(evaluate(at: 250, one(activation: waiting)).wanted == 1)
    }

    @Test func `missing data never takes it`() {
        // One node has said nothing for six seconds.
        var scaler = scaler(nodes: 2, until: 204)
        scaler.record(seconds: 40...200) { sample($0, node: 3) }
        #expect(scaler.evaluate(app, policy: policy, state: one(), at: 205).wanted == 0)
        for number in 1...2 { scaler.record(sample(205, node: number)) }
        let unknown = scaler.evaluate(app, policy: policy, state: one(), at: 206)
        #expect(unknown.wanted == 1)
        #expect(unknown.limits.last?.rule == .unseen)
        // After a gap it counts from anew: what came in between is not known.
        for second in Int64(206)...266 {
            for number in 1...3 where number < 3 || second > 206 { scaler.record(sample(second, node: number)) }
            let wanted = scaler.evaluate(app, policy: policy, state: one(), at: second + 1).wanted
            #expect(wanted == (second < 266 ? 1 : 0), "\(second)")
        }
        // No data at all.
        var empty = Autoscaler()
        #expect(empty.evaluate(app, policy: policy, state: one(), at: 200).wanted == 1)
        // A proxy that has not said lately what waits.
        let silent = evaluate(at: 250, one(activation: .init(isIdle: false, silentNodes: [node(2)])))
        #expect(silent.wanted == 1)
        #expect(silent.reason.hasSuffix("whether requests came: nothing from controller-2"), "\(silent.reason)")
    }

    @Test func `a node that is gone for good is not waited for`() {
        for (second, wanted) in [(Int64(255), 1), (262, 0)] {
            var scaler = scaler(nodes: 2, until: second - 1)
            scaler.record(seconds: 40...200) { sample($0, node: 3) }
            #expect(scaler.evaluate(app, policy: policy, state: one(), at: second).wanted == wanted)
        }
    }

    @Test func `one that has just started or become ready has its time`() {
        #expect(evaluate(at: 310, one(scaled: 250)).wanted == 1)
        #expect(evaluate(at: 311, one(scaled: 250)).wanted == 0)
        #expect(evaluate(at: 340, one(since: 280)).wanted == 1)
        #expect(evaluate(at: 341, one(since: 280)).wanted == 0)
        let starting = ReplicaState(desired: 1, ready: [:], starting: 1, activation: awake)
        #expect(evaluate(at: 390, starting).wanted == 1)
    }

    @Test func `a proxy that can't hold requests keeps one up`() {
        let blind = Activation(isIdle: false, blindNodes: [node(3)])
        let kept = evaluate(at: 250, one(activation: blind))
        #expect(kept.wanted == 1)
        #expect(kept.reason.contains("never below 1, since requests can't be held"), "\(kept.reason)")
        #expect(kept.reason.hasSuffix("on controller-3"))
        let started = evaluate(at: 251, idle(blind: [node(3)]))
        #expect(started.wanted == 1)
    }

    @Test func `a rollout, a pause and a schedule have their say`() {
        let rolling = evaluate(at: 250, one { $0.rolloutInProgress = true })
        #expect(rolling.wanted == 1)
        #expect(rolling.limits.last?.rule == .rollout)
        #expect(evaluate(at: 251, one { $0.pauseIn = true }).wanted == 1)
        let day = ScheduledBounds(name: "day", minReplicas: 2)
        #expect(evaluate(at: 252, one { $0.schedule = day }).wanted == 2)
        // The day begins while it sleeps.
        var asleep = idle()
        asleep.schedule = day
        let risen = evaluate(at: 253, asleep)
        #expect(risen.wanted == 2)
        #expect(risen.reason == "Scale out: minReplicas is 2 (schedule day): 0 → 2", "\(risen.reason)")
        var paused = idle(waiting: [.init(node: node(1), requests: 5)])
        paused.pauseOut = true
        let held = evaluate(at: 254, paused)
        #expect(held.wanted == 0)
        #expect(held.reason.hasSuffix("scale-out is paused"), "\(held.reason)")
        var full = idle(waiting: [.init(node: node(1), requests: 5)])
        full.capacityLimit = 0
        #expect(evaluate(at: 255, full).wanted == 0)
        var fixed = idle()
        fixed.fixed = .init(replicas: 3, untilSecond: 900, by: "ann")
        #expect(evaluate(at: 256, fixed).wanted == 3)
    }

    @Test func `a thousand waiting requests start one instance, and it is said why`() {
        let quiet = evaluate(at: 250, idle())
        #expect(quiet.wanted == 0)
        #expect(quiet.reason == "Hold at 0: nobody asks for it; the first request starts an instance")
        #expect(quiet.words.first == "web: idle: 0 wanted, 0 ready, 0 starting.")
        let crowd = idle(waiting: [.init(node: node(1), requests: 1_000)])
        let woken = evaluate(at: 251, crowd)
        #expect(woken.wanted == 1)
        #expect(woken.reason == "Scale out: woken by 1000 waiting requests on controller-1: 0 → 1")
        let both = idle(waiting: [.init(node: node(1), requests: 2), .init(node: node(3), requests: 1)])
        #expect(
            evaluate(at: 252, both).reason
                == "Scale out: woken by 3 waiting requests (2 on controller-1, 1 on controller-3): 0 → 1")
        #expect(woken.explanation["activation"]?["waiting"]?.arrayValue?.count == 1)
    }

    @Test func `between two evaluations a request wakes it at once, and leaves no trace in the windows`() {
        var scaler = scaler(until: 249)
        var twin = scaler
        let one = idle(waiting: [.init(node: node(1), requests: 1)])
        let woken = scaler.wake(app, policy: policy, state: one, at: 250)
        #expect(woken?.wanted == 1)
        #expect(woken?.reason == "Scale out: woken by 1 waiting request on controller-1: 0 → 1")
        #expect(scaler.recentEvaluations(app).last == woken)
        #expect(scaler.wake(app, policy: policy, state: idle(), at: 250) == nil)
        var manual = policy
        manual.mode = .manual
        #expect(scaler.wake(app, policy: manual, state: one, at: 250) == nil)
        let after = ReplicaState(desired: 1, ready: [:], starting: 1, activation: awake)
        for second in Int64(251)...300 {
            for number in 1...3 {
                scaler.record(sample(second - 1, node: number))
                twin.record(sample(second - 1, node: number))
            }
            #expect(
                scaler.evaluate(app, policy: policy, state: after, at: second)
                    == twin.evaluate(app, policy: policy, state: after, at: second))
        }
    }

    @Test func `an app that was taken down is not woken, nor one in manual mode`() {
        let waiting: [Activation.Waiting] = [.init(node: node(1), requests: 3)]
        let down = ReplicaState(desired: 0, ready: [:], activation: .init(isIdle: false, waiting: waiting))
        let stopped = evaluate(at: 250, down)
        #expect(stopped.wanted == 0)
        #expect(stopped.limits.last?.rule == .stopped)
        var manual = policy
        manual.mode = .manual
        let held = evaluate(at: 251, idle(waiting: waiting), policy: manual)
        #expect(held.wanted == 0)
        #expect(held.limits.last?.rule == .manual)
        // Its last instance stays, however quiet it is.
        #expect(evaluate(at: 252, one(), policy: manual).wanted == 1)
    }

    @Test func `a policy that says 1 again takes it out of its sleep`() {
        let woken = evaluate(at: 250, idle(), policy: plainPolicy(rps: 50))
        #expect(woken.wanted == 1)
        #expect(woken.reason == "Scale out: minReplicas is 1: 0 → 1")
    }

    /// A new leader has the same samples, and nothing else.
    @Test func `a new leader goes on counting, and wakes what waits`() {
        var old = scaler(until: 100)
        for second in Int64(101)...150 {
            for number in 1...3 { old.record(sample(second, node: number)) }
            _ = old.evaluate(app, policy: policy, state: one(), at: second + 1)
        }
        #expect(evaluate(at: 160, one()).wanted == 1)
        #expect(evaluate(at: 161, one()).wanted == 0)
        // Taken over while it sleeps, before any node has spoken: it sleeps on.
        var third = Autoscaler()
        #expect(third.evaluate(app, policy: policy, state: idle(silent: [node(1), node(2)]), at: 162).wanted == 0)
        // While it was being woken: the nodes say again what waits.
        let waiting = idle(waiting: [.init(node: node(2), requests: 9)], silent: [node(1)])
        #expect(third.wake(app, policy: policy, state: waiting, at: 163)?.wanted == 1)
    }

    /// Whatever is lost or late, it never goes while a request was seen within idleSeconds.
    @Test func `random traffic and losses`() {
        var slept = 0
        for seed in UInt64(1)...200 {
            var random = Seeded(seed)
            var scaler = Autoscaler()
            let idleSeconds = Int.random(in: 10...40, using: &random)
            var policy = policy
            policy.scaleToZero = .init(idleSeconds: idleSeconds)
            var busy: Int64 = 0
            for second in Int64(1_000)...1_200 {
                let now = second + 1
                for number in 1...3 {
                    let isBusy = Int.random(in: 0..<40, using: &random) == 0
                    // A sample that is lost carries its request into the next one, as the counters do.
                    let isLost = Int.random(in: 0..<5, using: &random) == 0 && !isBusy
                    if isBusy { busy = second }
                    if !isLost { scaler.record(sample(second, node: number, rps: isBusy ? 1 : 0)) }
                }
                let evaluation = scaler.evaluate(app, policy: policy, state: one(since: 900), at: now)
                if evaluation.wanted == 0 {
                    slept += 1
                    #expect(now - busy > Int64(idleSeconds), "seed \(seed), second \(second), last request \(busy)")
                }
            }
        }
        #expect(slept > 100)
    }
}
