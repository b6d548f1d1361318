import Autoscaling
import Foundation
import OrchestryModel
import Testing

/// What people read, and what is stored.
struct WordsTests {
    private func evaluation(rps: Double, _ policy: ScalingPolicy, desired: Int) -> Evaluation {
        var scaler = Autoscaler()
        scaler.record(seconds: 60...99) { sample($0, rps: rps) }
        return scaler.evaluate(
            app, policy: policy, state: ReplicaState(desired: desired, ready: ready(desired)), at: 100)
    }

    @Test func `growth names metric, figures and sizes`() {
        // 1.3 times capacity: no burst.
        #expect(
            evaluation(rps: 106, plainPolicy(rps: 50), desired: 2).reason
                == "Scale out: rps at 106% of target (53.0 per instance, target 50): 2 → 3")
        // A burst, but the window asks for as many.
        #expect(
            evaluation(rps: 106, plainPolicy(rps: 50), desired: 1).reason
                == "Scale out: rps at 212% of target (106.0 per instance, target 50): 1 → 3")
    }

    @Test func `a limit is named`() {
        var policy = plainPolicy(rps: 50)
        policy.maxReplicas = 4
        let capped = evaluation(rps: 220, policy, desired: 3)
        #expect(
            capped.reason
                == "Scale out: rps at 147% of target (73.3 per instance, target 50), maxReplicas is 4: 3 → 4")
        let full = evaluation(rps: 220, policy, desired: 4)
        #expect(
            full.reason
                == "Hold at 4, 6 wished: rps at 110% of target (55.0 per instance, target 50); maxReplicas is 4")
    }

    @Test func `holding says between which lines`() {
        #expect(
            evaluation(rps: 140, plainPolicy(rps: 50), desired: 4).reason
                == "Hold at 4: rps at 70% of target (35.0 per instance, target 50); "
                + "not above 80% nor clearly below 60%")
    }

    @Test func `shrinking is explained`() {
        #expect(
            evaluation(rps: 40, plainPolicy(rps: 50), desired: 4).reason
                == "Scale in: rps at 20% of target (10.0 per instance, target 50): 4 → 2")
    }

    @Test func `words tell inputs, rules and result`() {
        var policy = plainPolicy(rps: 50, cpu: 70)
        policy.maxScaleOutStep = 1
        let lines = evaluation(rps: 220, policy, desired: 3).words
        #expect(lines.first?.hasPrefix("web: 3 wanted, 3 ready, 0 starting; window 20 s") == true)
        #expect(lines.contains("rps: 147% of target (73.3 per instance, target 50), asks for 6."))
        #expect(lines.contains("cpu: no data that count (target 70)."))
        #expect(lines.contains("maxScaleOutStep: at most 1 more at a time (maxScaleOutStep): 6 → 4."))
        #expect(lines.last?.hasSuffix("3 → 4.") == true)
    }

    @Test func `every rule has words of its own`() {
        var seen: Set<String> = []
        for rule in LimitRule.allCases {
            var one = evaluation(rps: 140, plainPolicy(rps: 50), desired: 4)
            one.limits = [AppliedLimit(rule: rule, from: 4, to: 4, value: 7)]
            let words = one.words.first { $0.hasPrefix("\(rule.rawValue): ") }
            #expect(words?.isEmpty == false)
            if let words { seen.insert(String(words.drop { $0 != " " })) }
        }
        #expect(seen.count == LimitRule.allCases.count)
    }

    @Test func `an evaluation survives JSON, and its explanation has the figures`() throws {
        let one = evaluation(rps: 500, plainPolicy(rps: 50, connections: 80), desired: 2)
        let back = try JSONDecoder().decode(Evaluation.self, from: JSONEncoder().encode(one))
        #expect(back == one)
        let explanation = one.explanation
        #expect(explanation["wanted"]?.intValue == one.wanted)
        #expect(explanation["reason"]?.stringValue == one.reason)
        let first = try #require(explanation["factors"]?.arrayValue?.first)
        #expect(first["metric"]?.stringValue == "rps")
        #expect(first["factor"]?.doubleValue == 5)
        #expect(one.scaleFactors["rps"]?.doubleValue == 5)
        #expect(one.scaleFactors["connections"]?.doubleValue == 0)
        #expect(one.scaleFactors["cpu"] == nil)
    }

    @Test func `observed metrics have the original's names`() {
        var scaler = Autoscaler()
        scaler.record(seconds: 60...99) {
            sample(
                $0, rps: 33.5, concurrency: 2.6, latencyMilliseconds: 20,
                instances: readings(cpu: [10, 20], memory: [0.5, 0.25]))
        }
        let policy = plainPolicy(rps: 50, latency: 250, cpu: 70)
        let seen = scaler.observed(app, policy: policy, ready: 2, at: 100)
        #expect(seen.json["rps"]?.doubleValue == 33.5)
        #expect(seen.json["active_connections"]?.intValue == 3)
        #expect(seen.json["cpu_percent"]?.doubleValue == 15)
        #expect(seen.json["memory_percent"]?.doubleValue == 0.38)
        #expect(abs((seen.json["p95_latency_ms"]?.doubleValue ?? 0) - 20) < 0.2)
        #expect(seen.scaleFactors["rps"]?.doubleValue == 0.335)
        #expect(seen.ageSeconds == 0)
        let none = Autoscaler().observed(app, policy: policy, ready: 0, at: 100)
        #expect(none.ageSeconds == nil)
        #expect(none.json["rps"]?.doubleValue == 0)
        #expect(none.scaleFactors == [:])
    }

    @Test func `recent evaluations are thinned out, kept five minutes, and end with the newest`() throws {
        var world = World(policy: ScalingPolicy(minReplicas: 1, maxReplicas: 20, targetRPS: 50), instances: 1)
        for second in Int64(0)..<1_000 { world.run(second, load: (700..<800).contains(second) ? 500 : 20) }
        let kept = world.scaler.recentEvaluations(app)
        #expect(kept.last == world.evaluations.last)
        #expect(kept.count <= 129)
        #expect(kept.allSatisfy { $0.second > 690 })
        let changes = world.evaluations.filter { $0.shouldScale && $0.second > 700 }
        #expect(!changes.isEmpty)
        for change in changes { #expect(kept.contains(change), "\(change.reason)") }
        let gaps = zip(kept, kept.dropFirst()).map { $1.second - $0.second }
        #expect(try #require(gaps.max()) <= 10)
        #expect(kept.map(\.second) == kept.map(\.second).sorted())
    }

    @Test func `one instance that carries much more than the others is named`() {
        func hot(_ percents: Double...) -> HotInstance? {
            HotInstance(Dictionary(uniqueKeysWithValues: percents.enumerated().map { (instance($0), $1) }))
        }
        #expect(
            hot(20, 30, 90, 25, 28)?.words
                == "web-1-2 carries 3.2 × the median CPU of the app's instances (90% of its limit against 28%).")
        #expect(hot(0, 0, 60)?.words.hasPrefix("web-1-2 carries far more than the median CPU") == true)
        #expect(hot(40, 45, 79) == nil, "less than twice the median")
        #expect(hot(2, 3, 40) == nil, "nobody is busy")
        #expect(hot(10, 90) == nil, "of two neither is typical")
    }
}
