extension ScalingPolicy {
    /// Said of `minReplicas: 0` where there are no requests that the proxy could hold.
    public static let zeroNeedsHTTP =
        "must be at least 1: only an app of type http is started by its first request, got 0"

    /// Reads the `policy` of `POST /apps/{name}/policy` and applies it to what is stored.
    ///
    /// Fields given replace the stored ones (under either of a field's two names), null takes one away, all others
    /// stay. The result is read as a whole, so that it equals what registering the merged document would give.
    /// - Parameters:
    ///   - posted: an object with fields of `scaling`; may be empty.
    ///   - stored: the `scaling` of the app's flat document.
    /// - Returns: the policy and the new `scaling` for the flat document.
    /// - Throws: every rule broken, fields named from `policy`.
    public static func parse(
        _ posted: JSONValue, merging stored: JSONValue
    ) throws(ValidationError) -> (policy: ScalingPolicy, scaling: JSONValue) {
        guard case .object(let changes) = posted else {
            let got = DocumentReader.describe(posted)
            throw ValidationError([Violation("policy", "must be an object with fields of scaling, got \(got)")])
        }
        var merged = stored.objectValue ?? [:]
        for (key, value) in changes {
            if let other = DocumentReader.otherName(of: key), changes[other] == nil { merged[other] = nil }
            if value == .null { merged.removeValue(forKey: key) } else { merged[key] = value }
        }
        var reader = DocumentReader()
        // The posted object by itself first: null would otherwise hide a misspelt field.
        _ = reader.object(posted, at: "policy", keys: DocumentReader.scalingKeys)
        guard reader.violations.isEmpty else { throw ValidationError(reader.violations) }
        let policy = reader.scaling(.object(merged), at: "policy")
        guard reader.violations.isEmpty else { throw ValidationError(reader.violations) }
        return (policy, .object(merged))
    }
}

extension DocumentReader {
    static let scalingKeys = [
        "mode", "minReplicas", "maxReplicas", "targetRPSPerReplica", "maxP95LatencyMs", "maxCPUPercent",
        "targetCPUUtilizationPercentage", "maxMemoryPercent", "targetMemoryUtilizationPercentage",
        "maxConnPerReplica", "scaleOutThresholdPct", "scaleInThresholdPct", "windowSeconds", "cooldownSeconds",
        "maxScaleOutStep", "maxScaleInStep", "stabilizationWindowSeconds", "tolerance", "scaleOutPolicies",
        "scaleInPolicies", "warmupSeconds", "customMetrics", "schedules", "idleSeconds", "holdSeconds", "holdLimit",
    ]
    private static let aliases = [
        (name: "maxCPUPercent", alias: "targetCPUUtilizationPercentage"),
        (name: "maxMemoryPercent", alias: "targetMemoryUtilizationPercentage"),
    ]

    /// The second name of a field that has two.
    static func otherName(of key: String) -> String? {
        for (name, alias) in aliases {
            if key == name { return alias }
            if key == alias { return name }
        }
        return nil
    }

    /// The `scaling` section; the defaults, when it is absent.
    mutating func scaling(_ value: JSONValue?, at path: String) -> ScalingPolicy {
        var policy = ScalingPolicy()
        let section = object(
            value, at: path, keys: Self.scalingKeys,
            hints: ["replicas": "write minReplicas and maxReplicas, or mode: manual and `orchestry scale`"])
        guard let section else {
            policy.maxCPUPercent = Self.defaultCPUPercent
            return policy
        }
        policy.mode = choice(section, "mode", [("auto", .auto), ("manual", .manual)]) ?? policy.mode
        bounds(section, &policy)
        targets(section, &policy)
        thresholds(section, &policy)
        policy.windowSeconds = integer(section, "windowSeconds", 2...3_600) ?? policy.windowSeconds
        policy.cooldownSeconds = integer(section, "cooldownSeconds", 0...86_400) ?? policy.cooldownSeconds
        policy.stabilizationWindowSeconds =
            integer(section, "stabilizationWindowSeconds", 0...3_600) ?? policy.stabilizationWindowSeconds
        policy.maxScaleOutStep = integer(section, "maxScaleOutStep", 1...1_000)
        policy.maxScaleInStep = integer(section, "maxScaleInStep", 1...1_000)
        policy.warmupSeconds = integer(section, "warmupSeconds", 0...3_600) ?? policy.warmupSeconds
        if let tolerance = object(section["tolerance"], at: section.path(of: "tolerance"), keys: ["out", "in"]) {
            policy.toleranceOut = number(tolerance, "out", 0...0.5) ?? 0
            policy.toleranceIn = number(tolerance, "in", 0...0.5) ?? 0
        }
        policy.scaleOutPolicies = ratePolicies(section, "scaleOutPolicies")
        policy.scaleInPolicies = ratePolicies(section, "scaleInPolicies")
        policy.customMetrics = customMetrics(section)
        policy.schedules = schedules(section)
        policy.scaleToZero = scaleToZero(section, policy)
        return policy
    }

    /// Percent of the CPU limit an app scales on when it names no target metric at all.
    private static let defaultCPUPercent = 70.0

    private mutating func bounds(_ section: Object, _ policy: inout ScalingPolicy) {
        policy.minReplicas = integer(section, "minReplicas", 0...1_000) ?? policy.minReplicas
        let maximum = integer(section, "maxReplicas", 1...1_000)
        // A minimum above the default maximum raises it: the author has said nothing that contradicts.
        policy.maxReplicas = maximum ?? max(policy.maxReplicas, policy.minReplicas)
        if let maximum, maximum < policy.minReplicas {
            report(
                section.path(of: "maxReplicas"), "must be at least minReplicas (\(policy.minReplicas)), got \(maximum)")
            policy.maxReplicas = policy.minReplicas
        }
    }

    private mutating func scaleToZero(_ section: Object, _ policy: ScalingPolicy) -> ScalingPolicy.ScaleToZero? {
        var zero = ScalingPolicy.ScaleToZero()
        zero.idleSeconds = integer(section, "idleSeconds", 10...86_400) ?? zero.idleSeconds
        zero.holdSeconds = integer(section, "holdSeconds", 1...300) ?? zero.holdSeconds
        zero.holdLimit = integer(section, "holdLimit", 1...100_000) ?? zero.holdLimit
        return policy.minReplicas == 0 ? zero : nil
    }

    private mutating func targets(_ section: Object, _ policy: inout ScalingPolicy) {
        policy.targetRPS = number(section, "targetRPSPerReplica", 0.01...1_000_000)
        policy.maxP95LatencyMilliseconds = number(section, "maxP95LatencyMs", 0.1...600_000)
        policy.maxConnections = number(section, "maxConnPerReplica", 0.01...1_000_000)
        policy.maxCPUPercent = percentOfLimit(section, Self.aliases[0])
        policy.maxMemoryPercent = percentOfLimit(section, Self.aliases[1])
        let names = [
            "targetRPSPerReplica", "maxP95LatencyMs", "maxConnPerReplica", "maxCPUPercent", "maxMemoryPercent",
            "targetCPUUtilizationPercentage", "targetMemoryUtilizationPercentage", "customMetrics",
        ]
        if policy.mode == .auto, names.allSatisfy({ section[$0] == nil }) {
            policy.maxCPUPercent = Self.defaultCPUPercent
        }
    }

    private mutating func percentOfLimit(_ section: Object, _ names: (name: String, alias: String)) -> Double? {
        if section[names.name] != nil, section[names.alias] != nil {
            report(section.path(of: names.alias), "must not be given beside \(names.name), which means the same")
        }
        return number(section, section[names.name] != nil ? names.name : names.alias, 1...100)
    }

    private mutating func thresholds(_ section: Object, _ policy: inout ScalingPolicy) {
        let out = number(section, "scaleOutThresholdPct", 1...100)
        let scaleIn = number(section, "scaleInThresholdPct", 0...100)
        policy.scaleOutThresholdPercent = out ?? max(policy.scaleOutThresholdPercent, scaleIn ?? 0)
        // The same share of the outward threshold as the defaults have, where only that one is given.
        policy.scaleInThresholdPercent =
            scaleIn ?? min(policy.scaleInThresholdPercent, policy.scaleOutThresholdPercent * 0.75)
        if let out, let scaleIn, scaleIn > out {
            report(
                section.path(of: "scaleInThresholdPct"),
                "must not be above scaleOutThresholdPct (\(Self.short(out))), got \(Self.short(scaleIn))")
        }
    }

    private mutating func ratePolicies(_ section: Object, _ key: String) -> [ScalingPolicy.RatePolicy] {
        var policies: [ScalingPolicy.RatePolicy] = []
        for (path, value) in list(section, key, atMost: 8, of: "{type, value, periodSeconds}") ?? [] {
            guard let entry = object(value, at: path, keys: ["type", "value", "periodSeconds"]) else {
                if value == .null { report(path, "must be an object with type, value and periodSeconds") }
                continue
            }
            for required in ["type", "value", "periodSeconds"] where entry[required] == nil {
                report("\(path).\(required)", "is required")
            }
            let unit: ScalingPolicy.RatePolicy.Unit? = choice(
                entry, "type", [("instances", .instances), ("percent", .percent)])
            let amount = integer(entry, "value", 1...1_000)
            let period = integer(entry, "periodSeconds", 1...3_600)
            if let unit, let amount, let period {
                policies.append(ScalingPolicy.RatePolicy(unit, amount, periodSeconds: period))
            }
        }
        return policies
    }
}
