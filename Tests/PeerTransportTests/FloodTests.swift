import NIOCore
import OrchestryModel
import PeerTransport
import Testing
import WireProtocol

/// Peers that ask for too much, too fast, or take nothing in: each pays for it itself.
@Suite struct FloodTests {
    private let peer = NodeID(unchecked: "node-a")
    private let request = Message.logRequest(instance: InstanceID(unchecked: "a"), tailLines: 1)
    private let command = Message.instanceCommand(
        epoch: Epoch(1), command: .stop(InstanceID(unchecked: "a"), graceSeconds: 1))

    private func connected(to node: TestNode, readsControl: Bool = true) async throws -> (
        control: RawPeer, bulk: RawPeer
    ) {
        let bulk = try await RawPeer(port: node.transport.boundPort)
        #expect(try await bulk.introduce("node-a", to: node, channel: .bulk)?.isAccepted == true)
        let control = try await RawPeer(port: node.transport.boundPort)
        #expect(try await control.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
        if !readsControl { try await control.stopReading() }
        try await eventually("connected") { node.recorder.connections(of: peer) == 1 }
        return (control, bulk)
    }

    /// One buffer with the same frame many times.
    private func storm(of message: Message, count: Int, correlation: (Int) -> UInt64 = { _ in 0 }) throws -> [UInt8] {
        var buffer = ByteBuffer()
        for number in 0..<count {
            try FrameEncoder.encode(message, correlation: correlation(number), into: &buffer)
        }
        return Array(buffer.readableBytesView)
    }

    @Test func `election messages and Pings beyond what anybody needs are not looked at`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.urgentPerSecond = 100 }
            let raw = try await connected(to: node)
            let heartbeat = Message.election(.heartbeat(epoch: Epoch(1), sentAt: 1))
            try await raw.control.send(bytes: try storm(of: heartbeat, count: 20_000))
            try await raw.control.send(command)
            try await eventually("the end of the storm") { node.recorder.messages.last == command }
            // A busy machine may need several seconds for the storm; each lets a hundred through.
            let dropped = node.transport.traffic[peer]?.floodDropped ?? 0
            #expect(dropped > 10_000, "\(dropped)")
            #expect(UInt64(node.recorder.messages.count - 1) + dropped == 20_000)
            #expect(!raw.control.isClosed && node.recorder.reasons(of: peer) == [])
        }
    }

    @Test func `with too much undone requests on control are refused, and bulk is not read`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.backlogLimit = 10 }
            let raw = try await connected(to: node)
            node.recorder.setBacklog(10)
            try await raw.control.send(command, correlation: 8)
            let answer = try await raw.control.next { $0.errorCode != nil }
            #expect(answer?.message.errorCode == .unavailable && answer?.correlation == 9)
            #expect(node.transport.traffic[peer]?.requestsRefused == 1)
            // Heartbeats are heard all the same.
            let heartbeat = Message.election(.heartbeat(epoch: Epoch(1), sentAt: 1))
            try await raw.control.send(heartbeat)
            try await eventually("the heartbeat") { node.recorder.messages == [heartbeat] }
            // Much more than the sockets' buffers hold: the sender waits instead of the receiver's memory.
            let batch = try storm(
                of: .logChunk(lines: [String(repeating: "x", count: 60_000)], isLast: true), count: 500)
            async let sent: Void = raw.bulk.send(bytes: batch)
            try await eventually("the first") { node.recorder.messages.count >= 2 }
            let received = node.transport.traffic[peer]?.bytesReceived ?? 0
            #expect(received < UInt64(batch.count) / 2, "\(received)")
            node.recorder.setBacklog(0)
            try await sent
            try await eventually("the rest") { node.recorder.messages.count == 501 }
            #expect(node.recorder.reasons(of: peer) == [])
        }
    }

    @Test func `who does not stop is disconnected`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.backlogLimit = 10 }
            let raw = try await connected(to: node)
            node.recorder.setBacklog(640)
            try await raw.control.send(command)
            #expect(try await raw.control.next { $0.errorCode != nil }?.message.errorCode == .overload)
            try await eventually("lost") { node.recorder.reasons(of: peer).count == 1 }
        }
    }

    @Test(arguments: [true, false])
    func `a peer that takes nothing in is given up, by time or by what waits for it`(_ byTime: Bool) async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") {
                $0.timing.stallLimit = byTime ? .milliseconds(400) : .seconds(60)
                $0.timing.pingAfter = .milliseconds(50)
                $0.timing.silenceLimit = .seconds(60)
                $0.urgentPerSecond = .max
            }
            let raw = try await connected(to: node, readsControl: false)
            // More than the sockets' buffers take.
            let large = ControlResponse(status: 200, body: .string(String(repeating: "x", count: 60_000)))
            var sent = 0
            while node.transport.send(.forwardResponse(large), to: peer), sent < 1000 { sent += 1 }
            #expect(sent < 1000, "the queue is bounded")
            if !byTime { try await raw.control.send(bytes: try storm(of: .ping, count: 3000)) }
            try await eventually("given up", node.log.all) {
                node.recorder.reasons(of: peer).first?.contains(byTime ? "it has not read for" : "it does not read")
                    == true
            }
        }
    }

    @Test func `connections that don't introduce themselves are few, and others still come in`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") {
                $0.handshakesPerAddress = 3
                $0.timing.helloTimeout = .seconds(2)
            }
            var idle: [RawPeer] = []
            for _ in 0..<40 { idle.append(try await RawPeer(port: node.transport.boundPort)) }
            try await eventually("all but three are closed") { idle.count { $0.isClosed } >= 37 }
            #expect(node.transport.halfOpenConnections <= 3)
            try await eventually("the three after two seconds") { idle.allSatisfy(\.isClosed) }
            try await eventually("forgotten") { node.transport.halfOpenConnections == 0 }
            #expect(node.transport.statistics.connectionsRefused == 40)
            // Not one line each.
            let lines = node.log.count("Incoming connection ended before it was accepted")
            #expect((1...5).contains(lines), "\(lines)")
            let raw = try await RawPeer(port: node.transport.boundPort)
            #expect(try await raw.introduce("node-a", to: node, channel: .control)?.isAccepted == true)
            #expect(node.transport.halfOpenConnections == 0)
        }
    }

    @Test func `the round trip is measured`() async throws {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b")
            let a = try await fixture.started("node-a", peers: [b]) {
                $0.timing.pingAfter = .milliseconds(20)
                $0.timing.measureEvery = .milliseconds(50)
            }
            try await eventually("measured") { a.transport.traffic[b.id]?.roundTrip ?? .zero > .zero }
        }
    }
}

/// The two that decide without looking at a clock or a socket.
@Suite struct AdmissionTests {
    @Test func `the door counts what is half-open and what is in, by address`() {
        let door = Doorkeeper(limits: .init(halfOpen: 4, halfOpenPerAddress: 2, perAddress: 3))
        #expect(door.enter("a") == nil)
        #expect(door.enter("a") == nil)
        #expect(door.enter("a")?.contains("of this address have not introduced themselves (2)") == true)
        #expect(door.enter("b") == nil)
        door.introduced("a")
        #expect(door.enter("a") == nil)
        #expect(door.halfOpen == 3)
        #expect(door.enter("c") == nil)
        #expect(door.enter("d")?.contains("too many connections have not introduced themselves (4)") == true)
        door.introduced("a")
        #expect(door.enter("a")?.contains("too many connections of this address (3)") == true)
        door.leave("a", wasIntroduced: true)
        #expect(door.enter("a") == nil)
        for address in ["b", "c", "a", "a"] { door.leave(address, wasIntroduced: false) }
        door.leave("a", wasIntroduced: true)
        #expect(door.halfOpen == 0)
    }

    @Test func `the first lines about each are written, the rest is summed up`() {
        let limiter = LogLimiter(perSubject: 2, total: 5, window: .seconds(10), mostSubjects: 3)
        let now = Duration.seconds(100)
        #expect(limiter.ask(about: "a", reason: "1", at: now) == .write)
        #expect(limiter.ask(about: "a", reason: "2", at: now) == .write)
        #expect(limiter.ask(about: "a", reason: "3", at: now) == .count(isFirst: true))
        #expect(limiter.ask(about: "a", reason: "4", at: now) == .count(isFirst: false))
        #expect(limiter.ask(about: "b", reason: "5", at: now) == .write)
        #expect(limiter.ask(about: "c", reason: "6", at: now) == .write)
        // No room for more names, and then no room for more lines.
        #expect(limiter.ask(about: "d", reason: "7", at: now) == .write)
        #expect(limiter.ask(about: "e", reason: "8", at: now) == .count(isFirst: false))
        #expect(
            limiter.sumUp(at: now + .seconds(10)).map { "\($0.subject) \($0.count) \($0.lastReason)" }
                == ["a 2 4", "others 1 8"])
        #expect(limiter.ask(about: "a", reason: "9", at: now + .seconds(10)) == .write)
        // Without anything to sum up a window ends by itself.
        #expect(limiter.ask(about: "a", reason: "9", at: now + .seconds(11)) == .write)
        #expect(limiter.ask(about: "a", reason: "9", at: now + .seconds(30)) == .write)
    }
}
