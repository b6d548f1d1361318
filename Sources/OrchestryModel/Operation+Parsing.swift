/// Reading the bodies of requests other than `register`, all faults at once. As the original's, whole numbers may also
/// arrive as text (`"2"`) or with an empty fraction (`2.0`).
extension Operation {
    /// The body of `POST /apps/{name}/scale`: `{"replicas": N}` with N from 0 to 100, and if wanted `forSeconds`.
    public static func parseReplicas(_ body: JSONValue) throws(ValidationError) -> (replicas: Int, forSeconds: Int?) {
        var reader = DocumentReader()
        var replicas: Int?
        var seconds: Int?
        if let root = reader.body(body, keys: ["replicas", "forSeconds"], example: "{\"replicas\": 3}") {
            seconds = root["forSeconds"].flatMap {
                reader.integer(fromText: $0, at: "forSeconds", 1...AutoscaleChange.longestSeconds)
            }
            if root["replicas"] == nil { reader.report("replicas", "is required: a whole number from 0 to 100") }
            replicas = root["replicas"].flatMap { reader.integer(fromText: $0, at: "replicas", 0...100) }
            if replicas == 0, seconds != nil {
                reader.report("replicas", "must be at least 1 with forSeconds: an app is stopped until it is started")
            }
        }
        guard reader.violations.isEmpty, let replicas else { throw ValidationError(reader.violations) }
        return (replicas, seconds)
    }

    /// The body of `POST /apps/{name}/autoscale`: `{"action": "pause", "direction": "in", "forSeconds": 600}`.
    public static func parseAutoscale(_ body: JSONValue) throws(ValidationError) -> AutoscaleChange {
        var reader = DocumentReader()
        var action: AutoscaleChange.Action?
        var change = AutoscaleChange(.pause)
        let keys = ["action", "direction", "forSeconds"]
        if let root = reader.body(body, keys: keys, example: "{\"action\": \"pause\"}") {
            if root["action"] == nil { reader.report("action", "is required: pause or resume") }
            action = reader.choice(root, "action", [("pause", .pause), ("resume", .resume)])
            change.direction =
                reader.choice(root, "direction", [("out", .out), ("in", .in), ("both", .both)]) ?? .both
            change.forSeconds = root["forSeconds"].flatMap {
                reader.integer(fromText: $0, at: "forSeconds", 1...AutoscaleChange.longestSeconds)
            }
            if action == .resume, change.forSeconds != nil {
                reader.report("forSeconds", "goes with pause only: what is resumed stays so")
            }
        }
        guard reader.violations.isEmpty, let action else { throw ValidationError(reader.violations) }
        change.action = action
        return change
    }

    /// The body of `POST /apps/{name}/rollback`: `{"to": N}`, or nothing in it.
    public static func parseRollback(_ body: JSONValue) throws(ValidationError) -> Int? {
        try parseNumber(body, "to", 1...1_000_000_000, example: "{\"to\": 3}")
    }

    /// The body of `POST /nodes/{node}/drain`: `{"deadlineSeconds": N}`; 5 minutes when left out.
    public static func parseDrain(_ body: JSONValue) throws(ValidationError) -> Int {
        try parseNumber(body, "deadlineSeconds", 1...86_400, example: "{\"deadlineSeconds\": 300}") ?? 300
    }

    /// The body of `POST /cluster/rebalance`: `{"maxMoves": N}`; 1 when left out.
    public static func parseRebalance(_ body: JSONValue) throws(ValidationError) -> Int {
        try parseNumber(body, "maxMoves", 1...100, example: "{\"maxMoves\": 2}") ?? 1
    }

    /// The body of `PATCH /settings`: `{"log.level": "debug", "retention.events_days": null}`. Which names and values
    /// there are is the leader's to say.
    public static func parseSettings(_ body: JSONValue) throws(ValidationError) -> JSONValue {
        guard let members = body.objectValue, !members.isEmpty else {
            throw ValidationError([Violation("", "must be an object of settings: {\"log.level\": \"debug\"}")])
        }
        let violations = members.sorted { $0.key < $1.key }.compactMap { key, value -> Violation? in
            switch value {
            case .object, .array: Violation(key, "must be text, a number, true, false, or null to reset it")
            case .null, .bool, .int, .double, .string: nil
            }
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
        return body
    }

    private static func parseNumber(
        _ body: JSONValue, _ key: String, _ range: ClosedRange<Int>, example: String
    ) throws(ValidationError) -> Int? {
        var reader = DocumentReader()
        let root = reader.body(body, keys: [key], example: example)
        let number = root?[key].flatMap { reader.integer(fromText: $0, at: key, range) }
        guard reader.violations.isEmpty else { throw ValidationError(reader.violations) }
        return number
    }

    /// The body of `POST /apps/{name}/policy`: `{"policy": {…}}`. The policy's own fields are checked where
    /// it is applied.
    public static func parsePolicy(_ body: JSONValue) throws(ValidationError) -> JSONValue {
        var reader = DocumentReader()
        var policy: JSONValue?
        if let root = reader.body(body, keys: ["policy"], example: "{\"policy\": {\"maxReplicas\": 8}}") {
            policy = root["policy"]
            if let policy, policy.objectValue == nil {
                reader.report(
                    "policy", "must be an object with fields of scaling, got \(DocumentReader.describe(policy))")
            } else if policy == nil {
                reader.report("policy", "is required: an object with fields of scaling")
            }
        }
        guard reader.violations.isEmpty, let policy else { throw ValidationError(reader.violations) }
        return policy
    }
}

extension SimulationRequest {
    /// The body of `POST /apps/{name}/simulate`; every field may be left out. The policy's own fields are checked where
    /// it is applied.
    public static func parse(_ body: JSONValue) throws(ValidationError) -> SimulationRequest {
        var reader = DocumentReader()
        var request = SimulationRequest()
        let keys = ["policy", "sinceSeconds", "capacityPerInstance", "startSeconds"]
        if let root = reader.body(body, keys: keys, example: "{\"sinceSeconds\": 3600}") {
            if let policy = root["policy"] {
                request.policy = policy
                if policy.objectValue == nil {
                    reader.report(
                        "policy", "must be an object with fields of scaling, got \(DocumentReader.describe(policy))")
                }
            }
            request.sinceSeconds = reader.integer(root, "sinceSeconds", 60...longestSeconds) ?? request.sinceSeconds
            request.capacityPerInstance = reader.number(root, "capacityPerInstance", 0.01...1_000_000)
            request.startSeconds = reader.integer(root, "startSeconds", 0...3_600)
        }
        guard reader.violations.isEmpty else { throw ValidationError(reader.violations) }
        return request
    }
}

extension SimulatedMetrics {
    /// The body of `POST /apps/{name}/simulateMetrics`; every field may be left out.
    public static func parse(_ body: JSONValue) throws(ValidationError) -> SimulatedMetrics {
        var reader = DocumentReader()
        var metrics = SimulatedMetrics()
        let keys = [
            "rps", "p95LatencyMs", "activeConnections", "cpuPercent", "memoryPercent", "healthyReplicas", "evaluate",
        ]
        if let root = reader.body(body, keys: keys, example: "{\"rps\": 500}") {
            func number(_ key: String) -> Double? {
                guard let value = root[key] else { return nil }
                let read = value.stringValue.flatMap(Double.init) ?? value.doubleValue
                if let read, (0...1e9).contains(read) { return read }
                reader.report(key, "must be a number from 0 to 1000000000, got \(DocumentReader.describe(value))")
                return nil
            }
            metrics.rps = number("rps") ?? 0
            metrics.p95LatencyMs = number("p95LatencyMs") ?? 0
            metrics.cpuPercent = number("cpuPercent") ?? 0
            metrics.memoryPercent = number("memoryPercent") ?? 0
            metrics.activeConnections =
                root["activeConnections"].flatMap {
                    reader.integer(fromText: $0, at: "activeConnections", 0...1_000_000_000)
                } ?? 0
            metrics.healthyReplicas = root["healthyReplicas"].flatMap {
                reader.integer(fromText: $0, at: "healthyReplicas", 0...1_000)
            }
            metrics.evaluate = reader.boolean(root, "evaluate") ?? true
        }
        guard reader.violations.isEmpty else { throw ValidationError(reader.violations) }
        return metrics
    }
}

extension DocumentReader {
    /// The root object of a body; nil when it is something else, which is reported.
    fileprivate mutating func body(_ value: JSONValue, keys: [String], example: String) -> Object? {
        guard value.objectValue != nil else {
            report("", "must be an object such as \(example), got \(Self.describe(value))")
            return nil
        }
        return object(value, at: "", keys: keys)
    }

    fileprivate mutating func integer(fromText value: JSONValue, at path: String, _ range: ClosedRange<Int>) -> Int? {
        integer(value.stringValue.flatMap(Int64.init).map(JSONValue.int) ?? value, at: path, range)
    }
}
