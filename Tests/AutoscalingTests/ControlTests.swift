import Autoscaling
import OrchestryModel
import Testing

/// What people say counts more than what is measured: fixed counts, schedules; and metrics of an app's own.
struct ControlTests {
    private func scaler(rps: Double) -> Autoscaler {
        var scaler = Autoscaler()
        scaler.record(seconds: 40...99) { sample($0, rps: rps) }
        return scaler
    }

    @Test func `a fixed count holds against any load until it expires`() {
        let policy = plainPolicy(rps: 50)
        var state = ReplicaState(
            desired: 4, ready: ready(4), fixed: .init(replicas: 4, untilSecond: 130, by: "ann"))
        for rps in [0.0, 2_000] {
            var scaler = scaler(rps: rps)
            let held = scaler.evaluate(app, policy: policy, state: state, at: 100)
            #expect(held.wanted == 4)
            #expect(held.limits.last?.rule == .fixed)
            #expect(held.limits.last?.value == 30)
            #expect(held.reason.hasSuffix(": 4 was fixed by hand for another 30 s"), "\(held.reason)")
        }
        var busy = scaler(rps: 2_000)
        busy.record(seconds: 100...129) { sample($0, rps: 2_000) }
        #expect(busy.evaluate(app, policy: policy, state: state, at: 129).wanted == 4)
        #expect(busy.evaluate(app, policy: policy, state: state, at: 130).wanted == 50)
        // Less than is fixed, after a leader changed in between: set right, as far as there is room.
        state.desired = 2
        state.ready = ready(2)
        var other = scaler(rps: 0)
        let moved = other.evaluate(app, policy: policy, state: state, at: 100)
        #expect(moved.wanted == 4)
        #expect(moved.reason == "Scale out: 4 was fixed by hand for another 30 s: 2 → 4")
        state.capacityLimit = 3
        #expect(other.evaluate(app, policy: policy, state: state, at: 101).wanted == 3)
    }

    @Test func `what was fixed is not given back at once`() {
        var policy = plainPolicy(rps: 50)
        policy.stabilizationWindowSeconds = 30
        var scaler = Autoscaler()
        var state = ReplicaState(desired: 8, ready: ready(8), fixed: .init(replicas: 8, untilSecond: 130, by: "ann"))
        var wanted: [Int64: Int] = [:]
        for second in Int64(60)...200 {
            scaler.record(sample(second - 1, rps: 20))
            wanted[second] = scaler.evaluate(app, policy: policy, state: state, at: second).wanted
            state.fixed = state.fixed.flatMap { $0.untilSecond > second ? $0 : nil }
        }
        #expect(wanted[140] == 8)
        #expect(wanted[161] == 1)
    }

    @Test func `a schedule's bounds stand in for the policy's, and are named`() {
        var policy = plainPolicy(rps: 50)
        policy.maxReplicas = 6
        var scaler = scaler(rps: 20)
        var state = ReplicaState(
            desired: 2, ready: ready(2), schedule: ScheduledBounds(name: "office", minReplicas: 5))
        let raised = scaler.evaluate(app, policy: policy, state: state, at: 100)
        #expect(raised.wanted == 5)
        #expect(raised.reason == "Scale out: minReplicas is 5 (schedule office): 2 → 5", "\(raised.reason)")
        #expect(raised.explanation["schedule"] == "office")
        // A minimum above the policy's maximum raises that.
        state.schedule = ScheduledBounds(name: "sale", minReplicas: 9)
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 101).wanted == 9)
        // A maximum below its minimum lowers it.
        policy.minReplicas = 4
        state = ReplicaState(desired: 4, ready: ready(4), schedule: ScheduledBounds(name: "night", maxReplicas: 2))
        #expect(scaler.evaluate(app, policy: policy, state: state, at: 102).wanted == 2)
    }

    @Test func `pauses expire, and one direction leaves the other alone`() {
        var control = AutoscaleChange(.pause, .in, forSeconds: 60).applied(to: ScalingControl(), at: 100, by: "ann")
        #expect(control.active(at: 159).pauseIn?.untilSecond == 160)
        #expect(control.active(at: 160).pauseIn == nil)
        #expect(control.pauseOut == nil)
        control = AutoscaleChange(.pause, .out).applied(to: control, at: 110, by: "bob")
        #expect(control.pauseIn != nil && control.pauseOut?.untilSecond == nil && control.pauseOut != nil)
        control = AutoscaleChange(.resume).applied(to: control, at: 120, by: "bob")
        #expect(control.isEmpty)
    }

    // MARK: Metrics of an app's own

    private func custom(_ values: [Double?], target: Double, desired: Int? = nil, age: Int64 = 0) -> Evaluation {
        var policy = plainPolicy()
        policy.scaleOutThresholdPercent = 100
        policy.scaleInThresholdPercent = 90
        policy.customMetrics = [.init(name: "jobs", metric: "jobs_waiting", target: target)]
        var scaler = Autoscaler()
        for (number, value) in values.enumerated() {
            guard let value else { continue }
            for second in Int64(80)...(99 - age) {
                scaler.record(
                    CustomReading(metric: "jobs", instance: instance(number), second: second, value: value), app: app)
            }
        }
        return scaler.evaluate(
            app, policy: policy, state: ReplicaState(desired: desired ?? values.count, ready: ready(values.count)),
            at: 100)
    }

    @Test func `a metric of the app's own scales it like any other, fractions included`() {
        let grown = custom([0.5, 0.75], target: 0.25)
        #expect(grown.wanted == 5)
        #expect(
            grown.reason == "Scale out: jobs at 250% of target (0.6 per instance, target 0.25): 2 → 5",
            "\(grown.reason)")
        #expect(custom([10, 10, 10, 10], target: 20).wanted == 3, "at most 95% of the line: 2.1 instances")
        #expect(custom([20, 20], target: 20).wanted == 2)
    }

    @Test func `a silent instance argues against the change, stale readings are none`() {
        // Measured at 10 of 20; the silent one counts as on target.
        let shrinking = custom([10, 10, 10, nil], target: 20)
        #expect(shrinking.wanted == 3, "\(shrinking.words)")
        #expect(shrinking.factors.first?.missing == 1)
        // One at 30 of 20, the other silent and counted as idle: no growth.
        #expect(custom([30, nil], target: 20).wanted == 2)
        let stale = custom([500, 500], target: 20, age: 6)
        #expect(stale.wanted == 2)
        #expect(stale.factors.first?.wanted == nil)
    }

    @Test func `a page of metrics is read by name and labels`() {
        let page = PrometheusPage(
            """
            # HELP jobs_waiting Jobs.
            # TYPE jobs_waiting gauge
            jobs_waiting{queue="mail",zone="a \\"b\\" \\\\ c"} 3
            jobs_waiting{ queue = "mail" , zone="z",} 4.5 1795000000000
            jobs_waiting{queue="print"} 100
            jobs_waiting_total 7
            idle 0\r
            broken{queue="mail 1
            endless +Inf
            """)
        #expect(page.value(of: "jobs_waiting", labels: ["queue": "mail"]) == 7.5)
        #expect(page.value(of: "jobs_waiting", labels: ["zone": "a \"b\" \\ c"]) == 3)
        #expect(page.value(of: "jobs_waiting", labels: [:]) == 107.5)
        #expect(page.value(of: "jobs_waiting_total", labels: [:]) == 7)
        #expect(page.value(of: "idle", labels: [:]) == 0)
        for missing in ["jobs", "broken", "endless", "nothing"] {
            #expect(page.value(of: missing, labels: [:]) == nil, "\(missing)")
        }
    }
}
