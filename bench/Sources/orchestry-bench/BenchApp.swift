import Foundation
import Measuring
import NIOCore
import NIOHTTP1
import NIOPosix
import OrchestryModel

/// An app of a bench's own on a running cluster.
struct BenchApp: Sendable {
    var name: String
    var client: ControlClient
    /// Answers / and /health.
    var image = "orchestry-demo:v1"
    var cpu = "50m"
    var memory = "64Mi"
    var drainSeconds = 6
    var scaling: JSONValue = ["mode": "manual", "minReplicas": 1, "maxReplicas": 10]

    /// The `Host` its requests carry.
    var host: String { "\(name).test" }
    var statusPath: String { "/apps/\(name)/status" }

    var document: JSONValue {
        [
            "apiVersion": "v1", "kind": "App", "metadata": ["name": .string(name)],
            "spec": [
                "type": "http", "image": .string(image),
                "ports": [["containerPort": 9010, "protocol": "HTTP"]],
                "resources": ["cpu": .string(cpu), "memory": .string(memory)],
                "routing": ["hosts": [.string(host)]],
                "termination": ["drainSeconds": JSONValue(drainSeconds), "gracePeriodSeconds": 5],
            ],
            "scaling": scaling,
            "healthCheck": ["path": "/health", "port": 9010, "periodSeconds": 1],
        ]
    }

    /// Registers it, starts it and waits for its first instance.
    func begin() async throws {
        progress("starting \(name)")
        try await register()
        try await client.send(.post, "/apps/\(name)/up")
        try await client.wait(for: "a ready instance of \(name)", at: statusPath, within: .seconds(60)) {
            ($0["ready_replicas"]?.intValue ?? 0) >= 1
        }
    }

    func register() async throws { try await client.send(.post, "/apps/register", document) }

    /// - Returns: the status once it is as asked for.
    @discardableResult
    func scale(to replicas: Int) async throws -> JSONValue {
        let status = try await client.send(.get, statusPath)
        if status["desired_replicas"]?.intValue != replicas {
            try await client.send(.post, "/apps/\(name)/scale", ["replicas": JSONValue(replicas)])
        }
        return try await settled(at: replicas)
    }

    /// Waits until as many instances are ready, and no other exists.
    @discardableResult
    func settled(at replicas: Int) async throws -> JSONValue {
        try await client.wait(for: "\(replicas) ready instances", at: statusPath, within: .seconds(180)) {
            $0["ready_replicas"]?.intValue == replicas && $0["instances"]?.arrayValue?.count == replicas
        }
    }

    /// Waits until every proxy leads to it: an app that has just begun is routed a little later than it is ready.
    func answers(through proxies: [Server]) async throws {
        for proxy in proxies {
            let deadline = ContinuousClock.now + .seconds(15)
            while true {
                let connection = try await KeptConnection.open(proxy, on: .singleton)
                defer { connection.close() }
                if try await connection.send(.get("/", host: host), within: .seconds(5)).status == 200 { break }
                guard ContinuousClock.now < deadline else { throw BenchFailure("\(name) does not answer at \(proxy)") }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    func delete() async {
        do { try await client.send(.delete, "/apps/\(name)") } catch { progress("the app \(name) is left: \(error)") }
    }

    /// Runs `body` on the app once it has an instance, and deletes the app whatever comes of it.
    func use<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            try await begin()
            let result = try await body()
            await delete()
            return result
        } catch {
            await delete()
            throw error
        }
    }
}

extension JSONValue {
    /// Of an app's status: its ready instances and when the agent found each ready, seconds since 1970 to a thousandth,
    /// by the clock of the instance's node.
    var readyTimes: [String: Double] {
        let instances = (self["instances"]?.arrayValue ?? []).filter { $0["state"]?.stringValue == "ready" }
        let pairs = instances.compactMap { instance in
            instance["instance"]?.stringValue.flatMap { name in
                instance["since"]?.doubleValue.map { (name, $0) }
            }
        }
        return Dictionary(pairs) { first, _ in first }
    }
}

/// Seconds since 1970, by this machine's clock: for comparing with what nodes on this machine say.
func wallSeconds() -> Double { Date().timeIntervalSince1970 }
