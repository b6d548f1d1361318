import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Apps in trouble on real parts. One cluster for all of them: their waits overlap.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && ToolsImage.isPossible,
        "needs PostgreSQL, nginx, a container engine and busybox-static: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct TroubledAppTests {
    @Test func `crashes wait ever longer, a retry does not, lack of memory is named, commands decide about health`()
        async throws
    {
        let failure = await ToolsImage.failure.value
        try #require(failure == nil)
        try await withCluster("trouble") { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[1]
            let crashing = tools("crash", command: ["/bin/sh", "-c", "echo the reason >&2; exit 3"])
            let commanded = tools(
                "alive", command: ["/bin/httpd", "-f", "-p", "9010", "-h", "/data"],
                checks: [
                    "healthCheck": [
                        "command": ["/bin/test", "-e", "/tmp/ready"], "periodSeconds": 0.5, "timeoutSeconds": 20,
                    ],
                    "livenessCheck": [
                        "command": ["/bin/sh", "-c", "! test -e /tmp/dead"], "periodSeconds": 0.5,
                        "timeoutSeconds": 20, "failureThreshold": 2,
                    ],
                ])
            for document in [crashing, commanded, Cluster.document("hungry")] {
                let answer = try await cluster.post("/apps/register", document, to: member)
                #expect(answer.status == 200, "\(answer.text)")
                let name = document["metadata"]?["name"]?.stringValue ?? ""
                #expect(try await cluster.post("/apps/\(name)/up", to: member).status == 200)
            }
            async let crashes: Void = expectBackOff(cluster, member)
            async let commands: Void = expectCommands(cluster, member)
            async let memory: Void = expectOutOfMemory(cluster, member)
            _ = try await (crashes, commands, memory)
        }
    }

    private func tools(_ name: String, command: JSONValue, checks: [String: JSONValue] = [:]) -> JSONValue {
        guard case .object(var members) = Cluster.document(name, image: ToolsImage.name),
            case .object(var spec)? = members["spec"]
        else { return .null }
        spec["command"] = command
        // Without a second one elsewhere that is tried meanwhile.
        spec["rollout"] = ["surge": 0, "unavailable": 1]
        members["spec"] = .object(spec)
        return .object(members.merging(checks) { $1 })
    }

    private struct Line {
        var kind: String
        var message: String
        var seconds: Double
        var details: JSONValue
    }

    /// Oldest first.
    private func events(of app: String, _ cluster: Cluster, _ member: Cluster.Member) async throws -> [Line] {
        let answer = try await cluster.get("/events?app=\(app)&limit=200", from: member)
        return (answer.json["events"]?.arrayValue ?? []).map {
            Line(
                kind: $0["event_type"]?.stringValue ?? "", message: $0["message"]?.stringValue ?? "",
                seconds: $0["timestamp"]?.doubleValue ?? 0, details: $0["details"] ?? .null)
        }.sorted { $0.seconds < $1.seconds }
    }

    private func instance(of app: String, _ cluster: Cluster, _ member: Cluster.Member) async throws -> JSONValue? {
        try await cluster.get("/apps/\(app)/status", from: member).json["instances"]?.arrayValue?.first
    }

    /// The wait that a crash-looping instance speaks of, in seconds.
    private func announcedWait(_ instance: JSONValue?) -> Double? {
        guard instance?["state"] == "crash-looping", let message = instance?["message"]?.stringValue,
            let range = message.range(of: "next attempt in ")
        else { return nil }
        return Double(message[range.upperBound...].prefix { $0 != " " })
    }

    private func expectBackOff(_ cluster: Cluster, _ member: Cluster.Member) async throws {
        var exits: [Line] = []
        try await eventuallyTrue("four crashes", within: .seconds(120)) {
            exits = try await events(of: "crash", cluster, member).filter { $0.kind == "instance_exited" }
            return exits.count >= 4
        }
        // 1 s, 2 s, 4 s, each from 80% on; what they take on top is the machine's.
        let gaps = zip(exits.dropFirst(), exits).prefix(3).map { $0.seconds - $1.seconds }
        print("crash loop: restarted \(gaps.map { String(format: "%.1f", $0) }.joined(separator: ", ")) s apart")
        for (gap, least) in zip(gaps, [0.8, 1.6, 3.2]) { #expect(gap >= least, "\(gaps)") }
        let first = try #require(exits.first)
        #expect(first.message.hasSuffix("exited: exit code 3"), "\(first.message)")
        #expect(first.details["exitCode"] == 3 && first.details["outOfMemory"] == false)
        #expect(first.details["lastLogLines"]?.arrayValue?.contains("the reason") == true, "\(first.details)")
        // The next wait is one of 6.4 to 8 s, or by now a longer one. On a machine so busy that it passes before the retry
        // arrives, the one after that is the test.
        try await eventuallyTrue("a retry that ends a wait before its time", within: .seconds(150)) {
            let waiting = try await instance(of: "crash", cluster, member)
            guard let wait = announcedWait(waiting), wait > 6, let since = waiting?["since"]?.doubleValue else {
                return false
            }
            #expect(waiting?["message"]?.stringValue?.hasPrefix("exit code 3; next attempt in ") == true)
            #expect((waiting?["restarts"]?.intValue ?? 0) >= 3 && waiting?["exit_code"] == 3, "\(waiting ?? "")")
            let retried = try await cluster.post("/apps/crash/retry", to: member)
            #expect(retried.status == 200, "\(retried.text)")
            var next = waiting
            try await eventuallyTrue("the end of the wait", within: .seconds(90)) {
                next = try await instance(of: "crash", cluster, member)
                return announcedWait(next) == nil
            }
            return (next?["since"]?.doubleValue ?? .infinity) - since < wait - 0.5
        }
        #expect(try await events(of: "crash", cluster, member).contains { $0.kind == "app_retried" })
        // Stopped, it frees the machine for the others.
        _ = try await cluster.post("/apps/crash/down", to: member)
    }

    private func expectOutOfMemory(_ cluster: Cluster, _ member: Cluster.Member) async throws {
        try await cluster.waitForReady("hungry", 1, via: member, deadline: .seconds(90))
        // It dies of it: whatever the proxy says then is no answer of the app's.
        #expect(try await cluster.app("hungry", "/eat?mb=200", via: member).status >= 500)
        try await eventuallyTrue("the cause in the events", within: .seconds(60)) {
            try await events(of: "hungry", cluster, member).contains {
                $0.kind == "instance_exited" && $0.message.hasSuffix("exit code 137, out of memory")
                    && $0.details["outOfMemory"] == true
            }
        }
        try await eventuallyTrue("another container, and the cause in the status", within: .seconds(60)) {
            let instance = try await instance(of: "hungry", cluster, member)
            return instance?["out_of_memory"] == true && instance?["state"] == "ready" && instance?["restarts"] != 0
        }
    }

    private func expectCommands(_ cluster: Cluster, _ member: Cluster.Member) async throws {
        try await eventuallyTrue("the command's failure in the status", within: .seconds(60)) {
            try await instance(of: "alive", cluster, member)?["message"]?.stringValue?.hasSuffix(
                "the command ended with 1") == true
        }
        #expect(try await cluster.app("alive", via: member).status == 503, "not ready: no traffic")
        let container = try #require(cluster.containers(of: "alive").values.first)
        try Cluster.docker(["exec", container, "touch", "/tmp/ready"])
        try await cluster.waitForReady("alive", 1, via: member, deadline: .seconds(90))
        try await eventuallyTrue("traffic", within: .seconds(60)) {
            try await cluster.app("alive", "/", via: member).status != 503
        }
        try Cluster.docker(["exec", container, "touch", "/tmp/dead"])
        try await eventuallyTrue("another container", within: .seconds(60)) {
            let now = try cluster.containers(of: "alive")
            return now.count == 1 && now.values.first != container
        }
        try await eventuallyTrue("the liveness check in the events", within: .seconds(60)) {
            try await events(of: "alive", cluster, member).contains {
                $0.kind == "instance_unhealthy"
                    && $0.message.hasSuffix("restarting: fails its liveness check: the command ended with 1")
            }
        }
    }
}
