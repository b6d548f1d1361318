import Certificates
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import OrchestryModel
import Synchronization
import TestSupport
import WireProtocol

/// A peer made of the wire protocol alone, over TLS or without, that does only what a test tells it to.
final class WirePeer: Sendable {
    private struct State {
        var bytes = ByteBuffer()
        var isClosed = false
        var certificate: NIOSSLCertificate?
        /// What went out as it was on the wire.
        var ciphertext: [UInt8] = []
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let state = Mutex(State())
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = unwrapInboundIn(data)
            _ = state.withLock { $0.bytes.writeBuffer(&bytes) }
        }
        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted? = event as? TLSUserEvent {
                // Without TLS this event does not come.
                let found = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
                state.withLock { $0.certificate = found }
            }
            context.fireUserInboundEventTriggered(event)
        }
        func channelInactive(context: ChannelHandlerContext) { state.withLock { $0.isClosed = true } }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    /// Below TLS: keeps what is written.
    private final class Tap: ChannelOutboundHandler, Sendable {
        typealias OutboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        let collector: Collector
        init(_ collector: Collector) { self.collector = collector }
        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            let bytes = Array(unwrapOutboundIn(data).readableBytesView)
            collector.state.withLock { state in
                if state.ciphertext.count < 1 << 16 { state.ciphertext += bytes }
            }
            context.write(data, promise: promise)
        }
    }

    private let channel: any Channel
    private let collector: Collector

    /// - Parameters:
    ///   - from: the address to come from: the log speaks of each one by itself.
    ///   - tls: nil: plain TCP.
    init(port: Int, from: String = "127.0.0.1", tls: NIOSSLContext? = nil) async throws {
        let collector = Collector()
        self.collector = collector
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(to: try SocketAddress(ipAddress: from, port: 0))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls {
                        try pipeline.addHandlers(Tap(collector), NIOSSLClientHandler(context: tls, serverHostname: nil))
                    }
                    try pipeline.addHandler(collector)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
    }

    /// TLS as the protocol wants it.
    /// - Parameter node: whose certificate to show; nil: none.
    static func tls(_ folder: CertificateFolder, as node: String?) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv13
        // These tests look at what the node accepts; whom they talk to they know.
        configuration.certificateVerification = .none
        if let node {
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(folder.certificatePath(node: node))
                .map(NIOSSLCertificateSource.certificate)
            configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: folder.keyPath(node: node), format: .pem))
        }
        return try NIOSSLContext(configuration: configuration)
    }

    var isClosed: Bool { collector.state.withLock { $0.isClosed } }
    var certificate: NIOSSLCertificate? { collector.state.withLock { $0.certificate } }
    var ciphertext: [UInt8] { collector.state.withLock { $0.ciphertext } }

    func stopReading() async throws { try await channel.setOption(.autoRead, value: false).get() }

    func close() { channel.close(promise: nil) }

    func send(bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

    func send(_ message: Message, correlation: UInt64 = 0) async throws {
        var buffer = ByteBuffer()
        try FrameEncoder.encode(message, correlation: correlation, into: &buffer)
        try await channel.writeAndFlush(buffer)
    }

    /// The next message that satisfies `isWanted`; others are skipped. nil: the connection ended first, or nothing came.
    func next(within limit: Duration = .seconds(15), _ isWanted: (Message) -> Bool = { _ in true }) async -> Message? {
        var found: Message?
        _ = await eventually(within: limit) {
            while found == nil {
                let frame = collector.state.withLock { state in
                    try? FrameDecoder(limit: WireLimits.bulkFrame).next(from: &state.bytes)
                }
                guard let frame else { return isClosed }
                if let message = try? Message(frame), isWanted(message) { found = message }
            }
            return true
        }
        return found
    }

    func waitUntilClosed(within limit: Duration = .seconds(15)) async -> Bool {
        await eventually(within: limit) { isClosed }
    }

    static func hello(
        _ name: String, role: NodeInfo.Role = .worker, cluster: String, channel: ChannelKind,
        versions: ClosedRange<UInt16> = 1...1, incarnation: UInt64 = 1
    ) -> Message {
        let node = NodeInfo(id: NodeID(unchecked: name), role: role, host: "", clusterPort: 0, apiURL: "")
        return .hello(
            Hello(
                versions: versions, cluster: ClusterID(unchecked: cluster), node: node, incarnation: incarnation,
                channel: channel))
    }

    /// The Hello exchange with a certificate.
    /// - Returns: HelloAccepted, Error, or nil when the connection was closed without a word.
    func introduce(_ name: String, role: NodeInfo.Role = .worker, to cluster: String, _ channel: ChannelKind)
        async throws
        -> Message?
    {
        try await send(Self.hello(name, role: role, cluster: cluster, channel: channel))
        return await next()
    }
}

extension Message {
    var errorCode: ErrorCode? { if case .error(let code, _) = self { code } else { nil } }
    var isAccepted: Bool { if case .helloAccepted = self { true } else { false } }
}
