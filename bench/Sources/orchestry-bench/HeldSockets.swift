import Foundation
import Measuring
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Synchronization

/// WebSockets that are kept open, each with a message a second that must come back; one that ends is opened anew.
final class HeldSockets: Sendable {
    struct Ending: Sendable {
        /// By `uptimeNanoseconds`.
        var at: UInt64
        /// Of the close frame; nil: there was none.
        var code: Int?
        /// Of the last message, until an echo was there or the socket ended.
        var isEchoMissing: Bool
    }

    private struct State {
        var open = 0
        var echoes = 0
        var refused = 0
        var endings: [Ending] = []
    }
    private let state = Mutex(State())
    private let server: [Server]
    private let host: String
    private let path: String

    init(servers: [Server], host: String, path: String) {
        server = servers
        self.host = host
        self.path = path
    }

    var open: Int { state.withLock { $0.open } }
    var echoes: Int { state.withLock { $0.echoes } }
    /// Attempts to open one that failed.
    var refused: Int { state.withLock { $0.refused } }
    var endings: [Ending] { state.withLock { $0.endings } }

    /// Runs until cancelled.
    func hold(_ count: Int) async {
        await withDiscardingTaskGroup { group in
            for number in 0..<count {
                let server = server[number % server.count]
                group.addTask {
                    while !Task.isCancelled {
                        do {
                            try await self.holdOne(at: server)
                        } catch {
                            if !Task.isCancelled { self.state.withLock { $0.refused += 1 } }
                        }
                        try? await Task.sleep(for: .milliseconds(200))  // Cancelled: the condition ends the loop.
                    }
                }
            }
        }
    }

    /// Messages of one socket since the last echo.
    private final class Unanswered: Sendable {
        let count = Atomic(0)
    }

    private enum Upgrade: Sendable {
        case socket(NIOAsyncChannel<WebSocketFrame, WebSocketFrame>)
        case refused
    }

    private func holdOne(at server: Server) async throws {
        let (host, path) = (host, path)
        let upgrade = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(2))
            .connect(host: server.host, port: server.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let upgrader = NIOTypedWebSocketClientUpgrader<Upgrade>(
                        upgradePipelineHandler: { channel, _ in
                            channel.eventLoop.makeCompletedFuture {
                                .socket(try NIOAsyncChannel(wrappingChannelSynchronously: channel))
                            }
                        })
                    let head = HTTPRequestHead(
                        version: .http1_1, method: .GET, uri: path, headers: ["host": host, "content-length": "0"])
                    return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                        configuration: NIOUpgradableHTTPClientPipelineConfiguration(
                            upgradeConfiguration: NIOTypedHTTPClientUpgradeConfiguration(
                                upgradeRequestHead: head, upgraders: [upgrader],
                                notUpgradingCompletionHandler: { channel in
                                    channel.close(promise: nil)
                                    return channel.eventLoop.makeSucceededFuture(.refused)
                                })))
                }
            }
        guard case .socket(let channel) = try await upgrade.get() else { throw KeptConnection.Failure.malformed }
        state.withLock { $0.open += 1 }
        defer { state.withLock { $0.open -= 1 } }
        try await channel.executeThenClose { inbound, outbound in
            await exchange(inbound, outbound)
        }
    }

    private func exchange(
        _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>,
        _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>
    ) async {
        let unanswered = Unanswered()
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    unanswered.count.add(1, ordering: .relaxed)
                    let frame = WebSocketFrame(
                        fin: true, opcode: .text, maskKey: .random(), data: ByteBuffer(string: "still there?"))
                    // The reader sees that the socket has ended.
                    guard (try? await outbound.write(frame)) != nil else { return }
                    try? await Task.sleep(for: .seconds(1))  // Cancelled: the condition ends the loop.
                }
            }
            var code: Int?
            do {
                frames: for try await frame in inbound {
                    switch frame.opcode {
                    case .text:
                        unanswered.count.store(0, ordering: .relaxed)
                        state.withLock { $0.echoes += 1 }
                    case .connectionClose:
                        var data = frame.unmaskedData
                        code = data.readInteger(as: UInt16.self).map(Int.init) ?? 1005
                        break frames
                    default: break
                    }
                }
            } catch {
                // The end without a close frame, as the code says.
            }
            if !Task.isCancelled {
                let ending = Ending(
                    at: uptimeNanoseconds(), code: code, isEchoMissing: unanswered.count.load(ordering: .relaxed) > 1)
                state.withLock { $0.endings.append(ending) }
            }
            group.cancelAll()
        }
    }
}
