import OrchestryModel

extension AppSeries {
    /// Evaluates the app. Steps, in this order: factors and the wish they add up to; burst window; stabilization;
    /// cooldown; steps; rate policies and bounds; idleness; rollout, pauses and capacity.
    mutating func evaluate(policy given: ScalingPolicy, state: ReplicaState, at second: Int64) -> Evaluation {
        let policy = state.schedule?.applied(to: given) ?? given
        retain(seconds: policy.windowSeconds)
        dropFuture(at: second)
        figures = nil
        let end = windowEnd(at: second)
        var course = Self.course(policy, state, at: second, app: app)
        let isIdle = state.desired == 0 && state.activation?.isIdle == true
        if !isIdle { measure(policy, state, end: end, into: &course) }
        if policy.mode == .manual || (state.desired == 0 && !isIdle) {
            course.count = state.desired
            course.explain(state.desired == 0 && !isIdle ? .stopped : .manual)
            // Ready for the day the mode changes: no wish from before may shrink what a person set.
            wishes.record(state.desired, at: second)
        } else if let fixed = state.fixed, fixed.untilSecond > second {
            course.count = state.desired
            let left = Int(min(fixed.untilSecond - second, Int64(Int32.max)))
            course.evaluation.limits.append(
                AppliedLimit(rule: .fixed, from: state.desired, to: fixed.replicas, value: left))
            course.count = fixed.replicas
            // Real capacity is no matter of opinion.
            if let limit = state.capacityLimit, course.count > max(limit, state.desired) {
                course.move(to: max(limit, state.desired), .capacity, value: limit)
            }
            wishes.record(course.count, at: second)
        } else if isIdle {
            Self.applyActivation(policy, state, to: &course)
            wishes.record(course.count, at: second)
        } else {
            applyBurst(policy, state, end: end, at: second, to: &course)
            applyTimeLimits(policy, state, at: second, to: &course)
            applySizeLimits(policy, state, at: second, to: &course)
            applyIdleness(policy, state, at: second, to: &course)
            Self.applyHolds(state, to: &course)
            burst.grant(course.count)
        }
        course.evaluation.wanted = course.count
        history.add(course.evaluation)
        return course.evaluation
    }

    static func course(_ policy: ScalingPolicy, _ state: ReplicaState, at second: Int64, app: AppName) -> Course {
        var course = Course(
            evaluation: Evaluation(
                app: app, second: second, current: state.desired, ready: state.ready.count, starting: state.starting,
                wanted: state.desired, wish: state.desired, factors: [], deciding: nil, burst: nil, limits: [],
                windowSeconds: policy.windowSeconds, coveredSeconds: 0,
                scaleOutThresholdPercent: policy.scaleOutThresholdPercent,
                scaleInThresholdPercent: policy.scaleInThresholdPercent),
            count: state.desired)
        course.evaluation.schedule = state.schedule?.name
        course.evaluation.activation = state.activation
        return course
    }

    /// An evaluation on its way: the count so far, and what shaped it.
    struct Course {
        var evaluation: Evaluation
        var count: Int
        var burstWish = 0
        var overload = 0.0
        var current: Int { evaluation.current }

        /// Notes a rule that explains why nothing changes.
        mutating func explain(_ rule: LimitRule, value: Int = 0) {
            evaluation.limits.append(AppliedLimit(rule: rule, from: count, to: count, value: value))
        }

        /// Moves the count and notes the rule that did it; nothing to note when it is there already.
        mutating func move(to other: Int, _ rule: LimitRule, value: Int = 0) {
            guard other != count else { return }
            evaluation.limits.append(AppliedLimit(rule: rule, from: count, to: other, value: value))
            count = other
        }
    }

    // MARK: Wish

    private mutating func measure(
        _ policy: ScalingPolicy, _ state: ReplicaState, end: Int64, into course: inout Course
    ) {
        slide(seconds: max(1, policy.windowSeconds), end: end)
        let traffic = traffic(seconds: max(1, policy.windowSeconds), end: end)
        course.evaluation.coveredSeconds = traffic.coveredSeconds
        let arithmetic = ReplicaArithmetic(policy)
        let age = newest.map { end - $0 }
        let isStale = age.map { $0 >= Self.staleSeconds } ?? true
        let start = end - Int64(max(traffic.coveredSeconds, 1)) + 1
        var levels: (cpu: ReplicaArithmetic.Levels, memory: ReplicaArithmetic.Levels)?
        if !isStale, policy.maxCPUPercent != nil || policy.maxMemoryPercent != nil {
            levels = use(of: state.ready, starting: state.starting, policy: policy, start: start, end: end)
        }
        course.evaluation.factors.reserveCapacity(ScalingMetric.inOrder.count + (policy.customMetrics?.count ?? 0))
        for metric in ScalingMetric.inOrder {
            guard let target = metric.target(in: policy) else { continue }
            var factor = Factor(
                metric: metric, observed: nil, target: target, factor: nil, measured: 0, missing: 0, setAside: 0,
                wanted: nil)
            if !isStale {
                switch metric {
                case .rps, .connections:
                    readTraffic(traffic, arithmetic, state, into: &factor)
                case .latency:
                    readLatency(policy, arithmetic, state, traffic, start: start, end: end, into: &factor)
                case .cpu:
                    if let levels { Self.readLevels(levels.cpu, arithmetic, state, into: &factor) }
                case .memory:
                    if let levels { Self.readLevels(levels.memory, arithmetic, state, into: &factor) }
                case .custom: break  // Below: their targets are in a list of their own.
                }
            }
            course.evaluation.factors.append(factor)
        }
        for metric in policy.customMetrics ?? [] {
            var factor = Factor(
                metric: .custom, name: metric.name, observed: nil, target: metric.target, factor: nil, measured: 0,
                missing: 0, setAside: 0, wanted: nil)
            readCustom(metric, arithmetic, state, start: end - Int64(policy.windowSeconds) + 1, end: end, into: &factor)
            course.evaluation.factors.append(factor)
        }
        // Whoever looks at the window (`observed`) asks for its percentile, whether the policy does or not.
        if !isStale, ScalingMetric.latency.target(in: policy) == nil { _ = p95Milliseconds(from: start, end: end) }
        if !isStale, merged?.start == start { figures = figuresAside(traffic, policy, start: start, end: end) }
        guard !course.evaluation.factors.isEmpty else { return course.explain(.noTargets) }
        decide(arithmetic, state, age: isStale ? age : nil, into: &course)
    }

    /// The wish: the most that any metric asks for. One without data asks for what there is.
    private func decide(
        _ arithmetic: ReplicaArithmetic, _ state: ReplicaState, age: Int64?, into course: inout Course
    ) {
        let current = state.desired
        let factors = course.evaluation.factors
        var best: Factor?
        for factor in factors {
            guard let wanted = factor.wanted, let value = factor.factor else { continue }
            if let known = best, let most = known.wanted, let other = known.factor,
                most > wanted || (most == wanted && other >= value)
            {
                continue
            }
            best = factor
        }
        guard let best, let asked = best.wanted, let value = best.factor else {
            return course.explain(
                age == nil ? .noMetrics : .staleMetrics, value: Int(min(age ?? 0, Int64(Int32.max))))
        }
        course.evaluation.deciding = best.metric
        course.evaluation.decidingName = best.name
        if asked < current, factors.contains(where: { $0.wanted == nil }) {
            return course.explain(.missingMetrics)
        }
        if asked < current, state.ready.isEmpty { return course.explain(.noneReady) }
        course.evaluation.wish = asked
        course.count = asked
        if best.metric == .latency, asked != current {
            let proportional = arithmetic.size(load: value * Double(state.ready.count), arithmetic.direction(of: value))
            if proportional != asked {
                course.evaluation.limits.append(
                    AppliedLimit(rule: .latencyStep, from: proportional, to: asked, value: asked))
            }
        }
        if asked == current { explainHold(best, value, arithmetic, into: &course) }
    }

    private func explainHold(
        _ best: Factor, _ value: Double, _ arithmetic: ReplicaArithmetic, into course: inout Course
    ) {
        switch arithmetic.direction(of: value) {
        case .out: course.explain(.onTheWay)
        case .in: course.explain(.threshold)
        case .hold:
            let inTolerance = value > arithmetic.outThreshold || value < arithmetic.inThreshold
            course.explain(inTolerance ? .tolerance : .threshold)
        }
    }

    /// A metric never asks for a change against its own direction: what is on its way already counts.
    static func agree(_ answer: ReplicaArithmetic.Answer, current: Int) -> Int {
        switch answer.direction {
        case .out: max(answer.count, current)
        case .hold: current
        case .in: min(answer.count, current)
        }
    }

    private func readTraffic(
        _ traffic: TrafficReading, _ arithmetic: ReplicaArithmetic, _ state: ReplicaState, into factor: inout Factor
    ) {
        guard traffic.isKnown else { return }
        let isRate = factor.metric == .rps
        let low = isRate ? traffic.lowRate : traffic.lowConcurrency
        let high = isRate ? traffic.highRate : traffic.highConcurrency
        let answer = arithmetic.desired(
            low: low, high: high, targetPerInstance: factor.target, ready: state.ready.count, current: state.desired)
        factor.observed = answer.factor * factor.target
        factor.factor = answer.factor
        factor.measured = state.ready.count
        factor.missing = traffic.silentNodes
        factor.wanted = Self.agree(answer, current: state.desired)
    }

    /// Latency is judged by the seconds since the instances last changed: older ones say nothing about these. It asks
    /// for at most half again of what is ready, since its answer to more instances is not in proportion; and when no
    /// other metric speaks, gives back at most the same part.
    private mutating func readLatency(
        _ policy: ScalingPolicy, _ arithmetic: ReplicaArithmetic, _ state: ReplicaState, _ traffic: TrafficReading,
        start: Int64, end: Int64, into factor: inout Factor
    ) {
        guard traffic.isKnown else { return }
        let ready = state.ready.count
        var since = start
        for second in state.ready.values where second < end + Self.aheadSeconds { since = max(since, second + 1) }
        if let scaled = lastScaled(state, at: end) { since = max(since, scaled + 1) }
        // Settled enough from two seconds on, or from what there is of a new app or a second given by hand.
        let needed = min(Int64(BurstWindow.seconds(ofWindow: policy.windowSeconds)), end - start + 1)
        guard end - since + 1 >= needed else { return }
        var observed = p95Milliseconds(from: since, end: end)
        // No request finished: the app is idle, unless some are stuck.
        if observed == nil, traffic.highConcurrency < 0.5 { observed = 0 }
        guard let observed else { return }
        let answer = arithmetic.desired(value: observed, target: factor.target, ready: ready, current: state.desired)
        factor.observed = observed
        factor.factor = answer.factor
        factor.measured = ready
        factor.missing = traffic.silentNodes
        var capped = answer
        switch answer.direction {
        case .out: capped.count = min(answer.count, ready + max(1, ready / 2))
        case .hold: break
        case .in:
            let isAlone =
                policy.customMetrics == nil
                && ScalingMetric.inOrder.allSatisfy { $0 == .latency || $0.target(in: policy) == nil }
            if isAlone { capped.count = max(answer.count, (ready * 2 + 2) / 3) }
        }
        factor.wanted = Self.agree(capped, current: state.desired)
    }

    private static func readLevels(
        _ levels: ReplicaArithmetic.Levels, _ arithmetic: ReplicaArithmetic, _ state: ReplicaState,
        into factor: inout Factor
    ) {
        factor.measured = levels.measured
        factor.missing = levels.missing
        factor.setAside = levels.setAside
        guard let answer = arithmetic.desired(levels, target: factor.target, current: state.desired) else { return }
        factor.observed = levels.sum / Double(levels.measured)
        factor.factor = answer.factor
        factor.wanted = agree(answer, current: state.desired)
    }

    // MARK: Limits

    private mutating func applyBurst(
        _ policy: ScalingPolicy, _ state: ReplicaState, end: Int64, at second: Int64, to course: inout Course
    ) {
        let seconds = BurstWindow.seconds(ofWindow: policy.windowSeconds)
        let arithmetic = ReplicaArithmetic(policy)
        if !burst.isActive, let most = mostBurstTraffic(seconds: seconds, end: end),
            Self.strongest(policy, state, rate: most.rate, concurrency: most.concurrency, seconds)
                .map({ !BurstWindow.begins(at: $0.factor / arithmetic.outThreshold) }) ?? true
        {
            return
        }
        let traffic = burstTraffic(seconds: seconds, end: end)
        let ready = max(state.ready.count, 1)
        let strongest =
            traffic.isKnown
            ? Self.strongest(policy, state, rate: traffic.low.rate, concurrency: traffic.low.concurrency, seconds) : nil
        var asked = 0
        var overload = 0.0
        if let strongest {
            overload = strongest.factor / arithmetic.outThreshold
            if arithmetic.direction(of: strongest.factor) == .out {
                asked = arithmetic.size(load: strongest.factor * Double(ready), .out)
            }
        }
        let desired = burst.desired(
            stable: course.count, burst: asked, overload: overload, windowSeconds: policy.windowSeconds, at: second)
        guard burst.isActive else { return }
        course.evaluation.burst = strongest
        if let strongest, asked > course.count {
            course.evaluation.deciding = strongest.metric
            course.evaluation.decidingName = nil
        }
        course.move(to: max(desired, state.desired), .burst, value: seconds)
    }

    /// What a burst is judged by: the traffic that is most over its target.
    private static func strongest(
        _ policy: ScalingPolicy, _ state: ReplicaState, rate: Int64, concurrency: Int64, _ seconds: Int
    ) -> BurstReading? {
        let ready = Double(max(state.ready.count, 1))
        var strongest: BurstReading?
        for (metric, load) in [(ScalingMetric.rps, rate), (.connections, concurrency)] {
            guard let target = metric.target(in: policy) else { continue }
            let amount = Double(load) / 1e6
            let reading = BurstReading(
                metric: metric, observed: amount / ready, target: target, factor: amount / (target * ready),
                seconds: seconds)
            if reading.factor > strongest?.factor ?? -1 { strongest = reading }
        }
        return strongest
    }

    /// Stabilization and cooldown: they only hold shrinking back.
    private mutating func applyTimeLimits(
        _ policy: ScalingPolicy, _ state: ReplicaState, at second: Int64, to course: inout Course
    ) {
        // A new leader knows no earlier wishes, or only those of its last time: the count it found stands for them.
        if wishes.isInterrupted(at: second) { wishes.record(state.desired, at: second - 1) }
        let upper = max(policy.leastAwake, policy.maxReplicas)
        wishes.record(min(max(course.count, policy.leastAwake), upper), at: second)
        let highest = wishes.highest(windowSeconds: policy.stabilizationWindowSeconds, at: second)
        guard course.count < course.current else { return }
        if let highest, highest > course.count {
            course.move(
                to: min(highest, course.current), .stabilization, value: policy.stabilizationWindowSeconds)
        }
        guard course.count < course.current, let scaled = lastScaled(state, at: second) else { return }
        let left = Int64(policy.cooldownSeconds) - max(second - scaled, 0)
        if left > 0 { course.move(to: course.current, .cooldown, value: Int(left)) }
    }

    /// The last change of the count, by whoever remembers it later; one in the future (a clock was set back) is none.
    func lastScaled(_ state: ReplicaState, at second: Int64) -> Int64? {
        let latest = max(state.lastScaledSecond ?? Int64.min, changes.last?.second ?? Int64.min)
        return latest == Int64.min || latest > second + Self.aheadSeconds ? nil : latest
    }

    /// Steps, rate policies, bounds. A count outside the bounds is corrected at once.
    private func applySizeLimits(
        _ policy: ScalingPolicy, _ state: ReplicaState, at second: Int64, to course: inout Course
    ) {
        let current = course.current
        if let step = policy.maxScaleOutStep, course.count > current + step {
            course.move(to: current + step, .maxScaleOutStep, value: step)
        }
        if let step = policy.maxScaleInStep, course.count < current - step {
            course.move(to: current - step, .maxScaleInStep, value: step)
        }
        let bounds = policy.leastAwake...max(policy.leastAwake, policy.maxReplicas)
        let limited = RateLimits.limit(
            current: current, desired: course.count, bounds: bounds, out: policy.scaleOutPolicies,
            in: policy.scaleInPolicies, changes: changes, at: second)
        if let rule = limited.rule {
            // Whether the last instance sleeps is the idleness rule's decision, and its to explain.
            if rule == .minReplicas, policy.scaleToZero != nil {
                course.count = limited.count
            } else {
                course.move(to: limited.count, rule, value: limited.count)
            }
        }
        if course.count < bounds.lowerBound {
            course.move(to: bounds.lowerBound, .minReplicas, value: bounds.lowerBound)
        } else if course.count > bounds.upperBound {
            course.move(to: bounds.upperBound, .maxReplicas, value: bounds.upperBound)
        }
    }

    /// What stops a change altogether, bounds included: a rollout, a person, the cluster's size.
    static func applyHolds(_ state: ReplicaState, to course: inout Course) {
        if course.count < course.current {
            if state.rolloutInProgress { course.move(to: course.current, .rollout) }
            if state.pauseIn { course.move(to: course.current, .pausedIn) }
        } else if course.count > course.current {
            if state.pauseOut { course.move(to: course.current, .pausedOut) }
            if let limit = state.capacityLimit, course.count > limit {
                course.move(to: max(limit, course.current), .capacity, value: limit)
            }
        }
    }
}
