import Foundation
import Measuring

/// gRPC's own client and server, both in one process of the package `bench/grpc-peer`, which this one tells what to do.
final class GRPCLink: Link {
    enum Kind: String, CaseIterable, Sendable { case unary, stream }

    let name: String
    let relay: CountingRelay?
    let isAwaitedOnly = true
    /// With 64 calls at once an idle machine made 6,193 a second (grpc-swift-2 2.4.3). Whether 1,024 make more could not be
    /// told: on a loaded one each was ahead half of the time.
    var mostInFlight: Int { kind == .unary ? 64 : .max }
    private let kind: Kind
    private let peer: GRPCPeer

    init(_ kind: Kind, program: String, payloadBytes: Int, tls: TLSFiles?, counting: Bool) async throws {
        self.kind = kind
        name = "gRPC \(kind.rawValue)" + (tls == nil ? "" : ", TLS")
        peer = try GRPCPeer(program, [String(payloadBytes)] + (tls?.pathsForGRPC ?? []))
        guard let port = Int(try await peer.next()) else { throw BenchFailure("\(program) names no port") }
        let relay = counting ? try await CountingRelay(to: port) : nil
        self.relay = relay
        guard try await peer.ask("connect \(relay?.port ?? port)") == "ok" else {
            throw BenchFailure("\(program) does not connect")
        }
    }

    func exchange(_ count: Int, window: Int) async throws -> Pump.Result {
        let answer = try await peer.ask("pipelined \(kind.rawValue) \(count) \(min(window, mostInFlight))")
        guard let duration = Double(answer) else { throw BenchFailure("\(name): \(answer)") }
        return Pump.Result(duration: duration, gaps: [])
    }

    func awaited(_ count: Int) async throws -> [Double] {
        let answer = try await peer.ask("trips \(kind.rawValue) \(count)")
        let times = answer.split(separator: " ").compactMap { Double($0) }
        guard times.count == count else { throw BenchFailure("\(name): \(answer.prefix(500))") }
        return times
    }

    func allocations() async throws -> Double? {
        guard let count = Double(try await peer.ask("allocations")) else { throw BenchFailure("\(name): no number") }
        return count >= 0 ? count : nil
    }

    func close() async throws {
        await peer.stop()
        try await relay?.close()
    }
}

/// The process: a line there, a line back.
private final class GRPCPeer: Sendable {
    /// Longer than any run takes that still moves.
    private static let limit = Duration.seconds(300)
    private let input: FileHandle
    private let pid: pid_t
    private let lines: Lines
    private let ended: AsyncStream<Never>

    init(_ program: String, _ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = arguments
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        let (ended, ending) = AsyncStream<Never>.makeStream()
        process.terminationHandler = { _ in ending.finish() }
        do {
            try process.run()
        } catch {
            throw BenchFailure("can't start \(program): \(error.localizedDescription)")
        }
        pid = process.processIdentifier
        self.ended = ended
        self.input = input.fileHandleForWriting
        lines = Lines(output.fileHandleForReading)
    }

    func ask(_ line: String) async throws -> String {
        try input.write(contentsOf: Data((line + "\n").utf8))
        return try await next()
    }

    /// - Throws: when it ends, or says nothing for too long: it is killed then.
    func next() async throws -> String {
        try await withThrowingTaskGroup(of: String?.self) { group in
            group.addTask { await self.lines.next() }
            group.addTask {
                try await Task.sleep(for: Self.limit)
                kill(self.pid, SIGKILL)
                return nil
            }
            defer { group.cancelAll() }
            guard let line = try await group.next() ?? nil else { throw BenchFailure("the gRPC peer has ended") }
            return line
        }
    }

    /// It ends with its input.
    func stop() async {
        try? input.close()  // Closed already: the same.
        for await _ in ended {}
    }
}

/// Lines of a pipe, read on a thread of its own.
private actor Lines {
    private var iterator: AsyncStream<String>.Iterator

    init(_ handle: FileHandle) {
        let (stream, continuation) = AsyncStream<String>.makeStream()
        iterator = stream.makeAsyncIterator()
        Thread {
            var rest = Data()
            while case let bytes = handle.availableData, !bytes.isEmpty {
                rest += bytes
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    continuation.yield(String(decoding: rest[..<end], as: UTF8.self))
                    rest = rest[(end + 1)...]
                }
            }
            continuation.finish()
        }.start()
    }

    func next() async -> String? {
        var copy = iterator
        defer { iterator = copy }
        return await copy.next(isolation: self)
    }
}
