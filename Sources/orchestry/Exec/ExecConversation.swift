import Foundation
import NIOCore
import NIOWebSocket
import OrchestryModel

/// How a command came to its end.
enum ExecEnding: Sendable {
    case exited(Int)
    /// It did not; why.
    case failed(String)
}

/// What goes on between this process' standard streams and a command, until either ends.
struct ExecConversation {
    let passesInput: Bool
    let isTerminal: Bool
    let server: String

    /// A server says something each 15 s.
    private static let silence = Duration.seconds(60)

    func run(_ socket: ExecSocket) async throws -> ExecEnding {
        let terminal = isTerminal && passesInput ? RawTerminal() : nil
        defer { terminal?.restore() }
        do {
            return try await socket.executeThenClose { inbound, outbound in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    if passesInput { group.addTask { try await Self.sendInput(outbound) } }
                    if isTerminal { group.addTask { try await Self.sendSizes(outbound) } }
                    let heard = HeardSignal()
                    let channel = socket.channel
                    group.addTask {
                        while !Task.isCancelled {
                            try await Task.sleep(for: .seconds(1))
                            if heard.silence > Self.silence { channel.close(promise: nil) }
                        }
                    }
                    defer { group.cancelAll() }
                    return try await receive(inbound, outbound, heard)
                }
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            return .failed("the connection with \(server) is lost (\(APIClient.describe(error)))")
        }
    }

    private func receive(
        _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>,
        _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>, _ heard: HeardSignal
    ) async throws -> ExecEnding {
        var pieces: ByteBuffer?
        for try await frame in inbound {
            heard.note()
            switch frame.opcode {
            case .binary, .continuation:
                var message = pieces ?? ByteBuffer()
                message.writeImmutableBuffer(frame.unmaskedData)
                pieces = frame.fin ? nil : message
                guard frame.fin else { break }
                // While the output is not taken here nothing is read there: that is no silence.
                heard.pause()
                defer { heard.note() }
                if let ending = try await take(message) { return ending }
            case .ping: try await outbound.write(Self.frame(.pong, frame.unmaskedData))
            case .connectionClose: return .failed("\(server) closed the connection")
            default: break
            }
        }
        return .failed("the connection with \(server) is lost")
    }

    private func take(_ message: ByteBuffer) async throws -> ExecEnding? {
        var bytes = message
        switch bytes.readInteger(as: UInt8.self) {
        case 1: try await StandardStreams.write(bytes, to: STDOUT_FILENO)
        case 2: try await StandardStreams.write(bytes, to: STDERR_FILENO)
        case 3:
            let control = (try? JSONValue(json: bytes.readableBytesView)) ?? .null  // Not ours: says nothing to us.
            if let status = control["exit"]?.intValue { return .exited(status) }
            if let reason = control["error"]?.stringValue { return .failed(reason) }
        default: break  // A later release's channel.
        }
        return nil
    }

    private static func sendInput(_ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>) async throws {
        let input = try StandardInput()
        while let bytes = try await input.next() {
            var message = ByteBuffer(integer: UInt8(0))
            message.writeBytes(bytes)
            try await outbound.write(frame(.binary, message))
        }
        if !Task.isCancelled { try await outbound.write(control(["endOfInput": true])) }
    }

    private static func sendSizes(_ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>) async throws {
        for await size in RawTerminal.sizes() {
            try await outbound.write(
                control(["resize": ["columns": JSONValue(size.columns), "rows": JSONValue(size.rows)]]))
        }
    }

    private static func control(_ value: JSONValue) -> WebSocketFrame {
        var message = ByteBuffer(integer: UInt8(3))
        message.writeBytes(value.jsonBytes())
        return frame(.binary, message)
    }

    /// RFC 6455 §5.3: clients mask what they send.
    private static func frame(_ opcode: WebSocketOpcode, _ bytes: ByteBuffer) -> WebSocketFrame {
        WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: bytes)
    }
}
