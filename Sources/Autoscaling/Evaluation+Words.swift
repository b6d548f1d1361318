import OrchestryModel

extension Evaluation {
    /// One sentence for the operator, for example
    /// "Scale out: rps at 212% of target (106.0 per instance, target 50): 1 → 3".
    public var reason: String {
        if wanted == current {
            let cause = limits.last.map { words(for: $0) } ?? factorWords ?? "nothing to do"
            let wishes = wish == current ? "" : ", \(wish) wished"
            guard let factorWords, limits.last.map({ !Self.isCauseEnough($0.rule) }) ?? false else {
                return "Hold at \(current)\(wishes): \(cause)"
            }
            return "Hold at \(current)\(wishes): \(factorWords); \(cause)"
        }
        let direction = wanted > current ? "Scale out" : "Scale in"
        if let limit = limits.last(where: { [.woken, .idle, .blind].contains($0.rule) && $0.to == wanted }) {
            return "\(direction): \(words(for: limit)): \(current) → \(wanted)"
        }
        if let fixed = limits.first(where: { $0.rule == .fixed }) {
            return "\(direction): \(words(for: limits.last { $0.from != $0.to && $0.rule != .fixed } ?? fixed)): "
                + "\(current) → \(wanted)"
        }
        var cause = factorWords ?? "no metric"
        if let bound = limits.last(where: { $0.rule == .minReplicas || $0.rule == .maxReplicas }),
            bound.rule == .minReplicas ? bound.from < current || current < bound.to : current > bound.to,
            bound.to == wanted, wanted > current ? wish <= current : wish >= current
        {
            cause = words(for: bound)
        } else if let limit = limits.last(where: { $0.rule != .burst && $0.from != $0.to }) {
            cause += ", \(words(for: limit))"
        }
        return "\(direction): \(cause): \(current) → \(wanted)"
    }

    /// The whole evaluation in sentences: each factor, each rule, the result.
    public var words: [String] {
        let isIdle = current == 0 && activation?.isIdle == true
        var lines = [
            isIdle
                ? "\(app): idle: 0 wanted, \(ready) ready, \(starting) starting."
                : "\(app): \(current) wanted, \(ready) ready, \(starting) starting; window \(windowSeconds) s, "
                    + "\(coveredSeconds) s of it known; out above \(Decimal.short(scaleOutThresholdPercent))% of a target, "
                    + "in below \(Decimal.short(scaleInThresholdPercent))% of all."
        ]
        lines += factors.map(words(for:))
        if let burst {
            lines.append(
                "Burst: \(burst.metric.rawValue) at \(Decimal.percent(burst.factor)) of target over the last "
                    + "\(burst.seconds) s (\(Decimal.oneDigit(burst.observed)) per instance).")
        }
        if let schedule {
            lines.append("Schedule \(schedule) holds: other bounds than the policy's.")
        }
        if wish != current { lines.append("The metrics ask for \(wish).") }
        for limit in limits {
            let effect = limit.from == limit.to ? "" : ": \(limit.from) → \(limit.to)"
            lines.append("\(limit.rule.rawValue): \(words(for: limit))\(effect).")
        }
        lines.append(reason + ".")
        return lines
    }

    /// The whole evaluation as JSON, as it is stored with a decision and shown by the REST API.
    public var explanation: JSONValue {
        var members: [String: JSONValue] = [
            "app": .string(app.rawValue), "second": .int(second), "current": JSONValue(current),
            "ready": JSONValue(ready), "starting": JSONValue(starting), "wanted": JSONValue(wanted),
            "wish": JSONValue(wish), "shouldScale": .bool(shouldScale), "reason": .string(reason),
            "deciding": JSONValue(decidingName ?? deciding?.rawValue), "windowSeconds": JSONValue(windowSeconds),
            "coveredSeconds": JSONValue(coveredSeconds),
            "scaleOutThresholdPercent": JSONValue(scaleOutThresholdPercent),
            "scaleInThresholdPercent": JSONValue(scaleInThresholdPercent),
        ]
        members["factors"] = .array(factors.map(\.json))
        members["limits"] = .array(
            limits.map { limit in
                [
                    "rule": .string(limit.rule.rawValue), "from": JSONValue(limit.from), "to": JSONValue(limit.to),
                    "words": .string(words(for: limit)),
                ]
            })
        if let burst {
            members["burst"] = [
                "metric": .string(burst.metric.rawValue), "observed": JSONValue(burst.observed),
                "target": JSONValue(burst.target), "factor": JSONValue(burst.factor),
                "seconds": JSONValue(burst.seconds),
            ]
        }
        if let schedule { members["schedule"] = .string(schedule) }
        if let activation { members["activation"] = activation.json }
        return .object(members)
    }

    /// Metric → factor, those with data only: `scale_factors` of the REST API.
    public var scaleFactors: JSONValue { factors.scaleFactors }

    // MARK: Parts

    /// Rules that say all there is to say.
    private static func isCauseEnough(_ rule: LimitRule) -> Bool {
        switch rule {
        case .manual, .fixed, .stopped, .noTargets, .noMetrics, .staleMetrics, .asleep, .woken, .idle: true
        case .missingMetrics, .noneReady, .threshold, .tolerance, .onTheWay, .latencyStep, .burst, .stabilization,
            .cooldown, .maxScaleOutStep, .maxScaleInStep, .ratePolicy, .minReplicas, .maxReplicas, .rollout,
            .pausedOut, .pausedIn, .capacity, .notIdleYet, .unseen, .blind:
            false
        }
    }

    /// The deciding metric: "rps at 212% of target (106.0 per instance, target 50)"; nil: none had data.
    private var factorWords: String? {
        if let burst, let limit = limits.first(where: { $0.rule == .burst }), limit.to > limit.from, limit.to > current
        {
            return
                "burst, \(burst.metric.rawValue) at \(Decimal.percent(burst.factor)) of target over \(burst.seconds) s"
                + " (\(Decimal.oneDigit(burst.observed)) per instance, target \(Decimal.short(burst.target)))"
        }
        guard let factor = decidingFactor, let value = factor.factor else { return nil }
        return "\(factor.label) at \(Decimal.percent(value)) of target (\(Self.figures(factor)))"
    }

    private static func figures(_ factor: Factor) -> String {
        let observed = factor.observed.map(Decimal.oneDigit) ?? "unknown"
        let target = Decimal.short(factor.target)
        return switch factor.metric {
        case .rps, .connections, .custom: "\(observed) per instance, target \(target)"
        case .latency: "p95 \(observed) ms, target \(target) ms"
        case .cpu, .memory: "\(observed)%, target \(target)%"
        }
    }

    private func words(for factor: Factor) -> String {
        guard let value = factor.factor, let wanted = factor.wanted else {
            return "\(factor.label): no data that count (target \(Decimal.short(factor.target)))."
        }
        var line = "\(factor.label): \(Decimal.percent(value)) of target (\(Self.figures(factor)))"
        line += ", asks for \(wanted)"
        if factor.missing > 0 {
            let what =
                [.cpu, .memory, .custom].contains(factor.metric) ? "instances without a reading" : "silent nodes"
            line += "; \(factor.missing) \(what)"
        }
        if factor.setAside > 0 { line += "; \(factor.setAside) starting or warming up" }
        return line + "."
    }

    private var scheduleWords: String { schedule.map { " (schedule \($0))" } ?? "" }

    private func words(for limit: AppliedLimit) -> String {
        switch limit.rule {
        case .manual: "the mode is manual"
        case .fixed: "\(limit.to) was fixed by hand for another \(limit.value) s"
        case .stopped: "the app is down"
        case .noTargets: "the policy names no metric to scale on"
        case .noMetrics: "no metrics yet"
        case .staleMetrics: "the newest metrics are \(limit.value) s old"
        case .missingMetrics: "a metric has no data, so nothing shrinks"
        case .noneReady: "no instance is ready, so nothing shrinks"
        case .threshold:
            "not above \(Decimal.short(scaleOutThresholdPercent))% nor clearly below "
                + "\(Decimal.short(scaleInThresholdPercent))%"
        case .tolerance: "within the tolerance"
        case .onTheWay: "enough are already wanted"
        case .latencyStep: "latency alone asks for at most \(limit.value) now"
        case .burst:
            limit.to > current
                ? "burst over \(limit.value) s" : "a burst within the last \(windowSeconds) s forbids shrinking"
        case .stabilization: "\(limit.to) was wished within the last \(limit.value) s (stabilization)"
        case .cooldown: "cooldown for another \(limit.value) s"
        case .maxScaleOutStep: "at most \(limit.value) more at a time (maxScaleOutStep)"
        case .maxScaleInStep: "at most \(limit.value) fewer at a time (maxScaleInStep)"
        case .ratePolicy: "rate policies allow \(limit.value) now"
        case .minReplicas: "minReplicas is \(limit.value)\(scheduleWords)"
        case .maxReplicas: "maxReplicas is \(limit.value)\(scheduleWords)"
        case .rollout: "scale-in waits for the rollout"
        case .pausedOut: "scale-out is paused"
        case .pausedIn: "scale-in is paused"
        case .capacity: "the cluster can hold at most \(limit.value)"
        case .asleep: "nobody asks for it; the first request starts an instance"
        case .woken: "woken by \(wakers)"
        case .idle: "no request for \(limit.value) s (idleSeconds)"
        case .notIdleYet: "the last instance goes when no request comes for another \(limit.value) s (idleSeconds)"
        case .unseen:
            "the last instance stays while it is not known of every node whether requests came"
                + Self.named(activation?.silentNodes ?? [], ": nothing from")
        case .blind:
            "never below 1, since requests can't be held"
                + Self.named(activation?.blindNodes ?? [], " (nginx without Lua, or without this ability) on")
        }
    }

    private static func named(_ nodes: [NodeID], _ lead: String) -> String {
        nodes.isEmpty ? "" : "\(lead) \(nodes.map(\.rawValue).joined(separator: ", "))"
    }

    /// "3 waiting requests on controller-1", "5 waiting requests (2 on controller-1, 3 on controller-2)".
    private var wakers: String {
        let waiting = activation?.waiting ?? []
        let total = activation?.requests ?? 0
        let what = "\(total) waiting request\(total == 1 ? "" : "s")"
        if let only = waiting.first, waiting.count == 1 { return "\(what) on \(only.node)" }
        return "\(what) (\(waiting.map { "\($0.requests) on \($0.node)" }.joined(separator: ", ")))"
    }
}

extension Activation {
    var json: JSONValue {
        [
            "idle": .bool(isIdle),
            "waiting": .array(
                waiting.map { ["node": .string($0.node.rawValue), "requests": .int(Int64(clamping: $0.requests))] }),
            "blindNodes": .array(blindNodes.map { .string($0.rawValue) }),
            "silentNodes": .array(silentNodes.map { .string($0.rawValue) }),
        ]
    }
}

extension Factor {
    var json: JSONValue {
        [
            "metric": .string(label), "observed": observed.map { JSONValue($0) } ?? .null,
            "target": JSONValue(target), "factor": factor.map { JSONValue($0) } ?? .null,
            "measured": JSONValue(measured), "missing": JSONValue(missing), "setAside": JSONValue(setAside),
            "wanted": wanted.map { JSONValue($0) } ?? .null,
        ]
    }
}

extension [Factor] {
    /// Metric → factor rounded to three digits, as the original's API shows them.
    var scaleFactors: JSONValue {
        var members: [String: JSONValue] = [:]
        for factor in self {
            if let value = factor.factor {
                members[factor.label] = JSONValue((value * 1000).rounded() / 1000)
            }
        }
        return .object(members)
    }
}
