import Foundation
import OrchestryModel
import Testing

struct ComposeTests {
    private static let compose = #"""
        name: shop
        x-common: &common
          restart: unless-stopped
          environment: {LOG: info, DEBUG: yes, TOKEN: "${TOKEN}", HOST_ONLY: }
        services:
          web_app:
            <<: *common
            image: shop:4.2
            build: .
            command: serve --title "my shop" --price $$5
            ports: ["8080:80", "127.0.0.1:9000:9000/tcp", "5353:53/udp"]
            volumes: ["uploads:/srv/uploads", "./src:/src", "/etc/ssl:/ssl:ro", {type: tmpfs, target: /cache, tmpfs: {size: 64m}}]
            healthcheck: {test: ["CMD", "curl", "-f", "http://localhost/"], interval: 1m30s, timeout: 500ms, retries: 5}
            depends_on: [db]
            networks: [front]
            read_only: true
            cap_add: [NET_BIND_SERVICE]
            stop_grace_period: 20s
            labels: ["team=web"]
            deploy:
              replicas: 3
              resources: {limits: {cpus: "0.5", memory: 512M}, reservations: {cpus: "0.1"}}
            quantum: true
          db:
            image: postgres:17
            user: root
            ports: ["5432"]
            volumes: [{type: volume, source: data, target: /var/lib/postgresql}]
          job:
            image: job:${TAG}
          local:
            build: ./local
        volumes: {uploads: , data: }
        networks: {front: }
        """#

    private func imported(_ text: String, _ arguments: [String] = []) async throws -> CommandLineRun {
        try await CommandLineRun.run(["import", "compose", "-"] + arguments, input: text)
    }

    @Test func `what is used becomes specs that pass a dry run`() async throws {
        let run = try await imported(Self.compose)
        #expect(run.exitCode == 0, "\(run.errors)")
        try await FakeServer.run(SpecCluster().answer) { server in
            let json = try await CommandLineRun.run(
                ["apply", "-", "-o", "json"], server: server.url, input: run.output)
            #expect(json.exitCode == 0, "\(json.errors)")
            let documents = server.plane.requests.compactMap { request -> JSONValue? in
                guard case .register(let document, _) = request.operation else { return nil }
                return document
            }
            #expect(documents.map { $0["metadata"]?["name"] } == ["db", "web-app"])
            let web: JSONValue = [
                "apiVersion": "v1", "kind": "App", "metadata": ["name": "web-app", "labels": ["team": "web"]],
                "spec": [
                    "type": "http", "image": "shop:4.2", "args": ["serve", "--title", "my shop", "--price", "$5"],
                    "ports": [["containerPort": 80], ["containerPort": 9000]],
                    "environment": [["name": "DEBUG", "value": "yes"], ["name": "LOG", "value": "info"]],
                    "volumes": [
                        ["type": "volume", "source": "uploads", "target": "/srv/uploads"],
                        ["type": "bind", "source": "/etc/ssl", "target": "/ssl", "readOnly": true],
                        ["type": "tmpfs", "target": "/cache", "size": 67_108_864],
                    ],
                    "security": [
                        "readOnlyRootFilesystem": true, "capabilities": ["add": ["NET_BIND_SERVICE"]],
                    ],
                    "resources": ["cpu": "500m", "memory": 536_870_912], "termination": ["gracePeriodSeconds": 20],
                ],
                "scaling": ["mode": "manual", "minReplicas": 3, "maxReplicas": 3],
                "healthCheck": [
                    "protocol": "COMMAND", "command": ["curl", "-f", "http://localhost/"], "periodSeconds": 90,
                    "timeoutSeconds": 0.5, "failureThreshold": 5,
                ],
            ]
            #expect(SpecDifference.between(web, and: documents.last ?? .null).map(\.json) == [])
            let database = documents.first
            #expect(database?["spec"]?["type"] == "tcp")
            #expect(database?["spec"]?["security"] == ["user": "root", "allowRoot": true])
        }
    }

    @Test func `every key is accounted for, by service`() async throws {
        let run = try await imported(Self.compose)
        let report = run.errors
        for line in [
            "  not used  build: images are pulled",
            "  not used  depends_on: ", "  not used  networks: ", "  not used  quantum: not known here",
            "  not used  environment.TOKEN: \"${TOKEN}\" holds a variable",
            "  not used  environment.HOST_ONLY: its value comes from the shell",
            "  used      environment: 2 of 4", "  not used  ports: 8080 on the host",
            "  not used  ports: 5353:53/udp: UDP is not available", "  not used  volumes: ./src:/src: a path beside",
            "  not used  deploy.resources.reservations: ", "  used      deploy.replicas: as minReplicas",
            "  changed   (name): the app is called web-app", "  used      restart: apps are always kept running",
            "local: no app", "job: no app", "  not used  image: \"job:${TAG}\" holds a variable",
            "  not used  image: there is none", "  not used  x-common: ", "  not used  name: ",
        ] {
            #expect(report.contains(line), "\(line)\n\(report)")
        }
        // Each key of the service that has most has a line of its own, or begins one.
        let keys = [
            "image", "build", "command", "ports", "volumes", "healthcheck", "depends_on", "networks", "read_only",
            "cap_add", "stop_grace_period", "labels", "deploy", "quantum", "restart", "environment",
        ]
        let section = report.components(separatedBy: "web_app:\n").last?.components(separatedBy: "\n(the file)").first
        for key in keys {
            let isTold = section?.split(separator: "\n").contains { $0.dropFirst(12).hasPrefix(key) } == true
            #expect(isTold, "\(key) is not accounted for")
        }
    }

    /// Each key that this service has and no spec has words for; and what it is called in the report.
    private static let strange: [(key: String, told: String)] = [
        ("cap_add: NET_ADMIN", "cap_add: it must be a list"), ("cap_add: [[A]]", "cap_add: it must be a text"),
        ("environment: [{A: b}]", "environment: {"), ("environment: x", "environment: it must be a map or a list"),
        ("expose: 80", "expose: it must be a list"), ("expose: ['80-90']", "expose: 80-90: no port"),
        ("ports: ['${PORT}:80', '80-90:80-90', '81']", "ports: \"${PORT}:80\" holds a variable"),
        ("ports: ['80-90:80-90', '81']", "ports: 80-90:80-90: no port"),
        ("ports: [{target: 81, mode: host}]", "ports.mode: not available"),
        ("ports: [{published: 81}]", "ports: {"),
        ("tmpfs: [{a: b}]", "tmpfs: it must be a text"), ("tmpfs: '/run:mode=700'", "tmpfs: /run:mode=700: mode=700"),
        ("volumes: [{type: tmpfs, target: /run, tmpfs: {mode: 700}}]", "volumes.tmpfs.mode: not available"),
        ("volumes: [{type: volume, source: a, target: /a, volume: {nocopy: true}}]", "volumes: {"),
        ("volumes: [/data]", "volumes: /data: an anonymous volume"),
        ("healthcheck: {test: [CMD, a], start_interval: 1s}", "healthcheck.start_interval: not available"),
        ("healthcheck: {test: [CMD, a], retries: many}", "healthcheck.retries: many is not a number"),
        ("healthcheck: {test: [CMD, a], interval: often}", "healthcheck.interval: often is not a duration"),
        ("healthcheck: x", "healthcheck: it must be a map"),
        ("healthcheck: {interval: 5s}", "healthcheck: it has no test"),
        ("deploy: x", "deploy: it must be a map"), ("deploy: {mode: global}", "deploy.mode: not available"),
        ("deploy: {resources: {limits: {devices: [a]}}}", "deploy.resources.limits.devices: not available"),
        ("deploy: {replicas: 0}", "deploy.replicas: 0: must be 1 to 1000"),
        ("logging: {driver: syslog}", "logging: the driver syslog"),
        ("logging: {driver: json-file, options: {tag: a}}", "logging.options.tag: not available"),
        ("logging: x", "logging: it must be a map"), ("labels: x", "labels: it must be a map or a list"),
        ("labels: {a: }", "labels.a: it has no value"), ("restart: 'no'", "restart: no: an app is always kept running"),
        ("pull_policy: daily", "pull_policy: daily has no counterpart"), ("cpus: many", "cpus: not a number"),
        ("mem_limit: 1x", "mem_limit: not a size"), ("pids_limit: x", "pids_limit: not a number"),
        ("stop_grace_period: soon", "stop_grace_period: not a duration"),
        ("read_only: 2", "read_only: it must be true"),
        ("command: \"a 'b\"", "command: a quote"), ("command: [$A]", "command: it holds a variable"),
        ("entrypoint: []", "entrypoint: it is empty"), ("working_dir: [a]", "working_dir: it must be a text"),
        ("networks: ", "networks: it is empty"), ("env_file: .env", "env_file: the file is not read"),
        ("x-own: 1", "x-own: an extension"),
    ]

    @Test func `what has no counterpart, or makes no sense, is said and not dropped`() async throws {
        let services = Self.strange.enumerated().map { "  s\($0): {image: i:1, \($1.key)}\n" }.joined()
        let run = try await imported("services:\n" + services)
        let sections = run.errors.split(separator: "\n", omittingEmptySubsequences: false)
        for (number, row) in Self.strange.enumerated() {
            let lines = sections.drop { $0 != "s\(number):" }.dropFirst().prefix { $0.hasPrefix("  ") }
            #expect(lines.contains { $0.hasPrefix("  not used  \(row.told)") }, "\(row.key)\n\(Array(lines))")
        }
    }

    @Test func `a folder of files, none overwritten`() async throws {
        try await CommandLineRun.withFolder { folder in
            let to = folder.appendingPathComponent("deploy").path
            let text = "services: {a: {image: a:1}, b: {image: b:1, ports: [80]}}"
            let first = try await imported(text, ["--to", to])
            #expect(first.exitCode == 0, "\(first.errors)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: to).sorted() == ["a.yaml", "b.yaml"])
            #expect(try await imported(text, ["--to", to]).exitCode == 1)
            #expect(try await imported(text, ["--to", to, "--overwrite"]).exitCode == 0)
        }
    }

    @Test func `what would be refused is not written`() async throws {
        let run = try await imported("services: {a: {image: 'UPPER', cpus: '99', ports: ['80']}}")
        #expect(run.exitCode == 1)
        #expect(run.output == "")
        #expect(run.errors.contains("a: spec.image: must be an image reference"), "\(run.errors)")
        #expect(run.errors.contains("a: spec.resources.cpu: must be"), "\(run.errors)")
    }

    @Test(arguments: ["", "a: 1", "services: {}", "services: []", "a: [", "services: {a: {image: x}}\n---\nb: 1"])
    func `no compose file is wrong usage`(_ text: String) async throws {
        let run = try await imported(text)
        #expect(run.exitCode == 2, "\(run.output)")
        #expect(run.errors.contains("Error: "))
    }
}
