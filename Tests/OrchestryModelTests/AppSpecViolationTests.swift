import OrchestryModel
import Testing

struct AppSpecViolationTests {
    struct Row: Sendable, CustomTestStringConvertible {
        var path: String
        var value: JSONValue?
        /// The violated field; the path, unless told.
        var field: String
        var words: String
        init(_ path: String, _ value: JSONValue?, _ words: String, at field: String? = nil) {
            self.path = path
            self.value = value
            self.words = words
            self.field = field ?? path
        }
        var testDescription: String { "\(path) = \(value?.jsonText().prefix(60) ?? "absent")" }
    }

    static let rows = [
        Row("apiVersion", "v9", "must be one of v1, got \"v9\""), Row("kind", "Worker", "must be one of App"),
        Row("metadata", nil, "is required"), Row("spec", nil, "is required"),
        Row("metadata", "x", "must be an object, got \"x\""), Row("metadata.name", nil, "is required"),
        Row("metadata.name", "My_App", "DNS label"), Row("metadata.name", "-a", "got \"-a\""),
        Row("metadata.name", .string(String(repeating: "a", count: 64)), "1 to 63"), Row("metadata.name", 5, "got 5"),
        Row("metadata.labels", ["a"], "must be an object of strings"),
        Row("metadata.labels.v", 1.5, "put the number in quotes"),
        Row("metadata.labels.v", ["x"], "must be a string, got a list of 1"),
        Row("metadata.labels", ["orchestry.app": "x"], "reserved", at: "metadata.labels.orchestry.app"),
        Row("metadata.labels", ["a b": "x"], "must be named", at: "metadata.labels.a b"),
        Row("spec.type", nil, "is required: http, tcp or worker"),
        Row("spec.type", "htp", "got \"htp\"; did you mean http?"), Row("spec.image", nil, "is required"),
        Row("spec.image", "", "image reference"), Row("spec.image", "Upper/Case", "lower case"),
        Row("spec.image", "a b", "image reference"), Row("spec.image", "a:", "image reference"),
        Row("spec.image", "a@sha256:12", "image reference"), Row("spec.image", "a//b", "image reference"),
        Row("spec.image", "a:b:c", "image reference"), Row("spec.image", "-a", "image reference"),
        Row("spec.image", "a___b", "image reference"), Row("spec.image", "host:99999/a", "image reference"),
        Row("spec.image", "a;reboot", "image reference"), Row("spec.image", 3, "got 3"),
        Row("spec.ports", [], "at least one port for an app of type http"),
        Row("spec.ports", nil, "at least one port for an app of type http"),
        Row("spec.ports", 9010, "must be a list of {containerPort, protocol, name}, got 9010"),
        Row("spec.ports", [.null], "must be an object", at: "spec.ports[0]"),
        Row("spec.ports.0.containerPort", nil, "is required", at: "spec.ports[0].containerPort"),
        Row("spec.ports.0.containerPort", 70_000, "from 1 to 65535, got 70000", at: "spec.ports[0].containerPort"),
        Row("spec.ports.0.containerPort", 0, "got 0", at: "spec.ports[0].containerPort"),
        Row("spec.ports.0.containerPort", "80", "got \"80\"", at: "spec.ports[0].containerPort"),
        Row("spec.ports.0.containerPort", 80.5, "got 80.5", at: "spec.ports[0].containerPort"),
        Row("spec.ports.0.protocol", "UDP", "one of HTTP, TCP, got \"UDP\"", at: "spec.ports[0].protocol"),
        Row("spec.ports.0.hostPort", 80, "is not a known field", at: "spec.ports[0].hostPort"),
        Row(
            "spec.ports", [["containerPort": 1], ["containerPort": 1]], "must not repeat a port",
            at: "spec.ports[1].containerPort"),
        Row("spec.resources.cpu", "5m", "10m to 16 cores"), Row("spec.resources.cpu", 17, "got 17"),
        Row("spec.resources.cpu", "-1", "got \"-1\""), Row("spec.resources.cpu", "1e1", "got \"1e1\""),
        Row("spec.resources.cpu", "m", "got \"m\""), Row("spec.resources.memory", "5Mi", "6Mi to 64Gi"),
        Row("spec.resources.memory", "65Gi", "got \"65Gi\""), Row("spec.resources.memory", "128m", "got \"128m\""),
        Row("spec.resources.memory", "128 Mi", "got"), Row("spec.resources.memory", 1e300, "got"),
        Row("spec.resources.pids", 8, "from 16 to 32768"),
        Row("spec.resources.limits", [:], "write cpu and memory directly"),
        Row("spec.environment", ["A": "b"], "must be a list of {name, value}"),
        Row("spec.environment", [["value": "b"]], "is required", at: "spec.environment[0].name"),
        Row("spec.environment", [["name": "1A"]], "no digit first", at: "spec.environment[0].name"),
        Row("spec.environment", [["name": "A"], ["name": "A"]], "must not repeat", at: "spec.environment[1].name"),
        Row("spec.environment", [["name": "A", "value": 1.5]], "quotes", at: "spec.environment[0].value"),
        Row("spec.environment", [["name": "A", "value": "x\u{0}"]], "without NUL", at: "spec.environment[0].value"),
        Row(
            "spec.environment", [["name": "A", "source": "secret"]], "is required with source secret",
            at: "spec.environment[0].key"),
        Row(
            "spec.environment", [["name": "A", "source": "secret", "key": "a b"]], "must be a secret's name",
            at: "spec.environment[0].key"),
        Row(
            "spec.environment", [["name": "A", "source": "secret", "key": "db", "value": "x"]],
            "must not be given with source secret", at: "spec.environment[0].value"),
        Row(
            "spec.environment", [["name": "A", "valueFrom": ["secretKeyRef": ["name": "db"]]]],
            "write source: secret and key: NAME", at: "spec.environment[0].valueFrom"),
        Row(
            "spec.environment",
            .array((0...16).map { ["name": .string("A\($0)"), "source": "secret", "key": .string("s\($0)")] }),
            "at most 16 different secrets, got 17"),
        Row("spec.imagePullSecret", "-x", "must be a secret's name"),
        Row("spec.imagePullSecrets", [["name": "x"]], "write imagePullSecret: NAME"),
        Row(
            "spec.environment", [["name": "A", "source": "sdk"]], "is required with source sdk: instance.ip",
            at: "spec.environment[0].key"),
        Row(
            "spec.environment", [["name": "A", "source": "sdk", "key": "instance.id"]], "did you mean instance.ip?",
            at: "spec.environment[0].key"),
        Row("spec.command", "run", "must be a list of strings, got \"run\""),
        Row("spec.command", [], "must not be empty"), Row("spec.args", [["x"]], "must be a string", at: "spec.args[0]"),
        Row("spec.workingDir", "srv", "an absolute path"), Row("spec.volumes", "a:/x", "must be a list of"),
        Row("spec.cap_add", ["CHOWN"], "write security.capabilities.add"),
        Row("spec.pullPolicy", "Sometimes", "one of IfNotPresent, Always, Never"),
        Row("spec.security.user", "root", "must not be root unless allowRoot"),
        Row("spec.security.user", 0, "must not be root unless allowRoot"),
        Row("spec.security.user", "a b", "uid[:gid]"),
        Row("spec.security.allowRoot", "yes", "must be true or false, got \"yes\""),
        Row("spec.security.addCapabilities", ["ALL"], "NET_BIND_SERVICE", at: "spec.security.addCapabilities[0]"),
        Row("spec.routing.hosts", [], "at least one host"),
        Row("spec.routing.hosts", ["a.b:80"], "without port", at: "spec.routing.hosts[0]"),
        Row("spec.routing.hosts", ["*.b"], "'*'", at: "spec.routing.hosts[0]"),
        Row("spec.routing.hosts", ["a", "A"], "must not repeat a host", at: "spec.routing.hosts[1]"),
        Row("spec.routing.pathPrefix", "a", "starts with '/'"), Row("spec.routing.pathPrefix", "/a;b", "letters"),
        Row("spec.routing.pathPrefix", "/a/../b", "without '..'"), Row("spec.routing.method", "rr", "least_conn"),
        Row("spec.routing.listenPort", 0, "1 to 65535"), Row("spec.routing.maxBodyBytes", "x", "bytes or \"20Mi\""),
        Row("spec.routing.readTimeoutSeconds", 0, "1 to 3600"),
        Row("spec.termination.drainSeconds", 3_601, "0 to 3600"),
        Row("spec.termination.gracePeriodSeconds", -1, "0 to 600"),
        Row("spec.rollout", ["surge": 0, "unavailable": 0], "above 0"), Row("spec.rollout.surge", 101, "0 to 100"),
        Row("spec.rollout.maxSurge", "101%", "a share such as \"25%\""),
        Row("spec.rollout.maxUnavailable", "5 %", "0 to 100"), Row("spec.rollout.minHealthySeconds", -1, "0 to 3600"),
        Row("spec.rollout", ["maxSurge": 1, "surge": 1], "means the same", at: "spec.rollout.surge"),
        Row("spec.rollout", ["maxSurge": "0%", "maxUnavailable": 0], "above 0"),
        Row(
            "spec.rollout", ["minHealthySeconds": 120], "above minHealthySeconds (120)",
            at: "spec.rollout.progressDeadlineSeconds"),
        Row("spec.rollout.strategy", "bluegreen", "rolling, canary"),
        Row("spec.rollout.release", [:], "is required", at: "spec.rollout.release.command"),
        Row("spec.rollout.release", ["command": []], "is required", at: "spec.rollout.release.command"),
        Row("spec.rollout.release", ["command": "migrate"], "strings", at: "spec.rollout.release.command"),
        Row(
            "spec.rollout.release", ["command": ["migrate"], "timeoutSeconds": 0], "1 to 86400",
            at: "spec.rollout.release.timeoutSeconds"),
        Row("spec.rollout", ["canary": ["weightPercent": 10]], "only for strategy canary", at: "spec.rollout.canary"),
        Row(
            "spec.rollout", ["strategy": "canary", "maxSurge": 0, "maxUnavailable": 1], "above 0 with strategy canary",
            at: "spec.rollout.maxSurge"),
        Row(
            "spec.rollout", ["strategy": "canary", "canary": ["weightPercent": 51]], "1 to 50",
            at: "spec.rollout.canary.weightPercent"),
        Row(
            "spec.rollout", ["strategy": "canary", "canary": ["maxErrorRatePct": 101]], "0 to 100",
            at: "spec.rollout.canary.maxErrorRatePct"),
        Row("spec.rollout.progressDeadlineSeconds", 0, "1 to 86400"),
        Row("scaling", [], "must be an object, got an empty list"), Row("scaling.mode", "off", "auto, manual"),
        Row("scaling.minReplicas", -1, "from 0 to 1000, got -1"), Row("scaling.maxReplicas", 1_001, "1 to 1000"),
        Row(
            "scaling", ["minReplicas": 5, "maxReplicas": 2], "at least minReplicas (5), got 2",
            at: "scaling.maxReplicas"),
        Row("scaling.idleSeconds", 9, "from 10 to 86400"), Row("scaling.holdSeconds", 301, "1 to 300"),
        Row("scaling.holdLimit", 0, "1 to 100000"),
        Row("scaling.targetRPSPerReplica", 0, "from 0.01 to 1000000, got 0"),
        Row("scaling.maxP95LatencyMs", -1, "got -1"), Row("scaling.maxCPUPercent", 101, "1 to 100"),
        Row(
            "scaling", ["maxCPUPercent": 50, "targetCPUUtilizationPercentage": 50], "means the same",
            at: "scaling.targetCPUUtilizationPercentage"),
        Row("scaling.scaleOutThresholdPct", 0, "1 to 100"), Row("scaling.scaleInThresholdPct", 81, "above"),
        Row("scaling.windowSeconds", 1, "2 to 3600"), Row("scaling.cooldownSeconds", 1.5, "whole number"),
        Row("scaling.tolerance.out", 0.6, "0 to 0.5"), Row("scaling.tolerance.up", 0, "known here: out, in"),
        Row("scaling.maxScaleInStep", 0, "1 to 1000"), Row("scaling.warmupSeconds", 3_601, "0 to 3600"),
        Row(
            "scaling.scaleOutPolicies", [["type": "pods", "value": 1, "periodSeconds": 1]], "instances, percent",
            at: "scaling.scaleOutPolicies[0].type"),
        Row(
            "scaling.scaleInPolicies", [["type": "percent", "value": 1]], "is required",
            at: "scaling.scaleInPolicies[0].periodSeconds"),
        Row("healthCheck", "x", "must be an object"), Row("healthCheck.path", "health", "starts with '/'"),
        Row("healthCheck.path", "/a b", "without spaces"), Row("healthCheck.protocol", "UDP", "one of HTTP, TCP"),
        Row("healthCheck.protocol", "TCP", "is only for protocol HTTP", at: "healthCheck.path"),
        Row("healthCheck.port", 65_536, "1 to 65535"), Row("healthCheck.method", "PUT", "GET, POST"),
        Row("healthCheck.body", "x", "only for method POST"), Row("healthCheck.periodSeconds", 0, "0.1 to 3600"),
        Row("healthCheck.timeoutSeconds", 301, "0.05 to 300"), Row("healthCheck.failureThreshold", 0, "1 to 100"),
        Row("healthCheck.initialDelaySeconds", -1, "0 to 3600"),
        Row(
            "healthCheck.headers", [["name": "A B", "value": ""]], "a header's name",
            at: "healthCheck.headers[0].name"),
        Row(
            "healthCheck.headers", [["name": "A", "value": "x\r\nB: c"]], "on one line",
            at: "healthCheck.headers[0].value"),
        Row("healthCheck.expectedStatusCodes", [99], "100 to 599", at: "healthCheck.expectedStatusCodes[0]"),
        // Unknown fields, and what they probably mean.
        Row("spec.imag", "x", "did you mean image?"), Row("spec.enviroment", [], "did you mean environment?"),
        Row("spec.healthCheck", [:], "beside spec"), Row("spec.foo", 1, "known here: type, image, ports"),
        Row("metadat", [:], "did you mean metadata?"), Row("bar", 2, "known here"),
        Row("image", "x", "belongs into spec"), Row("scaling.minReplcias", 2, "did you mean minReplicas?"),
        Row("scaling.MINREPLICAS", 2, "did you mean minReplicas?"), Row("scaling.cooldown", 2, "cooldownSeconds?"),
        Row(
            "healthCheck.expectedStatusCodes", ["6xx"], "must be a status, a range",
            at: "healthCheck.expectedStatusCodes[0]"),
        Row(
            "healthCheck.expectedStatusCodes", ["300-200"], "got \"300-200\"", at: "healthCheck.expectedStatusCodes[0]"),
        Row(
            "healthCheck", ["command": ["true"], "path": "/h"], "is only for protocol HTTP", at: "healthCheck.path"),
        Row("healthCheck", ["command": []], "must name a program", at: "healthCheck.command"),
        Row("healthCheck", ["command": "true"], "must be a list of strings", at: "healthCheck.command"),
        Row("healthCheck", ["protocol": "COMMAND"], "is required: the program", at: "healthCheck.command"),
        Row("healthCheck", ["command": ["a"], "port": 80], "is not for a command", at: "healthCheck.port"),
        Row(
            "healthCheck", ["protocol": "TCP", "command": ["a"]], "is only for protocol COMMAND",
            at: "healthCheck.command"),
        Row("healthCheck.exec", ["command": ["a"]], "write command directly"),
        Row("livenessCheck", ["path": "x"], "starts with '/'", at: "livenessCheck.path"),
        Row("livenessCheck", ["successThreshold": 2], "must be 1", at: "livenessCheck.successThreshold"),
        Row("livenessProbe", [:], "did you mean livenessCheck?"),
        Row("healthCheck.interval", 2, "did you mean periodSeconds?"),
    ]

    @Test(arguments: rows)
    func `one broken rule is one violation that names field, rule and value`(_ row: Row) {
        let document = Fixtures.document.with(row.path, row.value)
        let error = #expect(throws: ValidationError.self) { try AppSpec.parse(document) }
        #expect(error?.violations.map(\.field) == [row.field])
        #expect(error?.violations.first?.rule.contains(row.words) == true, "\(String(describing: error))")
    }

    @Test(arguments: [JSONValue.null, [], "x", 5])
    func `the document must be an object`(_ document: JSONValue) {
        let error = #expect(throws: ValidationError.self) { try AppSpec.parse(document) }
        #expect(error?.violations.map(\.field) == [""])
    }

    @Test func `all faults come in one answer`() {
        let error = #expect(throws: ValidationError.self) {
            try AppSpec.parse([
                "metadata": ["name": "Bad"],
                "spec": ["type": "http", "image": "X", "ports": [], "resources": ["cpu": "x"]],
                "scaling": ["minReplicas": -1, "typo": 1], "healthCheck": ["periodSeconds": 0],
            ])
        }
        #expect(
            Set(error?.violations.map(\.field) ?? []) == [
                "metadata.name", "spec.image", "spec.ports", "spec.resources.cpu", "scaling.minReplicas",
                "scaling.typo", "healthCheck.periodSeconds",
            ])
    }

    @Test func `only an app that is asked over HTTP may go to zero`() throws {
        let spec: JSONValue = ["type": "worker", "image": "w"]
        let error = #expect(throws: ValidationError.self) {
            try AppSpec.parse(["metadata": ["name": "w"], "spec": spec, "scaling": ["minReplicas": 0]])
        }
        #expect(error?.violations.map(\.field) == ["scaling.minReplicas"])
        #expect(error?.violations.first?.rule.contains("type http") == true)
        let web: JSONValue = ["type": "http", "image": "w", "ports": [["containerPort": 80]]]
        func policy(_ scaling: JSONValue) throws -> ScalingPolicy {
            try AppSpec.parse(["metadata": ["name": "w"], "spec": web, "scaling": scaling]).spec.scaling
        }
        let zero = try policy(["minReplicas": 0, "idleSeconds": 60, "holdSeconds": 10])
        #expect(zero.scaleToZero == .init(idleSeconds: 60, holdSeconds: 10, holdLimit: 1_000))
        #expect(zero.leastAwake == 1)
        #expect(try policy(["minReplicas": 1, "idleSeconds": 60]).scaleToZero == nil)
    }

    @Test func `a worker cannot be routed to, and probes need a port`() {
        let error = #expect(throws: ValidationError.self) {
            try AppSpec.parse([
                "metadata": ["name": "w"], "spec": ["type": "worker", "image": "w", "routing": ["hosts": ["w"]]],
                "healthCheck": ["path": "/h"],
            ])
        }
        #expect(error?.violations.map(\.field) == ["spec.routing", "healthCheck.port"])
    }

    @Test func `values of the environment are never repeated`() {
        let error = #expect(throws: ValidationError.self) {
            try AppSpec.parse(
                Fixtures.document.with(
                    "spec.environment", [["name": "K", "value": ["hunter2"]], ["name": "L", "value": "hunter2\u{0}"]]))
        }
        #expect(error?.violations.count == 2)
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func `a hostile document gets a short answer`() {
        let members = Dictionary(uniqueKeysWithValues: (0..<5_000).map { ("key\($0)", JSONValue.int(1)) })
        let error = #expect(throws: ValidationError.self) { try AppSpec.parse(.object(members)) }
        #expect(error?.violations.count == 101)
        #expect(error?.violations.last?.rule.contains("more rules") == true)
    }
}
