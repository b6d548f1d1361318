import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import OrchestryModel
import Synchronization

/// What a command in a container did.
package struct CommandResult: Hashable, Sendable {
    package var exitCode: Int
    /// The first 4 KiB of what it wrote, to both streams.
    package var output: String
    package init(exitCode: Int, output: String) {
        self.exitCode = exitCode
        self.output = output
    }
}

extension DockerEngine {
    private static let maximumOutput = 4 << 10

    /// Runs a command in a running container of this node, as the container's user, and waits for its end.
    ///
    /// The engine has no way to end a command: one that is late goes on in the container, and until it has ended no other
    /// is begun there by this call, so that slow checks never pile up.
    /// - Parameter timeout: for the command; the calls around it have the usual limits.
    /// - Throws: `timeout` when it is late, or an earlier one still runs; `notFound`, `conflict` (not running), `invalid`.
    package func execute(
        _ command: [String], in containerID: String, timeout: Duration
    ) async throws(EngineError) -> CommandResult {
        let operation = "run a command in the container"
        if let late = lateCommands.withLock({ $0[containerID] }) {
            do throws(EngineError) {
                let state = try await get(CommandStateDocument.self, operation, "/exec/\(late)/json")
                guard !state.Running else {
                    throw EngineError(.timeout, operation: operation, message: "the one before still runs")
                }
            } catch  where error.code == .notFound {
                // It ended, and the engine has forgotten it.
            }
            lateCommands.withLock { $0[containerID] = nil }
        }
        let created = try await send(
            operation, .POST, "/containers/\(containerID)/exec",
            body: try encode(
                CommandDocument(Cmd: command, AttachStdout: true, AttachStderr: true), operation))
        let id = try decode(CreatedDocument.self, created.body, operation).Id
        let call = EngineTransport.Call(
            operation: operation, method: .POST, path: "/exec/\(id)/start",
            body: try encode(CommandStartDocument(Detach: false, Tty: false), operation), timeout: timeout)
        let output: String
        do {
            output = try await transport.within(timeout, of: call) { [transport] in
                var bytes: [UInt8] = []
                var frames = AttachedFrames()
                for try await chunk in try await transport.stream(call) {
                    for frame in try frames.feed(chunk) {
                        bytes += frame.bytes.readableBytesView.prefix(max(0, Self.maximumOutput - bytes.count))
                    }
                }
                return String(decoding: bytes, as: UTF8.self)
            }
        } catch {
            let failure = EngineTransport.translate(error, operation)
            if failure.code == .timeout { lateCommands.withLock { $0[containerID] = id } }
            throw failure
        }
        let state = try await get(CommandStateDocument.self, operation, "/exec/\(id)/json")
        guard let code = state.ExitCode, !state.Running else {
            throw EngineError(.malformed, operation: operation, message: "it ended without an exit code")
        }
        return CommandResult(exitCode: code, output: output)
    }
}

/// Takes the payloads out of an attached command's stream: frames of 8 bytes header (stream, three zeros, length as u32
/// big-endian) and payload.
struct AttachedFrames {
    private var buffer = ByteBuffer()

    mutating func feed(_ chunk: ByteBuffer) throws -> [(isError: Bool, bytes: ByteBuffer)] {
        buffer.writeImmutableBuffer(chunk)
        var result: [(isError: Bool, bytes: ByteBuffer)] = []
        while let length = buffer.getInteger(at: buffer.readerIndex + 4, as: UInt32.self) {
            guard length <= 1 << 20 else { throw LogDecoder.Malformed() }
            guard buffer.readableBytes >= 8 + Int(length) else { break }
            let isError = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self) == 2
            buffer.moveReaderIndex(forwardBy: 8)
            if let bytes = buffer.readSlice(length: Int(length)) { result.append((isError, bytes)) }
        }
        buffer.discardReadBytes()
        return result
    }
}

private struct CommandDocument: Encodable {
    var Cmd: [String]
    var AttachStdout: Bool
    var AttachStderr: Bool
}

struct CommandStartDocument: Encodable {
    var Detach: Bool
    var Tty: Bool
}

struct CommandStateDocument: Decodable {
    var Running: Bool
    var ExitCode: Int?
    /// As the engine's host numbers it; 0: it does not run.
    var Pid: Int?
}
