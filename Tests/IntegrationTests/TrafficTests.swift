import Foundation
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// Real nodes under tshark, with `proto-spec/dissector/orchestry.lua`.
@Suite(
    .serialized,
    .enabled(if: captureExpected, "needs tshark, root, PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(4)))
struct TrafficTests {
    /// A capture of what three nodes say while `body` runs; `check` gets what `body` returns, too.
    private func captured<Value>(
        _ label: String, _ security: Cluster.Security, _ body: (Cluster) async throws -> Value,
        then check: (Cluster, TrafficCapture, Value) async throws -> Void
    ) async throws {
        nonisolated(unsafe) var capture: TrafficCapture?  // Written before the body runs, by the same task.
        do {
            try await withCluster(
                label, .init(security: security), beforeStart: { capture = try await TrafficCapture($0) }
            ) {
                cluster in
                let value = try await body(cluster)
                let capture = try #require(capture)
                try await capture.stop()
                try await check(cluster, capture, value)
            }
        } catch {
            capture?.kill()
            throw error
        }
    }

    /// Runs an instance on every node. While a new leader does not know yet what the others can carry, it places on itself.
    private func spread(_ app: String, via member: Cluster.Member, _ cluster: Cluster) async throws {
        for _ in 1...5 {
            for count in [1, 3] {
                let answer = try await cluster.post("/apps/\(app)/scale", ["replicas": .int(Int64(count))], to: member)
                #expect(answer.status == 200, "\(answer.text)")
                try await cluster.waitForReady(app, count, via: member)
            }
            let status = try await cluster.get("/apps/\(app)/status", from: member).json
            let nodes = Set(status["instances"]?.arrayValue?.compactMap { $0["node"]?.stringValue } ?? [])
            if nodes.count == 3 { return }
        }
        throw TestFailure("\(app) does not run on all three nodes")
    }

    /// Makes a cluster say all it has to say: an app's life, forwarded requests, logs, a change of leader.
    /// - Returns: epochs that REST reported.
    private func live(_ cluster: Cluster) async throws -> [Int64] {
        let leader = try await cluster.settledLeader()
        let follower = try #require(cluster.members.first { $0.id != leader })
        #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: follower).status == 200)
        try await spread("web", via: follower, cluster)
        #expect(try await cluster.get("/apps/web/logs", from: follower).json["total_containers"] == 3)
        // An event of each agent's own.
        try Cluster.docker(["kill"] + cluster.containers(of: "web").values)
        try await eventuallyTrue("every agent's event is stored") {
            let events = try await cluster.get("/events?limit=200", from: follower).json["events"]?.arrayValue ?? []
            return events.count { $0["event_type"] == "instance_restarted" } == 3
        }
        try await cluster.waitForReady("web", 3, via: follower)
        #expect(try await cluster.post("/apps/web/scale", ["replicas": 1], to: follower).status == 200)
        try await cluster.waitForReady("web", 1, via: follower)
        let stepsDown = try await cluster.settledLeader()
        let before = try await cluster.get("/cluster/status", from: follower).json["term"]?.intValue
        #expect(try await cluster.post("/cluster/step-down", to: follower).status == 200)
        try await eventuallyTrue("another than \(stepsDown) leads") { try await cluster.leader() != stepsDown }
        try await eventuallyTrue("its events are stored") {
            let events = try await cluster.get("/events?limit=200", from: follower).json["events"]?.arrayValue ?? []
            return events.count { $0["event_type"] == "leader_elected" } >= 2
        }
        _ = try await cluster.settledLeader()
        let after = try await cluster.get("/cluster/status", from: follower).json["term"]?.intValue
        return [try Int64(#require(before)), try Int64(#require(after))]
    }

    @Test func `what three nodes say is dissected without a remainder`() async throws {
        try await captured("traffic", .plain, live) { cluster, capture, reported in
            let packets = try await capture.packets(
                ["malformed", "epoch", "sent_at", "frame_bytes", "request_in", "response_in", "response_time"])
            #expect(packets.flatMap { $0["malformed"] }.isEmpty)
            let warnings = try await capture.read(["-Y", "orchestry.expert.unexpected or _ws.lua.error"])
            #expect(warnings.isEmpty, "\(warnings.prefix(1_000))")

            let counts = packets.flatMap(\.names).reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
            print("messages dissected: \(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })")
            for name in [
                "Hello", "HelloChallenge", "HelloProof", "HelloAccepted", "Heartbeat", "HeartbeatAck", "VoteRequest",
                "VoteReply", "Released", "Inventory", "InstanceCommand", "InstanceStatus", "RoutingTable",
                "RoutingAck", "SampleBatch", "EventBatch", "EventAck", "ForwardRequest", "ForwardResponse",
                "LogRequest", "LogChunk", "Ping", "Pong",
            ] {
                #expect(counts[name, default: 0] > 0, "no \(name) among \(counts)")
            }
            // Three pairs, two connections each.
            #expect(counts["Hello"] == 6 && counts["HelloAccepted"] == 6)

            try await compareWithDecoder(packets, capture)
            try checkElection(packets, reported, stored: cluster.lease().epoch)
            checkReplies(packets)
        }
    }

    /// The same frames, read by `WireProtocol` from the bytes of each stream.
    private func compareWithDecoder(_ packets: [TrafficCapture.Packet], _ capture: TrafficCapture) async throws {
        let streams = Set(packets.map(\.stream))
        #expect(streams.count == 6)
        for stream in streams.sorted() {
            let frames = try await capture.frames(ofStream: stream).flatMap { $0 }
            let decoded = frames.map { name(of: $0.type) }.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
            let dissected = packets.filter { $0.stream == stream }.flatMap(\.names)
                .reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
            #expect(dissected == decoded, "stream \(stream)")
            for frame in frames { _ = try Message(frame) }
        }
    }

    private func name(of type: MessageType) -> String {
        let name = String(describing: type)
        return name.prefix(1).uppercased() + name.dropFirst()
    }

    /// - Parameters:
    ///   - reported: epochs that the nodes told their users.
    ///   - stored: the last one in PostgreSQL.
    private func checkElection(_ packets: [TrafficCapture.Packet], _ reported: [Int64], stored: Int64) throws {
        // Packets with one message only, so that its fields are the packet's.
        let beats = packets.filter { $0.names == ["Heartbeat"] }
        let acks = packets.filter { $0.names == ["HeartbeatAck"] }
        #expect(beats.count > 20 && acks.count > 20)
        let epochs = Set(beats.flatMap { $0["epoch"] }.compactMap { Int64($0) })
        #expect(epochs.isSuperset(of: reported) && reported.last == stored && reported.first != stored, "\(reported)")
        // At the start there may have been others, which nobody had time to report.
        #expect(epochs.max() == stored && epochs.min() ?? 0 >= 1, "\(epochs)")
        let sent = Set(packets.filter { $0.names.contains("Heartbeat") }.flatMap { $0["sent_at"] })
        for ack in acks {
            #expect(sent.isSuperset(of: ack["sent_at"]), "packet \(ack.number) echoes nothing that was sent")
            #expect(ack["request_in"].count == 1, "packet \(ack.number)")
        }
        let bytes = (beats + acks).flatMap { $0["frame_bytes"] }.compactMap(Int.init)
        let (shortest, longest) = (try #require(bytes.min()), try #require(bytes.max()))
        print("Heartbeat and HeartbeatAck on the wire: \(shortest) to \(longest) bytes")
        #expect(longest <= 32)
    }

    private func checkReplies(_ packets: [TrafficCapture.Packet]) {
        for (request, reply) in [
            ("ForwardRequest", "ForwardResponse"), ("EventBatch", "EventAck"), ("LogRequest", "LogChunk"),
        ] {
            let asked = packets.filter { $0.names == [request] }
            #expect(!asked.isEmpty, "no \(request) in a packet of its own")
            for packet in asked {
                let answer = packet["response_in"].first.flatMap { number in
                    packets.first { $0.number == Int(number) }
                }
                #expect(
                    answer?.names.contains { $0 == reply || $0 == "Error" } == true,
                    "\(request) in packet \(packet.number)")
                if let answer, answer.names.count == 1 {
                    #expect(answer["request_in"] == [String(packet.number)])
                    #expect(answer["response_time"].compactMap(Double.init).allSatisfy { $0 >= 0 && $0 < 10 })
                }
            }
        }
    }

    @Test func `TLS traffic is dissected with the key log and without it says nothing`() async throws {
        try await captured(
            "keylog", .loggedTLS,
            { cluster in
                let leader = try await cluster.leader()
                let follower = try #require(cluster.members.first { $0.id != leader })
                #expect(try await cluster.post("/apps/register", Cluster.document("web"), to: follower).status == 200)
                // Which takes heartbeats and their answers.
                let expiry = try cluster.leaseExpiry()
                try await eventuallyTrue("the lease is renewed") { try cluster.leaseExpiry() > expiry }
            },
            then: { cluster, capture, _ in
                #expect(try await capture.packets([]).isEmpty)
                let keys = try cluster.members.map {
                    try String(contentsOfFile: $0.folder + "/keylog", encoding: .utf8)
                }
                let file = cluster.folder.appending("keylog")
                try keys.joined().write(toFile: file, atomically: true, encoding: .utf8)
                let ports = cluster.members.map { "\($0.clusterPort)" }.joined(separator: ",")
                let packets = try await capture.packets(
                    ["malformed"], options: ["tls.keylog_file:\(file)", "orchestry.ports:\(ports)"])
                let names = Set(packets.flatMap(\.names))
                #expect(
                    names.isSuperset(of: ["Hello", "HelloAccepted", "Heartbeat", "HeartbeatAck", "ForwardRequest"]),
                    "\(names)")
                #expect(names.isDisjoint(with: ["HelloChallenge", "HelloProof"]), "\(names)")
                #expect(packets.flatMap { $0["malformed"] }.isEmpty)
            })
    }
}
