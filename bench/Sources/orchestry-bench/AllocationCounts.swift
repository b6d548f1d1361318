import ArgumentParser
import Foundation
import Measuring

/// Calls of `malloc` of this process so far; nil unless `libCountAllocations.so` was loaded before it.
func countedAllocations() -> Double? {
    guard let symbol = dlsym(nil, "orchestry_bench_allocations") else { return nil }
    // The symbol's type is what `CountAllocations` says.
    return Double(unsafeBitCast(symbol, to: (@convention(c) () -> UInt64).self)())
}

/// Counts allocations, in a process of its own: a counter in front of `malloc` has no place in one that is timed.
struct AllocationsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "protocol-allocations", abstract: "Counts allocations; `protocol` starts it.", shouldDisplay: false
    )

    /// Allocations of one message and its answer, of both ends.
    struct Row: Codable, Sendable {
        var name: String
        var awaited: Double
        var pipelined: Double
    }

    @Option var payload: Int
    @Option var messages: Int
    @Option var window: Int
    @Option var grpc: String?
    @Flag var tls = false

    func run() async throws {
        let files = tls ? try await TLSFiles() : nil
        defer { files?.remove() }
        var rows: [Row] = []
        for tls in files == nil ? [nil] : [nil, files] {
            for link in try await Contenders(payload: payload, tls: tls, grpc: grpc).all() {
                rows.append(try await count(link))
                try await link.close()
            }
        }
        print(String(decoding: try JSONEncoder().encode(rows), as: UTF8.self))
    }

    private func count(_ link: any Link) async throws -> Row {
        // What is made once is made here.
        _ = try await link.awaited(messages)
        _ = try await link.exchange(messages, window: window)
        func allocations() async throws -> Double {
            guard let count = try await link.allocations() else { throw BenchFailure("nothing counts allocations") }
            return count
        }
        let before = try await allocations()
        _ = try await link.awaited(messages)
        let between = try await allocations()
        _ = try await link.exchange(messages, window: window)
        let after = try await allocations()
        return Row(
            name: link.name, awaited: (between - before) / Double(messages),
            pipelined: (after - between) / Double(messages))
    }

    /// Runs it with the counter loaded.
    /// - Throws: when the counter's library is not beside this program, and what the run throws.
    static func rows(payload: Int, messages: Int, window: Int, tls: Bool, grpc: String?) async throws -> [Row] {
        guard let program = Bundle.main.executableURL else { throw BenchFailure("this program's path is unknown") }
        let library = program.deletingLastPathComponent().appending(path: "libCountAllocations.so")
            .path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: library) else {
            throw BenchFailure("there is no \(library): build the product CountAllocations too")
        }
        let said = try await Measuring.run(
            [
                "LD_PRELOAD=\(library)", program.path(percentEncoded: false), configuration.commandName ?? "",
                "--payload", "\(payload)", "--messages", "\(messages)", "--window", "\(window)",
            ] + (tls ? ["--tls"] : []) + (grpc.map { ["--grpc", $0] } ?? []))
        return try JSONDecoder().decode([Row].self, from: Data(said.utf8))
    }
}
