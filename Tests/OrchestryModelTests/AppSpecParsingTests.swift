import OrchestryModel
import Testing

struct AppSpecParsingTests {
    @Test func `the recorded document, with the original's flat form`() throws {
        let (spec, flat) = try AppSpec.parse(Fixtures.document)
        #expect(spec.name.rawValue == "my-server")
        #expect(spec.kind == .http)
        #expect(spec.image == "testing:latest")
        #expect(spec.ports == [AppSpec.Port(containerPort: 9010, scheme: .http)])
        #expect(spec.resources == AppSpec.Resources(cpuMillicores: 100, memoryBytes: 128 << 20))
        #expect(spec.routing == AppSpec.Routing(hosts: ["my-server"]))
        #expect(
            spec.health
                == AppSpec.HealthCheck(
                    kind: .http, port: 9010, path: "/health", initialDelaySeconds: 5, periodSeconds: 10))
        #expect(
            spec.scaling
                == ScalingPolicy(
                    maxReplicas: 5, targetRPS: 100, maxP95LatencyMilliseconds: 500, scaleOutThresholdPercent: 80,
                    scaleInThresholdPercent: 60))
        #expect(
            flat == [
                "type": "http", "image": "testing:latest", "ports": [["protocol": "HTTP", "containerPort": 9010]],
                "health": ["path": "/health", "port": 9010, "periodSeconds": 10, "initialDelaySeconds": 5],
                "labels": ["app": "my-server", "version": "v1"],
                "scaling": [
                    "mode": "auto", "maxReplicas": 5, "minReplicas": 1, "maxP95LatencyMs": 500,
                    "scaleInThresholdPct": 60, "targetRPSPerReplica": 100, "scaleOutThresholdPct": 80,
                ],
                "resources": ["cpu": "100m", "memory": "128Mi"],
            ])
    }

    @Test func `every field arrives where it belongs`() throws {
        let spec = try AppSpec.parse(Fixtures.fullDocument).spec
        #expect(spec.labels == ["tier": "front", "replica": "3"])
        #expect(spec.pullPolicy == .always)
        #expect(spec.ports.map(\.containerPort) == [8080, 9000])
        #expect(spec.ports.map(\.scheme) == [.http, .tcp])
        #expect(spec.ports[0].name == "web")
        #expect(
            spec.resources == AppSpec.Resources(cpuMillicores: 2_500, memoryBytes: 3 << 29, pidsLimit: 100))
        #expect(
            spec.environment == [
                .init(name: "A", source: .value("b")), .init(name: "PORT", source: .value("8080")),
                .init(name: "EMPTY", source: .value("")), .init(name: "IP", source: .sdk("instance.ip")),
            ])
        #expect(spec.command == ["/bin/shop"])
        #expect(spec.arguments == ["--port", "8080"])
        #expect(spec.workingDirectory == "/srv")
        #expect(
            spec.security
                == AppSpec.Security(
                    user: "1000:1000", readOnlyRootFilesystem: true, addCapabilities: ["NET_BIND_SERVICE"]))
        #expect(
            spec.routing
                == AppSpec.Routing(
                    hosts: ["shop.example.com", "shop"], pathPrefix: "/shop", method: .ipHash, listenPort: 8081,
                    maxBodyBytes: 20 << 20, readTimeoutSeconds: 30))
        #expect(spec.termination == AppSpec.Termination(drainSeconds: 5, gracePeriodSeconds: 3))
        #expect(spec.rollout == AppSpec.RolloutPolicy(surge: 2, unavailable: 1, progressDeadlineSeconds: 60))
        #expect(
            spec.health
                == AppSpec.HealthCheck(
                    kind: .http, port: 8080, path: "/up?full=1", method: "POST", headers: ["X-Probe": "1"],
                    body: "ping", expectedStatuses: [200, 204], initialDelaySeconds: 2.5, periodSeconds: 3,
                    timeoutSeconds: 0.5, failureThreshold: 4, successThreshold: 2))
        #expect(
            spec.scaling
                == ScalingPolicy(
                    mode: .manual, minReplicas: 2, maxReplicas: 9, targetRPS: 12.5, maxP95LatencyMilliseconds: 250,
                    maxConnections: 80, maxCPUPercent: 60, maxMemoryPercent: 75, scaleOutThresholdPercent: 90,
                    scaleInThresholdPercent: 40, windowSeconds: 30, cooldownSeconds: 10,
                    stabilizationWindowSeconds: 45, maxScaleOutStep: 4, maxScaleInStep: 2, toleranceOut: 0.1,
                    toleranceIn: 0.05, scaleOutPolicies: [.init(.percent, 100, periodSeconds: 15)],
                    scaleInPolicies: [.init(.instances, 1, periodSeconds: 60)], warmupSeconds: 7))
    }

    @Test(arguments: [Fixtures.document, Fixtures.fullDocument])
    func `a stored flat form gives the same spec`(_ document: JSONValue) throws {
        let (spec, flat) = try AppSpec.parse(document)
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
        // What a round trip through PostgreSQL's jsonb does.
        #expect(try AppSpec.parse(flat: JSONValue(jsonText: flat.jsonText()), name: spec.name) == spec)
    }

    @Test func `the least an app needs, and its defaults`() throws {
        let (spec, flat) = try AppSpec.parse([
            "metadata": ["name": "web"],
            "spec": ["type": "http", "image": "web", "ports": [["containerPort": 80]]],
        ])
        #expect(
            spec
                == AppSpec(
                    name: try #require(AppName(rawValue: "web")), image: "web", ports: [.init(containerPort: 80)],
                    health: .init(kind: .tcp), scaling: ScalingPolicy(maxCPUPercent: 70)))
        #expect(flat["health"] == .null)
        #expect(flat["scaling"] == [:])
        #expect(flat["labels"] == [:])
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
    }

    @Test func `a worker has no port, no route and by default no probe`() throws {
        let spec = try AppSpec.parse([
            "metadata": ["name": "jobs"], "spec": ["type": "worker", "image": "jobs"],
        ]).spec
        #expect(spec.primaryPort == nil)
        #expect(spec.health.kind == .none)
    }

    struct HealthRow: Sendable, CustomTestStringConvertible {
        var check: JSONValue
        var kind: AppSpec.HealthCheck.Kind
        var testDescription: String { check.jsonText() }
    }
    @Test(arguments: [
        HealthRow(check: .null, kind: .tcp), HealthRow(check: [:], kind: .tcp),
        HealthRow(check: ["port": 9010], kind: .tcp), HealthRow(check: ["path": "/h"], kind: .http),
        HealthRow(check: ["expectedStatusCodes": [200]], kind: .http),
        HealthRow(check: ["protocol": "HTTP"], kind: .http), HealthRow(check: ["protocol": "tcp"], kind: .tcp),
    ])
    func `what kind of probe`(_ row: HealthRow) throws {
        #expect(try AppSpec.parse(Fixtures.document.with("healthCheck", row.check)).spec.health.kind == row.kind)
    }

    @Test(arguments: [
        ("100m", 100), ("1", 1_000), ("0.5", 500), ("1.25", 1_250), ("16", 16_000), ("10m", 10), ("16000m", 16_000),
    ])
    func `CPU as text`(_ text: String, _ millicores: Int) throws {
        let spec = try AppSpec.parse(Fixtures.document.with("spec.resources.cpu", .string(text))).spec
        #expect(spec.resources.cpuMillicores == millicores)
    }

    @Test(arguments: [(JSONValue.double(2.5), 2_500), (.int(1), 1_000), (.double(0.1), 100)])
    func `CPU as a number of cores`(_ value: JSONValue, _ millicores: Int) throws {
        let spec = try AppSpec.parse(Fixtures.document.with("spec.resources.cpu", value)).spec
        #expect(spec.resources.cpuMillicores == millicores)
    }

    private static let amountsOfMemory: [(JSONValue, Int64)] = [
        ("128Mi", 134_217_728), ("1Gi", 1_073_741_824), ("512M", 512_000_000),
        ("1.5Gi", 1_610_612_736), ("65536Ki", 67_108_864), ("7000k", 7_000_000), ("1G", 1_000_000_000),
        (.int(134_217_728), 134_217_728), ("134217728", 134_217_728), ("64Gi", 68_719_476_736),
    ]
    @Test(arguments: amountsOfMemory)
    func `memory`(_ value: JSONValue, _ bytes: Int64) throws {
        let spec = try AppSpec.parse(Fixtures.document.with("spec.resources.memory", value)).spec
        #expect(spec.resources.memoryBytes == bytes)
    }

    @Test(arguments: [
        "nginx", "nginx:1.27", "library/nginx", "ghcr.io/team/app:v1.0_x-y", "localhost:5000/a", "a/b__c/d-e.f",
        "app@sha256:\(String(repeating: "0a", count: 32))",
        "host.example:443/a:b@sha256:\(String(repeating: "f", count: 64))",
        "10.0.0.1:5000/app",
    ])
    func `image references`(_ image: String) throws {
        #expect(try AppSpec.parse(Fixtures.document.with("spec.image", .string(image))).spec.image == image)
    }

    @Test func `a changed policy is kept in spec and document alike`() throws {
        let (spec, flat) = try AppSpec.parse(Fixtures.document)
        let posted: JSONValue = [
            "maxReplicas": 4, "targetRPSPerReplica": 10, "maxP95LatencyMs": .null, "maxCPUPercent": 50,
        ]
        let changed = try spec.settingPolicy(posted, flat: flat)
        #expect(changed.spec.scaling.maxReplicas == 4)
        #expect(changed.spec.scaling.targetRPS == 10)
        #expect(changed.spec.scaling.maxP95LatencyMilliseconds == nil)
        #expect(changed.spec.scaling.maxCPUPercent == 50)
        #expect(changed.spec.scaling.scaleInThresholdPercent == 60)
        #expect(changed.flat["scaling"]?["maxP95LatencyMs"] == nil)
        #expect(changed.flat["image"] == "testing:latest")
        #expect(try AppSpec.parse(flat: changed.flat, name: spec.name) == changed.spec)

        // The other name of a field replaces it, rather than standing beside it.
        let renamed = try changed.spec.settingPolicy(["targetCPUUtilizationPercentage": 60], flat: changed.flat)
        #expect(renamed.spec.scaling.maxCPUPercent == 60)
        #expect(renamed.flat["scaling"]?["maxCPUPercent"] == nil)
        #expect(try renamed.spec.settingPolicy([:], flat: renamed.flat).spec == renamed.spec)
    }

    private static let brokenPolicies: [(JSONValue, String, String)] = [
        (["minReplicas": 9, "maxReplicas": 2], "policy.maxReplicas", "at least minReplicas (9)"),
        (["minReplicas": 9], "policy.maxReplicas", "got 5"), (["minReplicas": "x"], "policy.minReplicas", "\"x\""),
        (["minReplica": .null], "policy.minReplica", "did you mean minReplicas?"), (3, "policy", "must be an object"),
    ]
    @Test(arguments: brokenPolicies)
    func `a policy that breaks a rule`(_ posted: JSONValue, _ field: String, _ words: String) throws {
        let (spec, flat) = try AppSpec.parse(Fixtures.document)
        let error = #expect(throws: ValidationError.self) { try spec.settingPolicy(posted, flat: flat) }
        #expect(error?.violations.map(\.field) == [field])
        #expect(error?.violations.first?.rule.contains(words) == true, "\(String(describing: error))")
    }

    @Test func `thresholds and bounds that are not named follow those that are`() throws {
        func scaling(_ value: JSONValue) throws -> ScalingPolicy {
            try AppSpec.parse(Fixtures.document.with("scaling", value)).spec.scaling
        }
        #expect(try scaling(["scaleOutThresholdPct": 40]).scaleInThresholdPercent == 30)
        #expect(try scaling(["scaleOutThresholdPct": 80]).scaleInThresholdPercent == 60)
        #expect(try scaling(["scaleInThresholdPct": 90]).scaleOutThresholdPercent == 100)
        #expect(try scaling(["scaleOutThresholdPct": 100, "scaleInThresholdPct": 100]).scaleInThresholdPercent == 100)
        #expect(try scaling(["minReplicas": 12]).maxReplicas == 12)
        #expect(try scaling(["mode": "manual"]).maxCPUPercent == nil)
        #expect(try scaling(["mode": "auto"]).maxCPUPercent == 70)
        #expect(try scaling(["targetRPSPerReplica": 5]).maxCPUPercent == nil)
    }

    struct RevisionRow: Sendable, CustomTestStringConvertible {
        var path: String
        var value: JSONValue
        var needsRevision: Bool
        var testDescription: String { "\(path) = \(value.jsonText())" }
    }
    @Test(arguments: [
        RevisionRow(path: "spec.image", value: "testing:2", needsRevision: true),
        RevisionRow(path: "spec.command", value: ["x"], needsRevision: true),
        RevisionRow(path: "spec.args", value: ["x"], needsRevision: true),
        RevisionRow(path: "spec.workingDir", value: "/x", needsRevision: true),
        RevisionRow(path: "spec.environment", value: [["name": "A", "value": "1"]], needsRevision: true),
        RevisionRow(path: "spec.ports.0.containerPort", value: 9011, needsRevision: true),
        RevisionRow(path: "spec.resources.cpu", value: "200m", needsRevision: true),
        RevisionRow(path: "spec.security", value: ["allowRoot": true], needsRevision: true),
        RevisionRow(path: "spec.ports.0.protocol", value: "TCP", needsRevision: false),
        RevisionRow(path: "spec.pullPolicy", value: "Never", needsRevision: false),
        RevisionRow(path: "spec.routing", value: ["hosts": ["x"]], needsRevision: false),
        RevisionRow(path: "spec.termination", value: ["drainSeconds": 1], needsRevision: false),
        RevisionRow(path: "spec.rollout", value: ["surge": 3], needsRevision: false),
        RevisionRow(path: "metadata.labels.x", value: "y", needsRevision: false),
        RevisionRow(path: "scaling.maxReplicas", value: 9, needsRevision: false),
        RevisionRow(path: "healthCheck.path", value: "/other", needsRevision: false),
        RevisionRow(path: "livenessCheck", value: ["protocol": "TCP"], needsRevision: false),
    ])
    func `what needs new containers`(_ row: RevisionRow) throws {
        let old = try AppSpec.parse(Fixtures.document).spec
        let new = try AppSpec.parse(Fixtures.document.with(row.path, row.value)).spec
        #expect(old != new)
        #expect(AppSpec.needsNewRevision(from: old, to: new) == row.needsRevision)
        #expect(!AppSpec.needsNewRevision(from: new, to: new))
    }

    @Test func `checks by command, by ranges of statuses, and for liveness`() throws {
        let document = Fixtures.document
            .with("healthCheck", ["path": "/h", "expectedStatusCodes": [200, "204 - 206", "3xx", 200, "404"]])
            .with("livenessCheck", ["command": ["pgrep", "-x", 5], "periodSeconds": 20, "failureThreshold": 2])
        let (spec, flat) = try AppSpec.parse(document)
        #expect(spec.health.expectedStatuses == [200])
        #expect(
            spec.health.expectedStatusRanges == [
                .init(first: 204, last: 206), .init(first: 300, last: 399), .init(first: 404, last: 404),
            ])
        #expect([200, 205, 399, 404].allSatisfy(spec.health.expects))
        #expect([201, 207, 400, 500].allSatisfy { !spec.health.expects($0) })
        #expect(
            spec.liveness
                == .init(kind: .command, command: ["pgrep", "-x", "5"], periodSeconds: 20, failureThreshold: 2))
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
        #expect(try AppSpec.parse(Fixtures.document).spec.liveness == nil)
    }

    @Test func `secrets are named, not held`() throws {
        let (spec, flat) = try AppSpec.parse(
            Fixtures.document.with("spec.imagePullSecret", "registry").with(
                "spec.environment",
                [["name": "B", "source": "secret", "key": "db"], ["name": "A", "source": "secret", "key": "db"]]))
        #expect(
            spec.environment.map(\.source) == [
                .secret(SecretName(unchecked: "db")), .secret(SecretName(unchecked: "db")),
            ])
        #expect(spec.environmentSecrets.map(\.rawValue) == ["db"])
        #expect(spec.secretNames.map(\.rawValue) == ["db", "registry"])
        #expect(try AppSpec.parse(flat: flat, name: spec.name) == spec)
    }
}
