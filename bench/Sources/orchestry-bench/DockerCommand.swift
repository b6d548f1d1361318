import Foundation
import Measuring
import OrchestryModel

/// The engine's own command line, for baselines.
enum DockerCommand {
    /// The options for `docker run` that make a container like this one: limits, privileges, user, network, logging,
    /// environment and labels. Not its name, address and host name.
    /// - Parameter document: of `docker inspect`.
    /// - Returns: without program, image and command.
    static func options(like document: JSONValue, labelPrefix: String) -> [String] {
        let host = document["HostConfig"] ?? .null
        let config = document["Config"] ?? .null
        var options: [String] = []
        func text(_ name: String, _ key: String, in object: JSONValue) {
            if let value = object[key]?.stringValue, !value.isEmpty { options += [name, value] }
        }
        func number(_ name: String, _ key: String) {
            if let value = host[key]?.intValue, value > 0 { options += [name, String(value)] }
        }
        func list(_ name: String, _ key: String, in object: JSONValue) {
            for value in object[key]?.arrayValue ?? [] { value.stringValue.map { options += [name, $0] } }
        }
        text("--network", "NetworkMode", in: host)
        text("--user", "User", in: config)
        number("--cpu-period", "CpuPeriod")
        number("--cpu-quota", "CpuQuota")
        number("--cpu-shares", "CpuShares")
        number("--memory", "Memory")
        number("--memory-swap", "MemorySwap")
        number("--pids-limit", "PidsLimit")
        list("--security-opt", "SecurityOpt", in: host)
        list("--cap-drop", "CapDrop", in: host)
        list("--cap-add", "CapAdd", in: host)
        if host["ReadonlyRootfs"]?.boolValue == true { options.append("--read-only") }
        if host["Init"]?.boolValue == true { options.append("--init") }
        for (path, mount) in (host["Tmpfs"]?.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
            options += ["--tmpfs", "\(path):\(mount.stringValue ?? "")"]
        }
        text("--log-driver", "Type", in: host["LogConfig"] ?? .null)
        for (key, value) in (host["LogConfig"]?["Config"]?.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
            options += ["--log-opt", "\(key)=\(value.stringValue ?? "")"]
        }
        list("--env", "Env", in: config)
        for (key, value) in (config["Labels"]?.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
            // Under other names: a node would take a container with its own labels for a stray one and remove it.
            options += ["--label", "\(labelPrefix)\(key)=\(value.stringValue ?? "")"]
        }
        return options
    }

    /// `docker inspect` of one container.
    static func inspect(_ container: String) async throws -> JSONValue {
        let text = try await Measuring.run(["docker", "inspect", container])
        guard let document = try JSONValue(json: Array(text.utf8)).arrayValue?.first else {
            throw BenchFailure("docker inspect \(container) shows nothing")
        }
        return document
    }

    /// Removes all containers with this label, running or not.
    static func removeAll(label: String) async throws {
        let ids = try await Measuring.run(["docker", "ps", "-aq", "--no-trunc", "--filter", "label=\(label)"])
            .split(separator: "\n").map(String.init)
        if !ids.isEmpty { _ = try await Measuring.run(["docker", "rm", "-f"] + ids) }
    }

    /// Starts `count` containers, at most `parallel` commands at the same time.
    /// - Parameter arguments: of `docker run -d`, image and command included.
    /// - Returns: their ids, and the seconds until the last command returned.
    static func start(
        _ count: Int, parallel: Int, _ arguments: [String]
    ) async throws -> (ids: [String], seconds: Double) {
        let begin = ContinuousClock.now
        let ids = try await withThrowingTaskGroup(of: String.self) { group in
            var ids: [String] = []
            for number in 0..<count {
                if number >= parallel, let id = try await group.next() { ids.append(id) }
                group.addTask {
                    try await Measuring.run(["docker", "run", "-d"] + arguments)
                        .trimmingCharacters(in: .whitespacesAndNewlines)
                }
            }
            for try await id in group { ids.append(id) }
            return ids
        }
        return (ids, (ContinuousClock.now - begin) / .seconds(1))
    }
}
