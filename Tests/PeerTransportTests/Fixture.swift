import Certificates
import Foundation
import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import PeerTransport
import Synchronization
import TestSupport
import Testing
import WireProtocol

/// What a node's handler saw, in order.
final class Recorder: PeerHandler, Sendable {
    enum Seen: Hashable, Sendable {
        case connected(NodeID)
        case disconnected(NodeID, String)
        case received(Message, correlation: UInt64, from: NodeID)
    }
    typealias Reaction = @Sendable (Message, _ correlation: UInt64, _ from: NodeID) -> Void

    private let state = Mutex<(seen: [Seen], infos: [NodeID: NodeInfo])>(([], [:]))
    private let reaction = Mutex<Reaction?>(nil)
    private let pieces = Mutex(0)

    /// Runs on the event loop, after the message was recorded.
    func react(_ reaction: @escaping Reaction) { self.reaction.withLock { $0 = reaction } }

    /// What it claims to have to do yet.
    func setBacklog(_ count: Int) { pieces.withLock { $0 = count } }
    func backlog(of peer: NodeID) -> Int { pieces.withLock { $0 } }

    var seen: [Seen] { state.withLock { $0.seen } }
    var messages: [Message] {
        seen.compactMap { if case .received(let message, _, _) = $0 { message } else { nil } }
    }
    func info(of node: NodeID) -> NodeInfo? { state.withLock { $0.infos[node] } }
    func connections(of node: NodeID) -> Int { seen.count { $0 == .connected(node) } }
    func reasons(of node: NodeID) -> [String] {
        seen.compactMap { if case .disconnected(node, let reason) = $0 { reason } else { nil } }
    }

    func peerConnected(_ peer: NodeInfo) {
        state.withLock {
            $0.seen.append(.connected(peer.id))
            $0.infos[peer.id] = peer
        }
    }
    func peerDisconnected(_ peer: NodeID, reason: String) {
        state.withLock { $0.seen.append(.disconnected(peer, reason)) }
    }
    func received(_ message: Message, correlation: UInt64, from: NodeID) {
        state.withLock { $0.seen.append(.received(message, correlation: correlation, from: from)) }
        reaction.withLock { $0 }?(message, correlation, from)
    }
}

/// Keeps log lines for the tests that promise one.
struct LogRecorder: LogHandler {
    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
        func contain(_ text: String) -> Bool { lines.withLock { $0.contains { $0.contains(text) } } }
        func count(_ text: String) -> Int { lines.withLock { $0.count { $0.contains(text) } } }
        var all: String { lines.withLock { $0.joined(separator: "\n") } }
    }
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
        let facts = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0)=\($1)" }
        lines.add("\(event.level) \(event.message) \(facts.joined(separator: " "))")
    }
}

/// One node of a test: a transport, what it reported, and its log.
final class TestNode: Sendable {
    let id: NodeID
    let transport: PeerTransport
    let recorder = Recorder()
    let log = LogRecorder.Lines()

    init(_ configuration: PeerTransportConfiguration, group: any EventLoopGroup) {
        id = configuration.me.id
        let lines = log
        let logger = Logger(label: configuration.me.id.rawValue) { _ in LogRecorder(lines: lines) }
        transport = PeerTransport(configuration: configuration, group: group, logger: logger)
    }
    func start() async throws { try await transport.start(handler: recorder) }
    func isConnected(to other: TestNode) -> Bool { transport.connectedPeers.contains { $0.id == other.id } }
}

/// Makes nodes and their certificates; ends them all.
final class Fixture: Sendable {
    static let secret = "a secret of more than sixteen bytes"
    let cluster = ClusterID(unchecked: "test")
    let folder: CertificateFolder
    private let nodes = Mutex<[TestNode]>([])

    init() {
        folder = CertificateFolder(path: FileManager.default.temporaryDirectory.path + "/peers-\(UUID().uuidString)")
    }

    /// Runs the test and cleans up, also when it throws.
    static func run(_ body: (Fixture) async throws -> Void) async throws {
        let fixture = Fixture()
        do {
            try await body(fixture)
        } catch {
            await fixture.end()
            throw error
        }
        await fixture.end()
    }

    private func end() async {
        for node in nodes.withLock({ $0 }) { await node.transport.shutdown() }
        try? FileManager.default.removeItem(atPath: folder.path)  // Absent unless certificates were made.
    }

    /// mTLS with a certificate for `name` (the node itself unless said otherwise) of the fixture's authority.
    func certificate(_ name: String, in folder: CertificateFolder? = nil) throws -> PeerTransportConfiguration.Security
    {
        let folder = folder ?? self.folder
        if !FileManager.default.fileExists(atPath: folder.authorityKeyPath) { try folder.initialize() }
        try folder.issue(node: name)
        return .mutualTLS(
            caPath: folder.authorityCertificatePath, certificatePath: folder.certificatePath(node: name),
            keyPath: folder.keyPath(node: name))
    }

    /// A node that is not started. `peers` are nodes that listen already.
    func make(
        _ name: String, role: NodeInfo.Role = .controller, peers: [TestNode] = [],
        security: PeerTransportConfiguration.Security = .plain(sharedSecret: Fixture.secret), cluster: String = "test",
        host: String = "127.0.0.1", port: Int = 0, group: (any EventLoopGroup)? = nil,
        _ change: (inout PeerTransportConfiguration) -> Void = { _ in }
    ) -> TestNode {
        var addresses: [NodeID: PeerAddress] = [:]
        for peer in peers { addresses[peer.id] = PeerAddress(host: "127.0.0.1", port: peer.transport.boundPort) }
        var configuration = PeerTransportConfiguration(
            me: NodeInfo(
                id: NodeID(unchecked: name), role: role, host: host, clusterPort: 0, apiURL: "http://\(name):8080"),
            cluster: ClusterID(unchecked: cluster), listenHost: host, listenPort: port, peers: addresses,
            security: security)
        // Patient, so that a busy machine does not end connections that a test counts on.
        configuration.timing.silenceLimit = .seconds(60)
        configuration.timing.helloTimeout = .seconds(60)
        configuration.timing.connectTimeout = .seconds(5)
        change(&configuration)
        let node = TestNode(configuration, group: group ?? MultiThreadedEventLoopGroup.singleton)
        nodes.withLock { $0.append(node) }
        return node
    }

    func started(
        _ name: String, role: NodeInfo.Role = .controller, peers: [TestNode] = [],
        security: PeerTransportConfiguration.Security = .plain(sharedSecret: Fixture.secret), cluster: String = "test",
        host: String = "127.0.0.1", port: Int = 0, group: (any EventLoopGroup)? = nil,
        _ change: (inout PeerTransportConfiguration) -> Void = { _ in }
    ) async throws -> TestNode {
        let node = make(
            name, role: role, peers: peers, security: security, cluster: cluster, host: host, port: port, group: group,
            change)
        try await node.start()
        return node
    }

    /// Two connected nodes: `node-a` dials `node-b`.
    /// - Parameter group: of `node-b`.
    func pair(
        group: (any EventLoopGroup)? = nil, a change: (inout PeerTransportConfiguration) -> Void = { _ in }
    ) async throws -> (a: TestNode, b: TestNode) {
        let b = try await started("node-b", group: group)
        let a = try await started("node-a", peers: [b], change)
        try await eventually("connected") { a.isConnected(to: b) && b.recorder.connections(of: a.id) == 1 }
        return (a, b)
    }
}

/// Waits for a condition; the test fails after 60 s.
func eventually(
    _ what: String, _ detail: @autoclosure () -> String = "", location: SourceLocation = #_sourceLocation,
    _ condition: () -> Bool
) async throws {
    let isTrue = await TestSupport.eventually(within: .seconds(60), every: .milliseconds(5), condition)
    try #require(isTrue, "not in time: \(what) \(detail())", sourceLocation: location)
}
