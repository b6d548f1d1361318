import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
import OrchestryModel

/// A WebSocket to a server, which has accepted it.
typealias ExecSocket = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

extension APIClient {
    /// As in the server's OpenAPI document.
    private static let subprotocol = "v1.exec.orchestry"
    private static let mostBytes = 1 << 20

    private enum Opened: Sendable {
        case socket(ExecSocket)
        case refused(NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>)
    }

    /// Tries the servers in turn, and again for the client's patience, until one accepts or refuses for good.
    /// - Throws: `CommandFailure`.
    func openSocket(
        _ path: String, query: [(String, String)], app: String
    ) async throws -> (socket: ExecSocket, server: String) {
        let clock = ContinuousClock()
        let deadline = clock.now + patience
        while true {
            var reasons: [String] = []
            var notNow: (status: Int, problem: JSONValue)?
            for server in servers {
                do {
                    switch try await connect(server, Self.target(path, query)) {
                    case .socket(let socket): return (socket, server)
                    case .refused(let channel):
                        let (status, problem) = try await Self.refusal(channel)
                        switch status {
                        case 502, 503: notNow = (status, problem)
                        case 404 where problem["type"]?.stringValue?.hasSuffix(":app-not-found") == true:
                            throw CommandFailure.appNotFound(app, detail: problem["detail"]?.stringValue)
                        default: throw CommandFailure.refused(status: status, problem: problem)
                        }
                    }
                } catch let failure as CommandFailure {
                    throw failure
                } catch {
                    reasons.append(Self.describe(error))
                }
            }
            guard clock.now < deadline else {
                if let notNow { throw CommandFailure.refused(status: notNow.status, problem: notNow.problem) }
                throw CommandFailure.unreachable(servers: servers, reasons: reasons)
            }
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    private func connect(_ server: String, _ target: String) async throws -> Opened {
        guard let url = URLComponents(string: server), let host = url.host else {
            throw CommandFailure.usage("'\(server)' is not a server's address")
        }
        let isTLS = url.scheme == "https"
        let name = host.trimmingCharacters(in: ["[", "]"])
        let port = url.port ?? (isTLS ? 443 : 80)
        let tls = isTLS ? try NIOSSLContext(configuration: try credentials.tlsConfiguration()) : nil
        var headers = HTTPHeaders([
            ("Host", url.port.map { "\(host):\($0)" } ?? host), ("User-Agent", "orchestry/\(Orchestry.version)"),
            ("Accept", "application/json"), ("Sec-WebSocket-Protocol", Self.subprotocol),
        ])
        if let token = credentials.token { headers.add(name: "Authorization", value: "Bearer \(token)") }
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: url.percentEncodedPath + target, headers: headers)
        let negotiation = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(2))
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: name, port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let tls {
                        // An address is no name to be asked for.
                        let isAddress = (try? SocketAddress(ipAddress: name, port: 0)) != nil
                        try pipeline.addHandler(
                            NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : name))
                    }
                    return try pipeline.configureUpgradableHTTPClientPipeline(
                        configuration: .init(upgradeConfiguration: Self.upgrade(head)))
                }
            }
        do {
            return try await negotiation.get()
        } catch let error as NIOSSLError {
            // Nothing was sent yet.
            throw error
        } catch {
            // Not to be tried again: it must not be run twice.
            throw CommandFailure.local(
                "\(server) did not answer (\(Self.describe(error))); whether the command was run is not known: see orchestry audit"
            )
        }
    }

    private static func upgrade(_ head: HTTPRequestHead) -> NIOTypedHTTPClientUpgradeConfiguration<Opened> {
        let upgrader = NIOTypedWebSocketClientUpgrader<Opened>(
            maxFrameSize: mostBytes,
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    .socket(try NIOAsyncChannel(wrappingChannelSynchronously: channel))
                }
            })
        return NIOTypedHTTPClientUpgradeConfiguration(
            upgradeRequestHead: head, upgraders: [upgrader],
            notUpgradingCompletionHandler: { channel in
                channel.eventLoop.makeCompletedFuture {
                    .refused(try NIOAsyncChannel(wrappingChannelSynchronously: channel))
                }
            })
    }

    private static func refusal(
        _ channel: NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
    ) async throws -> (Int, JSONValue) {
        try await channel.executeThenClose { inbound, _ in
            var status = 0
            var body = ByteBuffer()
            reading: for try await part in inbound {
                switch part {
                case .head(let head): status = Int(head.status.code)
                case .body(let bytes) where body.readableBytes < mostBytes: body.writeImmutableBuffer(bytes)
                case .body: break
                case .end: break reading
                }
            }
            // A proxy in between answers in its own way.
            let problem: JSONValue =
                (try? JSONValue(json: body.readableBytesView)) ?? ["title": .string("The server answered \(status)")]
            return (status, problem)
        }
    }
}
