import Certificates
import Foundation
import NIOCore
import NIOPosix
import OrchestryModel
import PeerTransport
import Synchronization
import Testing
import WireProtocol

@Suite struct ConnectionTests {
    private let heartbeat = Message.election(.heartbeat(epoch: Epoch(7), sentAt: 1))
    private let samples = Message.sampleBatch([
        Sample(app: AppName(unchecked: "web"), node: NodeID(unchecked: "node-a"), second: 1)
    ])

    @Test func `three nodes with certificates all reach each other`() async throws {
        try await Fixture.run { fixture in
            let c = try await fixture.started("node-c", security: fixture.certificate("node-c"))
            let b = try await fixture.started("node-b", peers: [c], security: fixture.certificate("node-b"))
            let a = try await fixture.started("node-a", peers: [b, c], security: fixture.certificate("node-a"))
            let nodes = [a, b, c]
            try await eventually("all connected") { nodes.allSatisfy { $0.transport.connectedPeers.count == 2 } }
            for from in nodes {
                for to in nodes where to !== from {
                    try await eventually("told") { from.recorder.connections(of: to.id) == 1 }
                    #expect(from.transport.send(heartbeat, to: to.id))
                    #expect(from.transport.send(samples, to: to.id))
                    try await eventually("both messages") {
                        let seen = to.recorder.seen
                        return seen.contains(.received(heartbeat, correlation: 0, from: from.id))
                            && seen.contains(.received(samples, correlation: 0, from: from.id))
                    }
                }
            }
            // Each knows the others as they introduced themselves, with the port they really listen on.
            #expect(a.recorder.info(of: c.id)?.clusterPort == c.transport.boundPort)
            #expect(c.recorder.info(of: a.id)?.clusterPort == a.transport.boundPort)
            #expect(a.transport.connectedPeers.map(\.id) == [b.id, c.id])
            #expect(!a.transport.send(heartbeat, to: NodeID(unchecked: "node-z")))
        }
    }

    @Test func `a worker dials controllers whatever their ids, and needs no entry at them`() async throws {
        try await Fixture.run { fixture in
            let controller = try await fixture.started("alpha", security: fixture.certificate("alpha"))
            let worker = try await fixture.started(
                "zeta", role: .worker, peers: [controller], security: fixture.certificate("zeta"))
            try await eventually("connected") {
                controller.isConnected(to: worker) && worker.isConnected(to: controller)
            }
            #expect(controller.recorder.info(of: worker.id)?.role == .worker)
        }
    }

    @Test func `a certificate of another authority is refused, in one line`() async throws {
        try await Fixture.run { fixture in
            let foreign = CertificateFolder(path: fixture.folder.path + "-foreign")
            defer { try? FileManager.default.removeItem(atPath: foreign.path) }
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"))
            let a = try await fixture.started(
                "node-a", peers: [b], security: fixture.certificate("node-a", in: foreign))
            try await eventually("both say so", a.log.all + b.log.all) {
                b.log.contain("Incoming connection ended before it was accepted")
                    && a.log.contain("Can't connect to peer")
            }
            #expect(a.recorder.seen.isEmpty && b.recorder.seen.isEmpty)
            // And the listener still works.
            let good = try await fixture.started("node-0", peers: [b], security: fixture.certificate("node-0"))
            try await eventually("a good peer connects") { b.isConnected(to: good) }
        }
    }

    @Test(arguments: [true, false])
    func `a certificate that does not name the node is refused`(_ isDialerWrong: Bool) async throws {
        try await Fixture.run { fixture in
            let b = try await fixture.started(
                "node-b", security: fixture.certificate(isDialerWrong ? "node-b" : "somebody"))
            let a = try await fixture.started(
                "node-a", peers: [b], security: fixture.certificate(isDialerWrong ? "somebody" : "node-a"))
            try await eventually("refused", a.log.all + b.log.all) {
                isDialerWrong
                    ? b.log.contain("it calls itself node-a, its certificate names [\"somebody\"]")
                        && a.log.contain("identity-mismatch")
                    : a.log.contain("it calls itself node-b, its certificate names [\"somebody\"]")
            }
            #expect(a.recorder.connections(of: b.id) == 0)
            #expect((isDialerWrong ? b : a).transport.statistics.connectionsRefused > 0)
        }
    }

    @Test func `another cluster is refused`() async throws {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"), cluster: "other")
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
            try await eventually("refused", a.log.all + b.log.all) {
                b.log.contain("peer.id=node-a reason=it belongs to cluster test, not other")
                    && a.log.contain("cluster-mismatch")
            }
            // A reason that stays the same is told once, however often the dialler tries.
            try await eventually("more attempts") { b.transport.statistics.connectionsRefused > 6 }
            #expect(a.log.count("cluster-mismatch") <= 2)
            #expect(a.recorder.seen.isEmpty && b.recorder.seen.isEmpty)
        }
    }

    @Test func `certificates are renewed without a restart`() async throws {
        try await Fixture.run { fixture in
            let renewed = CertificateFolder(path: fixture.folder.path + "-renewed")
            defer { try? FileManager.default.removeItem(atPath: renewed.path) }
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"))
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
            try await eventually("connected") { a.isConnected(to: b) && b.isConnected(to: a) }
            let newcomer = try await fixture.started(
                "node-0", peers: [b], security: fixture.certificate("node-0", in: renewed))
            try await eventually("refused") { newcomer.log.contain("Can't connect to peer") }
            #expect(!b.isConnected(to: newcomer))
            // Broken files change nothing.
            let files = FileManager.default
            let certificate = fixture.folder.certificatePath(node: "node-b")
            try Data("broken".utf8).write(to: URL(fileURLWithPath: certificate))
            await #expect(throws: PeerError.self) { try await b.transport.reloadCertificates() }
            // The new authority's files take the old ones' places.
            _ = try fixture.certificate("node-b", in: renewed)
            for (new, old) in [
                (renewed.authorityCertificatePath, fixture.folder.authorityCertificatePath),
                (renewed.certificatePath(node: "node-b"), certificate),
                (renewed.keyPath(node: "node-b"), fixture.folder.keyPath(node: "node-b")),
            ] {
                try files.removeItem(atPath: old)
                try files.copyItem(atPath: new, toPath: old)
            }
            try await b.transport.reloadCertificates()
            try await eventually("the newcomer is let in", newcomer.log.all) { b.isConnected(to: newcomer) }
            #expect(a.recorder.reasons(of: b.id).isEmpty, "standing connections are left alone")
        }
    }

    @Test func `without TLS the secret decides`() async throws {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b")
            let good = try await fixture.started("node-a", peers: [b])
            try await eventually("connected") { good.isConnected(to: b) && b.isConnected(to: good) }
            let bad = try await fixture.started(
                "node-0", peers: [b], security: .plain(sharedSecret: "another secret of some length"))
            try await eventually("refused") { bad.log.contain("wrong proof of the shared secret") }
            #expect(b.recorder.connections(of: bad.id) == 0)
            // The acceptor does not take the dialler's word for it either.
            let raw = try await RawPeer(port: b.transport.boundPort)
            let answer = try await raw.introduce(
                "node-0", to: b, channel: .control, secret: "another secret of some length")
            #expect(answer?.errorCode == .notAuthenticated)
            let short = fixture.make("node-1", security: .plain(sharedSecret: "short"))
            await #expect(throws: PeerError.cannotStart("the shared secret needs at least 16 bytes")) {
                try await short.start()
            }
        }
    }

    @Test func `outgoing connections come from the address the node listens on`() async throws {
        try await Fixture.run { fixture in
            let addresses = AddressCollector()
            let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { channel in
                    addresses.add(channel.remoteAddress?.ipAddress ?? "?")
                    return channel.eventLoop.makeSucceededVoidFuture()
                }
                .bind(host: "127.0.0.1", port: 0).get()
            let port = try #require(server.localAddress?.port)
            _ = try await fixture.started("node-a", host: "127.0.0.2") {
                $0.peers[NodeID(unchecked: "node-b")] = PeerAddress(host: "127.0.0.1", port: port)
            }
            try await eventually("both connections") { addresses.all.count >= 2 }
            #expect(Set(addresses.all) == ["127.0.0.2"])
            try await server.close()
        }
    }

    @Test(arguments: [true, false]) func `a peer that restarts is connected again`(_ isDialerRestarted: Bool)
        async throws
    {
        try await Fixture.run { fixture in
            let b = try await fixture.started("node-b", security: fixture.certificate("node-b"))
            let a = try await fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
            try await eventually("connected") { a.isConnected(to: b) && b.isConnected(to: a) }
            let port = b.transport.boundPort
            let (stays, goes) = isDialerRestarted ? (b, a) : (a, b)
            await goes.transport.shutdown()
            try await eventually("lost") { stays.recorder.reasons(of: goes.id).count == 1 }
            #expect(!stays.transport.send(heartbeat, to: goes.id))
            #expect(stays.recorder.reasons(of: goes.id)[0].contains("shutting-down"))
            let again =
                try await isDialerRestarted
                ? fixture.started("node-a", peers: [b], security: fixture.certificate("node-a"))
                : fixture.started("node-b", security: fixture.certificate("node-b"), port: port)
            try await eventually("connected again", stays.log.all) { stays.recorder.connections(of: goes.id) == 2 }
            try await eventually("and told") { again.recorder.connections(of: stays.id) == 1 }
            #expect(stays.transport.send(heartbeat, to: goes.id))
            try await eventually("heard") { again.recorder.messages == [heartbeat] }
        }
    }

    @Test func `a port in use is said, and can be tried again`() async throws {
        try await Fixture.run { fixture in
            let first = try await fixture.started("node-a")
            let port = first.transport.boundPort
            let second = fixture.make("node-b", port: port)
            let error = await #expect(throws: PeerError.self) { try await second.start() }
            #expect(error?.description.contains("127.0.0.1:\(port)") == true)
            await first.transport.shutdown()
            try await second.start()
            #expect(second.transport.boundPort == port)
        }
    }

    @Test func `after shutdown nothing is left`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            let port = b.transport.boundPort
            let transport = a.transport
            let waiting = Task { try await transport.request(.ping, to: b.id, timeout: .seconds(60)) }
            b.recorder.react { _, _, _ in }
            await b.transport.shutdown()
            #expect(b.transport.boundPort == 0)
            await #expect(throws: (any Error).self) { _ = try await RawPeer(port: port) }
            _ = await waiting.result
            await #expect(throws: PeerError.cannotStart("it was started before")) { try await b.start() }
            await b.transport.shutdown()  // A second time does no harm.
        }
    }
}

final class AddressCollector: Sendable {
    private let addresses = Mutex<[String]>([])
    func add(_ address: String) { addresses.withLock { $0.append(address) } }
    var all: [String] { addresses.withLock { $0 } }
}
