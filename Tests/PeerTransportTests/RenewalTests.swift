import Certificates
import Foundation
import OrchestryModel
import PeerTransport
import Synchronization
import Testing
import WireProtocol

/// Connections that are replaced while they are used.
@Suite struct RenewalTests {
    private static let hasEnough: UInt64 = PeerFeatures.renewal
    private let command = Message.instanceCommand(
        epoch: Epoch(1), command: .stop(InstanceID(unchecked: "web-1-abcdef"), graceSeconds: 1))

    private func numbered(_ number: Int) -> [Message] {
        [
            .instanceCommand(
                epoch: Epoch(UInt64(number)), command: .stop(InstanceID(unchecked: "web-1-abcdef"), graceSeconds: 1)),
            .eventAck(eventsUpTo: Int64(number), decisionsUpTo: 0),
        ]
    }

    private func quick(_ configuration: inout PeerTransportConfiguration) {
        configuration.timing.renewalSpacing = .milliseconds(20)
        configuration.timing.renewalRetry = .milliseconds(500)
    }

    /// Sends numbered messages on both channels, and requests, until told to stop.
    private func talk(_ from: TestNode, _ to: TestNode, until isOver: @Sendable () -> Bool) async throws -> Int {
        var number = 0
        var after = 0
        while after < 50 {
            if isOver() { after += 1 }
            number += 1
            for message in numbered(number) {
                #expect(from.transport.send(message, to: to.id), "\(from.id) could not send \(number)")
            }
            #expect(from.transport.send(.election(.heartbeat(epoch: Epoch(1), sentAt: UInt64(number))), to: to.id))
            if number.isMultiple(of: 10) {
                let answer = try await from.transport.request(
                    .logRequest(instance: InstanceID(unchecked: "a"), tailLines: number), to: to.id,
                    timeout: .seconds(30))
                #expect(answer == .logChunk(lines: ["1", "2", "3"], isLast: true))
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        return number
    }

    @Test(arguments: [["node-a"], ["node-b"], ["node-a", "node-b"]])
    func `with new certificates every connection is replaced, and no message is lost or overtaken`(_ renewed: [String])
        async throws
    {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"), quick)
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"), quick)
            for node in [a, b] {
                let transport = node.transport
                node.recorder.react { message, correlation, from in
                    guard case .logRequest = message else { return }
                    for chunk in Message.logChunks(of: ["1", "2", "3"], chunkBytes: 1) {
                        transport.reply(chunk, to: from, correlation: correlation)
                    }
                }
            }
            try await eventually("connected") { a.isConnected(to: b) && b.isConnected(to: a) }
            for name in renewed { _ = try fixture.certificate(name) }
            let wanted = UInt64(2 * renewed.count)
            let isOver = { @Sendable in
                a.transport.statistics.renewals >= wanted && b.transport.statistics.renewals >= wanted
            }
            async let fromA = talk(a, b, until: isOver)
            async let fromB = talk(b, a, until: isOver)
            try await eventually("traffic flows") { !a.recorder.messages.isEmpty && !b.recorder.messages.isEmpty }
            for name in renewed {
                let before = a.transport.statistics.renewals
                try await (name == "node-a" ? a : b).transport.reloadCertificates()
                try await eventually("renewed", a.log.all + b.log.all) { a.transport.statistics.renewals >= before + 2 }
            }
            let (sentByA, sentByB) = try await (fromA, fromB)
            for (receiver, count) in [(b, sentByA), (a, sentByB)] {
                try await eventually("all arrived") {
                    receiver.recorder.messages.count { if case .eventAck = $0 { true } else { false } } >= count
                }
                let messages = receiver.recorder.messages
                let commands = messages.compactMap { message -> UInt64? in
                    if case .instanceCommand(let epoch, _) = message { epoch.rawValue } else { nil }
                }
                let acks = messages.compactMap { message -> Int64? in
                    if case .eventAck(let events, _) = message { events } else { nil }
                }
                let heartbeats = messages.count { if case .election = $0 { true } else { false } }
                #expect(commands == Array(1...UInt64(count)))
                #expect(acks == Array(1...Int64(count)))
                #expect(heartbeats == count)
                #expect(receiver.recorder.reasons(of: receiver === a ? b.id : a.id) == [])
            }
            try await eventually("the old connections are gone, all were renewed") {
                a.transport.traffic[b.id]?.connections == 1 && b.transport.traffic[a.id]?.renewals ?? 0 >= wanted
            }
        }
    }

    @Test(arguments: [true, false])
    func `a peer that restarts after its connections were renewed is connected again`(_ isDialerRestarted: Bool)
        async throws
    {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"), quick)
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"), quick)
            try await eventually("connected") { a.isConnected(to: b) && b.isConnected(to: a) }
            _ = try fixture.certificate("node-a")
            try await a.transport.reloadCertificates()
            try await eventually("renewed") {
                a.transport.statistics.renewals == 2 && b.transport.statistics.renewals == 2
            }
            let port = b.transport.boundPort
            let (stays, goes) = isDialerRestarted ? (b, a) : (a, b)
            await goes.transport.shutdown()
            try await eventually("lost") { stays.recorder.reasons(of: goes.id).count == 1 }
            _ =
                try await isDialerRestarted
                ? fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
                : fixture.started("node-b", security: fixture.certificate("node-b"), port: port)
            try await eventually("connected again", stays.log.all) { stays.recorder.connections(of: goes.id) == 2 }
        }
    }

    @Test func `who can't be authenticated by the present authorities does not stay`() async throws {
        try await Fixture.run { fixture in
            let other = CertificateFolder(path: fixture.folder.path + "-other")
            defer { try? FileManager.default.removeItem(atPath: other.path) }
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b")) {
                $0.timing.renewalSpacing = .milliseconds(10)
                $0.timing.renewalRetry = .milliseconds(100)
                $0.timing.renewalDeadline = .milliseconds(500)
            }
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
            try await eventually("connected") { a.isConnected(to: b) && b.isConnected(to: a) }
            _ = try fixture.certificate("node-b", in: other)
            let material = try TLSMaterial(
                caPath: other.authorityCertificatePath, certificatePath: other.certificatePath(node: "node-b"),
                keyPath: other.keyPath(node: "node-b"))
            try await b.transport.use(material)
            try await eventually("ended", b.log.all) {
                b.recorder.reasons(of: a.id).count == 1 && a.recorder.reasons(of: b.id).count == 1
            }
            #expect(b.log.contain("could not be renewed"))
            #expect(a.recorder.reasons(of: b.id)[0].contains("not-authenticated"))
            try await eventually("and is refused", b.log.all) { a.log.contain("Can't connect to peer") }
            #expect(!b.isConnected(to: a))
        }
    }

    @Test func `what comes on the successor waits for the end of the old connection, elections don't`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let peer = NodeID(unchecked: "node-a")
            let old = try await connected(to: node)
            let successor = try await RawPeer(port: node.transport.boundPort)
            let accepted = try await successor.introduce(
                "node-a", to: node, channel: .control, features: Self.hasEnough | PeerFeatures.continues)
            guard case .helloAccepted(let answer)? = accepted else {
                Issue.record("not accepted: \(String(describing: accepted))")
                return
            }
            #expect(answer.features == PeerFeatures.own | PeerFeatures.continues)
            #expect(try await old.control.next { $0.errorCode != nil }?.message.errorCode == .replaced)
            #expect(!old.control.isClosed, "the peer has not said that it is over")
            let heartbeat = Message.election(.heartbeat(epoch: Epoch(3), sentAt: 9))
            try await successor.send(command)
            try await successor.send(heartbeat)
            try await eventually("the heartbeat") { node.recorder.messages == [heartbeat] }
            // What the node says goes on the successor.
            #expect(node.transport.send(.commandAck, to: peer))
            #expect(try await successor.next { $0 == .commandAck } != nil)
            let earlier = Message.refused(epoch: Epoch(8))
            try await old.control.send(earlier)
            try await old.control.send(.error(code: .replaced, message: ""))
            try await eventually("both, in order") { node.recorder.messages == [heartbeat, earlier, command] }
            try await eventually("the old one is closed") { old.control.isClosed }
            #expect(node.recorder.reasons(of: peer) == [] && node.recorder.connections(of: peer) == 1)
            #expect(node.transport.statistics.renewals == 1)
        }
    }

    @Test(arguments: [true, false])
    func `a replacement that is not finished counts as a lost connection`(_ isBroken: Bool) async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b") { $0.timing.handoverLimit = .milliseconds(300) }
            let peer = NodeID(unchecked: "node-a")
            let old = try await connected(to: node)
            let successor = try await RawPeer(port: node.transport.boundPort)
            let answer = try await successor.introduce(
                "node-a", to: node, channel: .control, features: Self.hasEnough | PeerFeatures.continues)
            #expect(answer?.isAccepted == true)
            // It breaks off, or just says nothing more.
            if isBroken { old.control.close() }
            try await eventually("lost", node.log.all) { node.recorder.reasons(of: peer).count == 1 }
            try await eventually("closed") { successor.isClosed && old.bulk.isClosed }
        }
    }

    @Test func `there is nothing to go on from: the connection is an ordinary one`() async throws {
        try await Fixture.run { fixture in
            let node = try await fixture.started("node-b")
            let raw = try await RawPeer(port: node.transport.boundPort)
            let answer = try await raw.introduce(
                "node-a", to: node, channel: .control, features: Self.hasEnough | PeerFeatures.continues)
            guard case .helloAccepted(let accepted)? = answer else {
                Issue.record("not accepted: \(String(describing: answer))")
                return
            }
            #expect(accepted.features == PeerFeatures.own)
        }
    }

    private func connected(to node: TestNode) async throws -> (control: RawPeer, bulk: RawPeer) {
        let control = try await RawPeer(port: node.transport.boundPort)
        let bulk = try await RawPeer(port: node.transport.boundPort)
        for (raw, channel) in [(control, ChannelKind.control), (bulk, .bulk)] {
            let answer = try await raw.introduce("node-a", to: node, channel: channel, features: Self.hasEnough)
            #expect(answer?.isAccepted == true)
        }
        try await eventually("connected") { node.recorder.connections(of: NodeID(unchecked: "node-a")) == 1 }
        return (control, bulk)
    }
}
