import Foundation
import NodeConfiguration
import OrchestryModel
import SecretSealing
import Testing

struct NodeConfigurationTests {
    static let minimal = [
        "ORCHESTRY_NODE_ID": "controller-1", "ORCHESTRY_CLUSTER_TLS_CA": "/c/ca.pem",
        "ORCHESTRY_CLUSTER_TLS_CERTIFICATE": "/c/n.pem", "ORCHESTRY_CLUSTER_TLS_KEY": "/c/n.key",
    ]

    private func withFile(_ yaml: String, _ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("config-\(UUID()).yaml").path
        try yaml.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }  // A left-over temporary file harms nobody.
        try await body(path)
    }

    @Test func `defaults are the documented ones`() async throws {
        let configuration = try await NodeConfiguration.load(file: nil, environment: Self.minimal)
        #expect(configuration.heartbeatInterval == .milliseconds(100))
        #expect(configuration.promise == .milliseconds(500))
        #expect(configuration.leaseTTL == .seconds(5))
        #expect(configuration.apiPort == 8000)
        #expect(configuration.controllers.keys.map(\.rawValue) == ["controller-1"])
        #expect(configuration.engineNetwork == "orchestry-orchestry")
    }

    @Test func `the environment wins over the file, the file over defaults`() async throws {
        let yaml = """
            node: {id: from-file}
            api: {port: 9001, host: 127.0.0.9}
            leadership: {promise: 1s}
            """
        try await withFile(yaml) { path in
            var environment = Self.minimal
            environment["ORCHESTRY_API_PORT"] = "9002"
            let configuration = try await NodeConfiguration.load(file: path, environment: environment)
            #expect(configuration.apiPort == 9002)
            #expect(configuration.apiHost == "127.0.0.9")
            #expect(configuration.promise == .seconds(1))
            #expect(configuration.node.id.rawValue == "controller-1")
            let layers = try await ConfigurationLayers(file: path, environment: environment)
            #expect(layers.entries["api.port"]?.source == "environment ORCHESTRY_API_PORT")
            #expect(layers.entries["api.host"]?.source == "file \(path)")
            #expect(layers.entries["cluster.port"]?.source == "default")
        }
    }

    @Test func `the original's names work, ours win over them`() async throws {
        var environment = Self.minimal
        environment["ORCHESTRY_NODE_ID"] = nil
        environment["CLUSTER_NODE_ID"] = "from-original"
        environment["POSTGRES_HOST"] = "db.example"
        environment["POSTGRES_PASSWORD"] = "it's a \\ secret"
        environment["ORCHESTRY_PORT"] = "8123"
        let first = try await NodeConfiguration.load(file: nil, environment: environment)
        #expect(first.node.id.rawValue == "from-original")
        #expect(first.apiPort == 8123)
        #expect(first.postgresConnection.contains("host='db.example'"))
        #expect(first.postgresConnection.contains("password='it\\'s a \\\\ secret'"))
        environment["ORCHESTRY_API_PORT"] = "8124"
        #expect(try await NodeConfiguration.load(file: nil, environment: environment).apiPort == 8124)
    }

    @Test func `every problem is named in one message, with where it came from`() async throws {
        let yaml = """
            node: {id: "Not A Label"}
            api: {prot: 1, port: 99999}
            leadership: {promise: soon}
            nonsense: {x: 1}
            cluster: {peers: ["a=h:1", "b"]}
            """
        try await withFile(yaml) { path in
            let error = await #expect(throws: ConfigurationError.self) {
                _ = try await NodeConfiguration.load(file: path, environment: ["ORCHESTRY_API_HOTS": "x"])
            }
            let text = try #require(error).description
            for part in [
                "node.id (file \(path)) must be a DNS label", "api.prot in \(path) is not a setting",
                "api.port (file \(path)) must be a whole number from 1 to 65535, got '99999'",
                "leadership.promise (file \(path)) must be a number with a unit",
                "nonsense.x in \(path) is not a setting",
                "'b' must have the form id=host:port", "environment variable ORCHESTRY_API_HOTS is not a setting",
                "cluster.tls_ca must be set",
            ] {
                #expect(text.contains(part), "missing: \(part)\nin: \(text)")
            }
        }
    }

    @Test func `secrets are masked, durations parse in every unit`() async throws {
        var environment = Self.minimal
        environment["POSTGRES_PASSWORD"] = "hunter2"
        let layers = try await ConfigurationLayers(file: nil, environment: environment)
        #expect(layers.entries["postgres.password"]?.shown == "********")
        for (text, expected) in [
            ("250ms", Duration.milliseconds(250)), ("2s", .seconds(2)), ("1m", .seconds(60)), ("3", .seconds(3)),
        ] {
            environment["ORCHESTRY_API_LEADER_WAIT"] = text
            let wait = try? await NodeConfiguration.load(file: nil, environment: environment).dynamic.leaderWait
            #expect(wait == expected)
        }
    }

    @Test func `an API without authentication leaves loopback only when told to`() async throws {
        var environment = Self.minimal
        environment["ORCHESTRY_API_HOST"] = "0.0.0.0"
        let error = await #expect(throws: ConfigurationError.self) {
            _ = try await NodeConfiguration.load(file: nil, environment: environment)
        }
        #expect(
            try #require(error).description.contains(
                "api.host must be a loopback address with auth.mode off, got '0.0.0.0'"))
        environment["ORCHESTRY_API_ALLOW_UNAUTHENTICATED"] = "true"
        #expect(try await NodeConfiguration.load(file: nil, environment: environment).apiHost == "0.0.0.0")
    }

    @Test func `the proxy's edge`() async throws {
        let plain = try await NodeConfiguration.load(file: nil, environment: Self.minimal)
        #expect(plain.proxyHTTPSPort == nil && plain.proxyAPIHost == nil && plain.proxyAPIPort == nil)
        #expect(plain.proxyTrusted.isEmpty && plain.proxyShutdownTimeout == .seconds(3600))
        var environment = Self.minimal
        environment["ORCHESTRY_PROXY_HTTPS_PORT"] = "8443"
        environment["ORCHESTRY_PROXY_TRUSTED_PROXIES"] = "10.0.0.0/24, fd00::1"
        environment["ORCHESTRY_PROXY_API_HOST"] = "Orchestry.Local"
        environment["ORCHESTRY_PROXY_API_PORT"] = "8001"
        let full = try await NodeConfiguration.load(file: nil, environment: environment)
        #expect(full.proxyHTTPSPort == 8443 && full.proxyAPIPort == 8001 && full.proxyAPIHost == "orchestry.local")
        #expect(full.proxyTrusted.map(\.rawValue) == ["10.0.0.0/24", "fd00::1"])

        environment["ORCHESTRY_PROXY_HOST"] = "0.0.0.0"
        environment["ORCHESTRY_PROXY_HTTPS_PORT"] = "8080"
        environment["ORCHESTRY_PROXY_TRUSTED_PROXIES"] = "everybody"
        environment["ORCHESTRY_PROXY_API_HOST"] = "a b"
        let error = await #expect(throws: ConfigurationError.self) {
            _ = try await NodeConfiguration.load(file: nil, environment: environment)
        }
        let text = try #require(error).description
        for part in [
            "proxy.api_host and proxy.api_port open the API", "proxy.https_port must be another port than proxy.port",
            "'everybody' must be an address or a network", "must be a host name without port, got 'a b'",
        ] { #expect(text.contains(part), "missing: \(part)\nin: \(text)") }
    }

    @Test func `the example in configs is good`() async throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../configs/orchestryd.yaml").path
        let configuration = try await NodeConfiguration.load(file: path, environment: [:])
        #expect(configuration.controllers.count == 3)
        #expect(configuration.endpointMode == .published)
    }

    @Test func `a worker needs its controllers, and no PostgreSQL`() async throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../configs/worker.yaml").path
        let example = try await NodeConfiguration.load(file: path, environment: [:])
        #expect(example.node.role == .worker && example.controllers.count == 3)

        var environment = Self.minimal
        environment["ORCHESTRY_NODE_ROLE"] = "worker"
        for (peers, problems) in [
            ("", ["cluster.peers must list the controllers of this worker"]),
            (
                "controller-1=a:1",
                ["cluster.peers lists only controllers, and controller-1 is a worker (node.role)"]
            ),
            ("a=a:1,b=b:1", ["cluster.peers must list 1, 3 or 5 controllers, got 2"]),
        ] {
            environment["ORCHESTRY_CLUSTER_PEERS"] = peers
            let error = await #expect(throws: ConfigurationError.self) {
                _ = try await NodeConfiguration.load(file: nil, environment: environment)
            }
            #expect(error?.problems == problems)
        }
    }

    @Test func `the key file is read, and what is wrong with it said`() async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("keys-\(UUID())").path
        defer { try? FileManager.default.removeItem(atPath: path) }  // As above.
        _ = try SecretKeyFile.addKey(to: path)
        var environment = Self.minimal
        #expect(try await NodeConfiguration.load(file: nil, environment: environment).secretKeys == nil)
        environment["ORCHESTRY_SECRETS_KEY_FILE"] = path
        #expect(try await NodeConfiguration.load(file: nil, environment: environment).secretKeys != nil)
        environment["ORCHESTRY_SECRETS_KEY_FILE"] = path + "-none"
        let error = await #expect(throws: ConfigurationError.self) {
            try await NodeConfiguration.load(file: nil, environment: environment)
        }
        #expect(error?.problems.contains { $0.hasPrefix("secrets.key_file: ") } == true)
    }
}
