import Crypto
import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization
import Testing
import WireProtocol

/// A peer made of the wire protocol alone, without `PeerTransport`: what someone else might write after `proto-spec`.
/// It does only what it is told to, so it can also misbehave.
final class RawPeer: Sendable {
    private struct State {
        var bytes = ByteBuffer()
        var isClosed = false
        var sent: [Message] = []
    }
    private let channel: any Channel
    private let state: Collected

    /// Bytes that arrived, and whether the connection has ended.
    private final class Collected: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state = Mutex(State())
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            _ = state.withLock { $0.bytes.writeBuffer(&bytes) }
        }
        func channelInactive(context: ChannelHandlerContext) { state.withLock { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    init(port: Int) async throws {
        let collected = Collected()
        state = collected
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { $0.pipeline.addHandler(collected) }
            .connect(host: "127.0.0.1", port: port).get()
    }

    var isClosed: Bool { state.state.withLock { $0.isClosed } }

    func stopReading() async throws { try await channel.setOption(.autoRead, value: false).get() }

    func close() { channel.close(promise: nil) }

    func send(bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

    /// All messages it has said, in order.
    var sent: [Message] { state.state.withLock { $0.sent } }

    func send(_ message: Message, correlation: UInt64 = 0) async throws {
        state.state.withLock { $0.sent.append(message) }
        var buffer = ByteBuffer()
        try FrameEncoder.encode(message, correlation: correlation, into: &buffer)
        try await channel.writeAndFlush(buffer)
    }

    /// The next message that satisfies `isWanted`; others are skipped. nil: the connection ended first.
    func next(_ isWanted: (Message) -> Bool = { _ in true }) async throws -> (message: Message, correlation: UInt64)? {
        var found: (Message, UInt64)?
        try await eventually("a frame") {
            while found == nil {
                let frame = state.state.withLock { state in
                    try? FrameDecoder(limit: WireLimits.bulkFrame).next(from: &state.bytes)
                }
                guard let frame else { return isClosed }
                if let message = try? Message(frame), isWanted(message) { found = (message, frame.correlation) }
            }
            return true
        }
        return found
    }

    /// The Hello exchange without TLS, after `proto-spec/framing.md`.
    /// - Returns: the last message of it: HelloAccepted, or Error.
    func introduce(
        _ name: String, role: NodeInfo.Role = .controller, to acceptor: TestNode, channel: ChannelKind,
        incarnation: UInt64 = 1, cluster: String = "test", secret: String = Fixture.secret,
        features: UInt64 = 0
    ) async throws -> Message? {
        let node = NodeInfo(id: NodeID(unchecked: name), role: role, host: "", clusterPort: 0, apiURL: "")
        let nonce = (0..<32).map { _ in UInt8.random(in: 0...255) }
        try await send(
            .hello(
                Hello(
                    cluster: ClusterID(unchecked: cluster), node: node, incarnation: incarnation, channel: channel,
                    features: features, nonce: nonce)))
        guard let answer = try await next()?.message, case .helloChallenge(let theirs, let proof) = answer else {
            return nil
        }
        func expected(_ side: String) -> [UInt8] {
            var text: [UInt8] = []
            for word in ["orchestry-1", side, cluster, name, acceptor.id.rawValue, channel.description] {
                text += Array(word.utf8) + [0]
            }
            let key = SymmetricKey(data: Array(secret.utf8))
            return Array(HMAC<SHA256>.authenticationCode(for: text + nonce + theirs, using: key))
        }
        // A peer that can't show the secret itself gets no proof either, unless the secret is what the test varies.
        guard proof == expected("acceptor") || secret != Fixture.secret else { return nil }
        try await send(.helloProof(expected("dialer")))
        return try await next()?.message
    }
}

extension Message {
    /// The code of an Error message.
    var errorCode: ErrorCode? { if case .error(let code, _) = self { code } else { nil } }
    var isAccepted: Bool { if case .helloAccepted = self { true } else { false } }
}
