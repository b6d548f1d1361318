import Logging
import Measuring
import NIOCore
import NIOPosix
import OrchestryModel
import PeerTransport
import Synchronization
import WireProtocol

/// Two `PeerTransport`s in this process, connected over loopback.
final class PeerLink: Link {
    let name: String
    private static let ids = TLSFiles.nodes.map(NodeID.init(unchecked:))
    private let groups: [MultiThreadedEventLoopGroup]
    private let dialer: PeerTransport
    private let acceptor: PeerTransport
    private let pump = Pump()
    private let message: Message
    let relay: CountingRelay?

    /// - Parameters:
    ///   - tls: nil: without TLS, with a shared secret.
    ///   - counting: whether a relay in between counts bytes.
    init(_ name: String, payloadBytes: Int, tls: TLSFiles?, counting: Bool) async throws {
        self.name = name
        message = try Self.message(bodyBytes: payloadBytes)
        groups = [MultiThreadedEventLoopGroup(numberOfThreads: 1), MultiThreadedEventLoopGroup(numberOfThreads: 1)]
        acceptor = Self.transport(Self.ids[1], tls, groups[1], peers: [:])
        try await acceptor.start(handler: Echo(transport: acceptor))
        relay = counting ? try await CountingRelay(to: acceptor.boundPort) : nil
        let address = PeerAddress(host: "127.0.0.1", port: relay?.port ?? acceptor.boundPort)
        dialer = Self.transport(Self.ids[0], tls, groups[0], peers: [Self.ids[1]: address])
        try await dialer.start(
            handler: Answers(transport: dialer, pump: pump, message: message, peer: Self.ids[1]))
        let deadline = ContinuousClock.now + .seconds(10)
        while dialer.connectedPeers.isEmpty || acceptor.connectedPeers.isEmpty {
            guard ContinuousClock.now < deadline else { throw BenchFailure("\(name): the two don't connect") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// A command for an instance, whose name fills the body up. On the control connection.
    private static func message(bodyBytes: Int) throws -> Message {
        // Epoch, kind, length of the name, seconds: one byte each.
        let message = Message.instanceCommand(
            epoch: Epoch(7),
            command: .stop(InstanceID(unchecked: String(repeating: "a", count: bodyBytes - 4)), graceSeconds: 10))
        // Length field, type, correlation.
        guard try frameBytes(message) == 6 + bodyBytes else { throw BenchFailure("the message has another length") }
        return message
    }

    static func frameBytes(_ message: Message) throws -> Int {
        var buffer = ByteBuffer()
        return try FrameEncoder.encode(message, into: &buffer)
    }

    private static func transport(
        _ id: NodeID, _ tls: TLSFiles?, _ group: MultiThreadedEventLoopGroup, peers: [NodeID: PeerAddress]
    ) -> PeerTransport {
        let configuration = PeerTransportConfiguration(
            me: NodeInfo(id: id, role: .controller, host: "127.0.0.1", clusterPort: 0, apiURL: "http://127.0.0.1:1"),
            cluster: ClusterID(unchecked: "bench"), listenHost: "127.0.0.1", listenPort: 0, peers: peers,
            security: tls.map { .mutualTLS(caPath: $0.ca, certificatePath: $0.certificate(id), keyPath: $0.key(id)) }
                ?? .plain(sharedSecret: "known to both ends of the bench"))
        return PeerTransport(
            configuration: configuration, group: group,
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
    }

    func exchange(_ count: Int, window: Int) async throws -> Pump.Result {
        let (dialer, message, pump) = (dialer, message, pump)
        return try await pump.run(count, window: window) { number in
            for _ in 0..<number where !dialer.send(message, to: Self.ids[1]) { pump.fail("a message was refused") }
        }
    }

    func awaited(_ count: Int) async throws -> [Double] {
        let (dialer, message) = (dialer, message)
        return try await timed(count) { _ = try await dialer.request(message, to: Self.ids[1], timeout: .seconds(10)) }
    }

    func close() async throws {
        await dialer.shutdown()
        await acceptor.shutdown()
        try await relay?.close()
        for group in groups { try await group.shutdownGracefully() }
    }

    private struct Echo: PeerHandler {
        let transport: PeerTransport
        func peerConnected(_ peer: NodeInfo) {}
        func peerDisconnected(_ peer: NodeID, reason: String) {}
        func received(_ message: Message, correlation: UInt64, from: NodeID) {
            if correlation == 0 {
                transport.send(message, to: from)
            } else {
                transport.reply(message, to: from, correlation: correlation)
            }
        }
    }

    private struct Answers: PeerHandler {
        let transport: PeerTransport
        let pump: Pump
        let message: Message
        let peer: NodeID
        func peerConnected(_ peer: NodeInfo) {}
        func peerDisconnected(_ peer: NodeID, reason: String) { pump.fail("the peers lost each other: \(reason)") }
        func received(_ message: Message, correlation: UInt64, from: NodeID) {
            if pump.arrived(), !transport.send(self.message, to: peer) { pump.fail("a message was refused") }
        }
    }
}
