/// The `spec.rollout` section. `surge` and `unavailable` are short for `maxSurge` and `maxUnavailable`.
extension DocumentReader {
    private static let rolloutKeys = [
        "maxSurge", "maxUnavailable", "surge", "unavailable", "minHealthySeconds", "progressDeadlineSeconds",
        "strategy", "canary", "release",
    ]

    mutating func rollout(_ spec: Object, kind: AppSpec.Kind?) -> AppSpec.RolloutPolicy {
        var result = AppSpec.RolloutPolicy()
        guard
            let section = object(
                spec["rollout"], at: "spec.rollout", keys: Self.rolloutKeys,
                hints: ["minReadySeconds": "did you mean minHealthySeconds?"])
        else { return result }
        result.surge = amount(section, "maxSurge", short: "surge") ?? result.surge
        result.unavailable = amount(section, "maxUnavailable", short: "unavailable") ?? result.unavailable
        result.minHealthySeconds = integer(section, "minHealthySeconds", 0...3_600) ?? result.minHealthySeconds
        result.progressDeadlineSeconds =
            integer(section, "progressDeadlineSeconds", 1...86_400) ?? result.progressDeadlineSeconds
        if result.surge.isZero, result.unavailable.isZero {
            report("spec.rollout", "must allow surge or unavailable above 0, or no instance could ever be replaced")
        }
        if result.progressDeadlineSeconds <= result.minHealthySeconds {
            report(
                "spec.rollout.progressDeadlineSeconds",
                "must be above minHealthySeconds (\(result.minHealthySeconds)), or no rollout could ever succeed, got "
                    + "\(result.progressDeadlineSeconds)")
        }
        result.strategy = choice(section, "strategy", [("rolling", .rolling), ("canary", .canary)]) ?? .rolling
        result.release = release(section)
        let canary = canary(section)
        switch result.strategy {
        case .rolling:
            if canary != nil { report("spec.rollout.canary", "is only for strategy canary") }
        case .canary:
            result.canary = canary ?? AppSpec.RolloutPolicy.Canary()
            if let kind, kind != .http {
                report(
                    "spec.rollout.strategy",
                    "must be rolling for an app of type \(kind.rawValue): nothing counts its requests")
            }
            if result.surge.isZero {
                report(
                    "spec.rollout.maxSurge", "must be above 0 with strategy canary: it is made beside the old instances"
                )
            }
        }
        return result
    }

    private mutating func amount(_ section: Object, _ key: String, short: String) -> AppSpec.RolloutPolicy.Amount? {
        if section[key] != nil, section[short] != nil {
            report(section.path(of: short), "must not be given beside \(key), which means the same")
        }
        let given = section[key] != nil ? key : short
        guard let value = section[given] else { return nil }
        if let count = value.intValue, (0...100).contains(count) { return .count(count) }
        if let amount = value.stringValue.flatMap(AppSpec.RolloutPolicy.Amount.init(percentText:)) { return amount }
        report(
            section.path(of: given),
            "must be a whole number from 0 to 100 or a share such as \"25%\", got \(Self.describe(value))")
        return nil
    }

    private mutating func release(_ rollout: Object) -> AppSpec.RolloutPolicy.Release? {
        let path = "spec.rollout.release"
        guard let section = object(rollout["release"], at: path, keys: ["command", "timeoutSeconds"], hints: [:]) else {
            return nil
        }
        var command: [String] = []
        let elements = list(section, "command", atMost: 64, of: "strings: the program and its arguments") ?? []
        for (path, value) in elements {
            guard let word = plainText(value, at: path, showing: false) else { continue }
            if word.utf8.count > 4_096 || word.utf8.contains(0) {
                report(path, "must be at most 4096 bytes without NUL")
            }
            command.append(word)
        }
        if elements.isEmpty, section["command"]?.arrayValue != nil || section["command"] == nil {
            report("\(path).command", "is required: the program in the container and its arguments")
        }
        return AppSpec.RolloutPolicy.Release(
            command: command, timeoutSeconds: integer(section, "timeoutSeconds", 1...86_400) ?? 300)
    }

    private mutating func canary(_ rollout: Object) -> AppSpec.RolloutPolicy.Canary? {
        guard
            let section = object(
                rollout["canary"], at: "spec.rollout.canary",
                keys: ["weightPercent", "intervalSeconds", "minRequests", "maxErrorRatePct", "maxP95Factor"],
                hints: ["weight": "did you mean weightPercent?"])
        else { return nil }
        var result = AppSpec.RolloutPolicy.Canary()
        result.weightPercent = integer(section, "weightPercent", 1...50) ?? result.weightPercent
        result.intervalSeconds = integer(section, "intervalSeconds", 1...86_400) ?? result.intervalSeconds
        result.minRequests = integer(section, "minRequests", 0...1_000_000) ?? result.minRequests
        result.maxErrorRatePct = number(section, "maxErrorRatePct", 0...100) ?? result.maxErrorRatePct
        result.maxP95Factor = number(section, "maxP95Factor", 1...100)
        return result
    }
}
