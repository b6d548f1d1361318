import OrchestryModel

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

enum RandomJSON {
    static func value(_ random: inout SeededGenerator, depth: Int) -> JSONValue {
        switch Int.random(in: 0...(depth > 0 ? 9 : 7), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2: return .int(Int64.random(in: -5...120, using: &random))
        case 3: return .int([.max, .min, 0, 70_000, 1 << 53].randomElement(using: &random) ?? 0)
        case 4: return .double(Double.random(in: -10...1_000, using: &random))
        case 5: return .double([1e300, -1e300, 0.1, 2.5e-300, 2].randomElement(using: &random) ?? 0)
        case 6, 7: return .string(strings.randomElement(using: &random) ?? "")
        case 8:
            return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(&random, depth: depth - 1) })
        default:
            var members: [String: JSONValue] = [:]
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                members[strings.randomElement(using: &random) ?? ""] = value(&random, depth: depth - 1)
            }
            return .object(members)
        }
    }

    static let strings = [
        "", "a", "web", "HTTP", "worker", "auto", "1", "100m", "128Mi", "99999999999999999999Gi", "1e309", "é\u{301}😀",
        "\u{0}", "line\nbreak", "/", "/a/../b", "..", "sha256:", "a@sha256:0", ":", "a:b:c", "name", "image", "*.x",
        String(repeating: "x", count: 600), "instance.ip", "sdk", "root", "0:0", "CAP_NET_ADMIN", "percent",
    ]
}

enum Fixtures {
    /// The document the recordings of the original use most.
    static let document: JSONValue = [
        "apiVersion": "v1", "kind": "App",
        "metadata": ["name": "my-server", "labels": ["app": "my-server", "version": "v1"]],
        "spec": [
            "type": "http", "image": "testing:latest", "ports": [["containerPort": 9010, "protocol": "HTTP"]],
            "resources": ["cpu": "100m", "memory": "128Mi"],
        ],
        "scaling": [
            "mode": "auto", "minReplicas": 1, "maxReplicas": 5, "targetRPSPerReplica": 100, "maxP95LatencyMs": 500,
            "scaleOutThresholdPct": 80, "scaleInThresholdPct": 60,
        ],
        "healthCheck": ["path": "/health", "port": 9010, "initialDelaySeconds": 5, "periodSeconds": 10],
    ]

    /// Every field there is, with a value of its own.
    static let fullDocument: JSONValue = [
        "apiVersion": "v1", "kind": "App", "metadata": ["name": "shop", "labels": ["tier": "front", "replica": 3]],
        "spec": [
            "type": "http", "image": "registry.example.com:5000/team/shop:1.4", "pullPolicy": "Always",
            "ports": [
                ["containerPort": 8080, "protocol": "HTTP", "name": "web"], ["containerPort": 9000, "protocol": "TCP"],
            ],
            "resources": ["cpu": 2.5, "memory": "1.5Gi", "pids": 100],
            "environment": [
                ["name": "A", "value": "b"], ["name": "PORT", "value": 8080], ["name": "EMPTY"],
                ["name": "IP", "source": "sdk", "key": "instance.ip"],
            ],
            "command": ["/bin/shop"], "args": ["--port", 8080], "workingDir": "/srv",
            "security": [
                "user": "1000:1000", "allowRoot": false, "readOnlyRootFilesystem": true,
                "addCapabilities": ["CAP_NET_BIND_SERVICE"],
            ],
            "routing": [
                "hosts": ["Shop.example.com", "shop"], "pathPrefix": "/shop", "method": "ip_hash", "listenPort": 8081,
                "maxBodyBytes": "20Mi", "readTimeoutSeconds": 30,
            ],
            "termination": ["drainSeconds": 5, "gracePeriodSeconds": 3],
            "rollout": ["surge": 2, "unavailable": 1, "progressDeadlineSeconds": 60],
        ],
        "scaling": [
            "mode": "manual", "minReplicas": 2, "maxReplicas": 9, "targetRPSPerReplica": 12.5, "maxP95LatencyMs": 250,
            "targetCPUUtilizationPercentage": 60, "targetMemoryUtilizationPercentage": 75, "maxConnPerReplica": 80,
            "scaleOutThresholdPct": 90, "scaleInThresholdPct": 40, "windowSeconds": 30, "cooldownSeconds": 10,
            "maxScaleOutStep": 4, "maxScaleInStep": 2, "stabilizationWindowSeconds": 45,
            "tolerance": ["out": 0.1, "in": 0.05], "warmupSeconds": 7,
            "scaleOutPolicies": [["type": "percent", "value": 100, "periodSeconds": 15]],
            "scaleInPolicies": [["type": "instances", "value": 1, "periodSeconds": 60]],
        ],
        "healthCheck": [
            "path": "/up?full=1", "port": 8080, "protocol": "http", "method": "POST", "initialDelaySeconds": 2.5,
            "periodSeconds": 3, "timeoutSeconds": 0.5, "failureThreshold": 4, "successThreshold": 2,
            "headers": [["name": "X-Probe", "value": "1"]], "body": "ping", "expectedStatusCodes": [200, 204],
        ],
    ]
}

extension JSONValue {
    /// This document with the value at `path` (keys and list positions) replaced; nil takes it away.
    func with(_ path: [String], _ value: JSONValue?) -> JSONValue {
        guard let first = path.first else { return value ?? .null }
        let rest = Array(path.dropFirst())
        switch self {
        case .object(var members):
            if rest.isEmpty {
                members[first] = value
            } else {
                members[first] = (members[first] ?? [:]).with(rest, value)
            }
            return .object(members)
        case .array(var elements):
            guard let index = Int(first), elements.indices.contains(index) else { return self }
            elements[index] = elements[index].with(rest, value)
            return .array(elements)
        default:
            return JSONValue.object([:]).with(path, value)
        }
    }

    /// `with(["spec", "image"], …)` from `"spec.image"`.
    func with(_ path: String, _ value: JSONValue?) -> JSONValue {
        with(path.split(separator: ".").map(String.init), value)
    }
}
