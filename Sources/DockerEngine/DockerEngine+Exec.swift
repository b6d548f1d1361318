import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import OrchestryModel

/// What an attached command writes.
package struct CommandWriting {
    package enum Stream: Sendable { case output, errors }

    fileprivate var input: HijackedInput
    /// nil: a terminal, whose bytes come bare.
    fileprivate var frames: AttachedFrames?
    private var pending: [(stream: Stream, bytes: ByteBuffer)] = []

    fileprivate init(_ input: HijackedInput, isTerminal: Bool) {
        self.input = input
        frames = isTerminal ? nil : AttachedFrames()
    }

    /// What comes next, at least one byte; nil: nothing more comes.
    package mutating func next() async throws(EngineError) -> (stream: Stream, bytes: ByteBuffer)? {
        do {
            while pending.isEmpty {
                guard let chunk = try await input.next() else { return nil }
                guard var frames else { return (.output, chunk) }
                pending = try frames.feed(chunk).filter { $0.bytes.readableBytes > 0 }.map {
                    ($0.isError ? .errors : .output, $0.bytes)
                }
                self.frames = frames
            }
            return pending.removeFirst()
        } catch {
            throw EngineTransport.translate(error, DockerEngine.execOperation)
        }
    }
}

/// The other end of an attached command's standard input and terminal.
package struct CommandHandle: Sendable {
    fileprivate let output: HijackedOutput
    fileprivate let connection: any Channel
    fileprivate let engine: DockerEngine
    fileprivate let id: String

    /// Returns when there is room for more.
    package func write(_ bytes: ByteBuffer) async throws(EngineError) {
        do {
            try await output.write(bytes)
        } catch {
            throw EngineTransport.translate(error, DockerEngine.execOperation)
        }
    }

    package func endInput() { output.finish() }

    /// Closes the connection: nothing more comes of the command, and its standard input ends.
    package func abandon() { connection.close(promise: nil) }

    /// Also to be called with the first size. Returns when the command has begun; until then the engine waits, for 10 s.
    package func resize(_ size: ExecCommand.Size) async throws(EngineError) {
        // 404, 409, 500: it has ended, or has not begun; there is nothing to be done about either.
        _ = try await engine.send(
            DockerEngine.execOperation, .POST, "/exec/\(id)/resize",
            query: [("h", String(size.rows)), ("w", String(size.columns))], accepting: [404, 409, 500])
    }
}

extension DockerEngine {
    static let execOperation = "run a command in the container"
    /// After its output has ended a command is gone, but for one that has closed its streams itself.
    private static let lastWait = Duration.seconds(10)

    /// Runs a command in a running container of this node, as the container's user, attached to the caller. When `body`
    /// returns or throws, the connection is closed and with it the command's standard input: the engine has no way to end a
    /// command. One with a terminal is hung up then, where it runs on this host.
    /// - Parameter body: reads what the command writes, to the end; may write meanwhile.
    /// - Returns: the command's exit status, 0…255. 126 and 127: it could not be run; the engine's words about that came as its
    ///   output.
    /// - Throws: `EngineError`; `notFound` also for a container that is not this node's, `conflict`: it does not run. What `body`
    ///   throws.
    package func attach(
        _ command: ExecCommand, to containerID: String,
        _ body: (inout CommandWriting, CommandHandle) async throws -> Void
    ) async throws -> Int {
        let operation = Self.execOperation
        let document = try await self.document(of: containerID, operation)
        guard ManagedContainer(document, configuration: configuration) != nil else {
            throw EngineError(.notFound, operation: operation, message: "\(containerID) is not this node's")
        }
        let isTerminal = command.terminal != nil
        let created = try await send(
            operation, .POST, "/containers/\(containerID)/exec",
            body: try encode(
                ExecDocument(
                    Cmd: command.words, AttachStdin: command.hasInput, AttachStdout: true, AttachStderr: true,
                    Tty: isTerminal), operation))
        let id = try decode(CreatedDocument.self, created.body, operation).Id
        let call = EngineTransport.Call(
            operation: operation, method: .POST, path: "/exec/\(id)/start",
            body: try encode(CommandStartDocument(Detach: false, Tty: isTerminal), operation),
            timeout: configuration.requestTimeout)
        try await transport.hijack(call) { input, output, connection in
            let handle = CommandHandle(output: output, connection: connection, engine: self, id: id)
            if !command.hasInput { handle.endInput() }
            var writing = CommandWriting(input, isTerminal: isTerminal)
            do {
                try await body(&writing, handle)
            } catch {
                if isTerminal { await hangUp(id, in: containerID) }
                throw error
            }
        }
        return try await exitStatus(id)
    }

    private func exitStatus(_ id: String) async throws -> Int {
        let begun = ContinuousClock.now
        while true {
            let state = try await get(CommandStateDocument.self, Self.execOperation, "/exec/\(id)/json")
            if !state.Running, let code = state.ExitCode { return code & 0xFF }
            guard ContinuousClock.now - begun < Self.lastWait else { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw EngineError(
            .timeout, operation: Self.execOperation, message: "its output has ended, and it goes on in the container")
    }
}

private struct ExecDocument: Encodable {
    var Cmd: [String]
    var AttachStdin: Bool
    var AttachStdout: Bool
    var AttachStderr: Bool
    var Tty: Bool
}

/// The process at a command's terminal, as this host sees it. Its calls block (shortly).
private struct TerminalProcess: Sendable {
    var id: pid_t
    var containerID: String

    /// As a terminal that is gone does: ends a shell, and what it runs.
    /// - Returns: false when it is gone, not of the container, or of another host; or this process may not.
    func hangUp() -> Bool {
        let file = open("/proc/\(id)/cgroup", O_RDONLY | O_CLOEXEC)
        guard id > 1, file >= 0 else { return false }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = read(file, &bytes, bytes.count)
        guard count > 0, String(decoding: bytes[..<count], as: UTF8.self).contains(containerID) else { return false }
        return kill(id, SIGHUP) == 0
    }
}

extension DockerEngine {
    /// Engines leave a command with a terminal alone when its client goes, and a shell would wait there for ever.
    fileprivate func hangUp(_ exec: String, in containerID: String) async {
        do {
            let state = try await get(CommandStateDocument.self, Self.execOperation, "/exec/\(exec)/json")
            guard state.Running, let id = state.Pid, configuration.tcpAddress == nil else { return }
            let process = TerminalProcess(id: pid_t(id), containerID: containerID)
            guard try await NIOThreadPool.singleton.runIfActive({ process.hangUp() }) else {
                return logger.debug(
                    "A command goes on without its terminal",
                    metadata: ["container.id": "\(containerID)", "process": "\(id)"])
            }
        } catch {
            logger.debug(
                "A command may go on without its terminal",
                metadata: ["container.id": "\(containerID)", "error": "\(error)"])
        }
    }
}
