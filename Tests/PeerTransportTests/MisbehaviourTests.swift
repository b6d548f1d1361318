import NIOCore
import NIOPosix
import OrchestryModel
import PeerTransport
import Testing
import WireProtocol

/// Peers that are not what they should be. Each time: a reason in the log, the connection closed, the node unharmed.
@Suite struct MisbehaviourTests {
    @Test(arguments: [true, false]) func `garbage on the port closes the connection`(_ isTLS: Bool) async throws {
        try await Fixture.run { fixture in
            let node =
                try await isTLS
                ? fixture.started("node-b", security: fixture.certificate("node-b")) : fixture.started("node-b")
            var random = SystemRandomNumberGenerator()
            let noise = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }
            for bytes in [Array("GET / HTTP/1.1\r\n\r\n".utf8), noise, Array(repeating: 0, count: 100)] {
                let raw = try await RawPeer(port: node.transport.boundPort)
                try await raw.send(bytes: bytes)
                try await eventually("closed") { raw.isClosed }
            }
            try await eventually("logged", node.log.all) {
                node.log.count("Incoming connection ended before it was accepted") == 3
            }
            #expect(node.recorder.seen.isEmpty)
            let good =
                try await isTLS
                ? fixture.started("node-a", peers: [node], security: fixture.certificate("node-a"))
                : fixture.started("node-a", peers: [node])
            try await eventually("a good peer connects") { node.isConnected(to: good) }
        }
    }

    @Test func `a frame too long for a Hello is refused with the reason`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let raw = try await RawPeer(port: node.transport.boundPort)
            try await raw.send(bytes: [0, 0, 4, 1])  // 1,025 bytes announced, none sent.
            #expect(try await raw.next()?.message.errorCode == .frameTooLong)
            try await eventually("closed") { raw.isClosed }
        }
    }

    @Test func `who says nothing is not waited for`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.timing.helloTimeout = .milliseconds(200) }
            let raw = try await RawPeer(port: node.transport.boundPort)
            #expect(try await raw.next()?.message.errorCode == .helloTimeout)
            try await eventually("closed") { raw.isClosed }
        }
    }

    @Test func `too many strangers at once are turned away`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.handshakeLimit = 3 }
            var strangers: [RawPeer] = []
            for _ in 0..<3 { strangers.append(try await RawPeer(port: node.transport.boundPort)) }
            // Accepting is not in step with connecting: those three come first only once they are seen.
            var turnedAway: RawPeer?
            try await eventually("one is turned away") { turnedAway != nil || strangers.count == 3 }
            turnedAway = try await RawPeer(port: node.transport.boundPort)
            strangers.append(try #require(turnedAway))
            try await eventually("one is closed") { strangers.contains { $0.isClosed } }
            #expect(strangers.count { $0.isClosed } == 1)
        }
    }

    @Test(arguments: [
        ("node-c", "test", NodeInfo.Role.controller, ErrorCode.wrongDirection),
        ("node-a", "other", .controller, .clusterMismatch), ("node-b", "test", .controller, .duplicateNode),
    ])
    func `a Hello that does not fit is refused`(
        _ name: String, _ cluster: String, _ role: NodeInfo.Role, _ code: ErrorCode
    ) async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let raw = try await RawPeer(port: node.transport.boundPort)
            let info = NodeInfo(id: NodeID(unchecked: name), role: role, host: "", clusterPort: 0, apiURL: "")
            try await raw.send(
                .hello(
                    Hello(
                        cluster: ClusterID(unchecked: cluster), node: info, incarnation: 1, channel: .control,
                        nonce: Array(repeating: 7, count: 32))))
            #expect(try await raw.next()?.message.errorCode == code)
            #expect(try await raw.next() == nil)
        }
    }

    @Test(arguments: [
        (ChannelKind.bulk, Message.election(.heartbeat(epoch: Epoch(1), sentAt: 1)), ErrorCode.unexpectedMessage),
        (.control, .sampleBatch([]), .unexpectedMessage),
        (.control, .helloProof(Array(repeating: 0, count: 32)), .unexpectedMessage),
    ])
    func `a message on the wrong channel ends the connection`(
        _ channel: ChannelKind, _ message: Message, _ code: ErrorCode
    ) async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let raw = try await RawPeer(port: node.transport.boundPort)
            #expect(try await raw.introduce("node-a", to: node, channel: channel)?.isAccepted == true)
            try await raw.send(message)
            #expect(try await raw.next { $0.errorCode != nil }?.message.errorCode == code)
            try await eventually("closed") { raw.isClosed }
            #expect(node.recorder.messages.isEmpty)
        }
    }

    @Test func `a malformed body after the Hello ends both connections of the peer`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let control = try await RawPeer(port: node.transport.boundPort)
            let bulk = try await RawPeer(port: node.transport.boundPort)
            #expect(try await control.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
            #expect(try await bulk.introduce("node-a", to: node, channel: .bulk)?.isAccepted == true)
            let peer = NodeID(unchecked: "node-a")
            try await eventually("connected") { node.recorder.connections(of: peer) == 1 }
            try await control.send(bytes: [0, 0, 0, 3, 0x10, 0, 7])
            #expect(try await control.next { $0.errorCode != nil }?.message.errorCode == .truncated)
            try await eventually("lost") { node.recorder.reasons(of: peer) == ["control: the body ends too early"] }
            try await eventually("closed") { control.isClosed && bulk.isClosed }
            #expect(node.log.contain("Peer disconnected peer.id=node-a reason=control: the body ends too early"))
        }
    }

    @Test func `what comes before both connections stand is handed over after`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let bulk = try await RawPeer(port: node.transport.boundPort)
            #expect(try await bulk.introduce("node-a", to: node, channel: .bulk)?.isAccepted == true)
            try await bulk.send(.sampleBatch([]))
            try await bulk.send(.ping)
            #expect(try await bulk.next { $0 == .pong } != nil)  // So the batch has arrived.
            #expect(node.recorder.seen.isEmpty)
            let control = try await RawPeer(port: node.transport.boundPort)
            #expect(try await control.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
            let peer = NodeID(unchecked: "node-a")
            try await eventually("in order") {
                node.recorder.seen == [.connected(peer), .received(.sampleBatch([]), correlation: 0, from: peer)]
            }
            // Elections go on while bulk is down; the rest waits.
            bulk.close()
            try await eventually("lost") { node.recorder.reasons(of: peer).count == 1 }
            let vote = Message.election(.voteRequest(round: 3))
            try await control.send(.commandAck)
            try await control.send(vote)
            try await eventually("the vote") { node.recorder.messages.last == vote }
            #expect(!node.recorder.messages.contains(.commandAck))
            #expect(
                node.transport.send(.election(.voteReply(round: 3, granted: true, highestEpoch: Epoch(1))), to: peer))
            #expect(
                !node.transport.send(
                    .instanceCommand(epoch: Epoch(1), command: .retry(InstanceID(unchecked: "a"))), to: peer))
            #expect(try await control.next { $0.type == .voteReply } != nil)
        }
    }

    @Test func `a silent peer is given up`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") {
                $0.timing.pingAfter = .milliseconds(50)
                $0.timing.silenceLimit = .milliseconds(400)
            }
            let peer = NodeID(unchecked: "node-a")
            let control = try await RawPeer(port: node.transport.boundPort)
            let bulk = try await RawPeer(port: node.transport.boundPort)
            #expect(try await control.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
            #expect(try await bulk.introduce("node-a", to: node, channel: .bulk)?.isAccepted == true)
            #expect(try await control.next { $0 == .ping } != nil)
            try await eventually("given up") { node.recorder.reasons(of: peer).first?.contains("silent for") == true }
            try await eventually("closed") { control.isClosed }
        }
    }

    @Test func `what a good peer has said proves nothing when another says it again`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let good = try await RawPeer(port: node.transport.boundPort)
            #expect(try await good.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
            let replayed = try await RawPeer(port: node.transport.boundPort)
            #expect(good.sent.map(\.type) == [.hello, .helloProof])
            for message in good.sent { try await replayed.send(message) }
            #expect(try await replayed.next { $0.type != .helloChallenge }?.message.errorCode == .notAuthenticated)
            try await eventually("closed") { replayed.isClosed }
            #expect(!good.isClosed)
        }
    }

    @Test func `a second process under a living node's name is refused`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            let twin = try await fixture.started("node-a", peers: [b])
            try await eventually("refused", twin.log.all) { twin.log.contain("duplicate-node") }
            #expect(b.log.contain("another process named node-a is connected and alive"))
            #expect(a.isConnected(to: b) && b.recorder.connections(of: a.id) == 1)
            #expect(a.recorder.reasons(of: b.id).isEmpty)
            #expect(twin.recorder.seen.isEmpty)
        }
    }

    @Test func `a restarted node takes the place of its dead connections`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.timing.duplicateProbe = .milliseconds(100) }
            let peer = NodeID(unchecked: "node-a")
            // The first process is gone without a word: its connections neither answer nor end.
            let old = try await (RawPeer(port: node.transport.boundPort), RawPeer(port: node.transport.boundPort))
            #expect(
                try await old.0.introduce("node-a", to: node, channel: .control, incarnation: 1)?.isAccepted == true)
            #expect(try await old.1.introduce("node-a", to: node, channel: .bulk, incarnation: 1)?.isAccepted == true)
            try await eventually("connected") { node.recorder.connections(of: peer) == 1 }
            let new = try await (RawPeer(port: node.transport.boundPort), RawPeer(port: node.transport.boundPort))
            #expect(
                try await new.0.introduce("node-a", to: node, channel: .control, incarnation: 2)?.isAccepted == true)
            #expect(try await new.1.introduce("node-a", to: node, channel: .bulk, incarnation: 2)?.isAccepted == true)
            try await eventually("connected again") { node.recorder.connections(of: peer) == 2 }
            try await eventually("the old ones are closed") { old.0.isClosed && old.1.isClosed }
            #expect(node.recorder.reasons(of: peer).count == 1)
            #expect(!new.0.isClosed && !new.1.isClosed)
            // The same process connecting once more is believed at once.
            let third = try await RawPeer(port: node.transport.boundPort)
            #expect(
                try await third.introduce("node-a", to: node, channel: .control, incarnation: 2)?.isAccepted == true)
            try await eventually("replaced") { node.recorder.connections(of: peer) == 3 && new.0.isClosed }
            #expect(!new.1.isClosed)
        }
    }
}
