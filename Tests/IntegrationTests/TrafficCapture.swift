import Foundation
import Glibc
import NIOCore
import Synchronization
import TestSupport
import WireProtocol

/// Whether traffic can be captured here: with tshark, as root.
let captureExpected = servicesExpected && getuid() == 0 && Tool.isExpected("tshark")

/// dumpcap on the loopback interface, on the cluster ports of one test's nodes and nothing else.
final class TrafficCapture: Sendable {
    static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("proto-spec/dissector/orchestry.lua").path

    let file: String
    private let process: ChildProcess
    private let isEnded = Mutex(false)

    /// Returns when packets are being captured.
    init(_ cluster: Cluster) async throws {
        file = cluster.folder.appending("traffic.pcapng")
        let log = cluster.folder.appending("dumpcap")
        let filter = cluster.members.map { "tcp port \($0.clusterPort)" }.joined(separator: " or ")
        process = try ChildProcess(
            try Tool.named("dumpcap").path, ["-q", "-i", "lo", "-B", "32", "-f", filter, "-w", file], output: log)
        let runs = await eventually {
            // Not there yet: not capturing yet.
            (try? String(contentsOfFile: log, encoding: .utf8))?.contains("File: ") == true
        }
        guard runs else {
            // Only for the error's text.
            let words = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw TestFailure("dumpcap does not capture: \(words)")
        }
    }

    /// Ends it and waits until the file is complete.
    func stop() async throws {
        try await onOwnThread { self.end(SIGINT) }
    }

    func kill() { end(SIGKILL) }

    /// Once: its number may be another process's afterwards.
    private func end(_ signal: Int32) {
        isEnded.withLock { isEnded in
            guard !isEnded else { return }
            isEnded = true
            process.signal(signal)
            process.wait()
        }
    }

    /// What tshark prints of the capture.
    func read(_ arguments: [String], options: [String] = []) async throws -> String {
        // The nodes' ports are any: the dissector has to find the connections by their Hellos.
        let settings = (["tcp.try_heuristic_first:TRUE"] + options).flatMap { ["-o", $0] }
        return try await Tool.named("tshark").run(
            ["-X", "lua_script:\(Self.script)", "-r", file] + settings + arguments)
    }

    /// One dissected packet: the values of each field asked for, in the order of its messages.
    struct Packet {
        var number: Int
        var stream: Int
        var fields: [String: [String]]
        var names: [String] { fields["orchestry.message_name"] ?? [] }
        subscript(field: String) -> [String] { fields["orchestry." + field] ?? [] }
    }

    /// Every packet with a message in it, after two passes: a request knows its reply too.
    func packets(_ names: [String], options: [String] = []) async throws -> [Packet] {
        let fields = ["orchestry.message_name"] + names.map { "orchestry." + $0 }
        let columns = ["frame.number", "tcp.stream"] + fields
        let output = try await read(
            ["-2", "-Y", "orchestry", "-T", "fields", "-E", "aggregator=|"] + columns.flatMap { ["-e", $0] },
            options: options)
        return output.split(separator: "\n").compactMap { line in
            let values = line.split(separator: "\t", omittingEmptySubsequences: false).map { column in
                column.split(separator: "|").map(String.init)
            }
            guard values.count == columns.count, let number = values[0].first.flatMap({ Int($0) }),
                let stream = values[1].first.flatMap({ Int($0) })
            else { return nil }
            return Packet(
                number: number, stream: stream,
                fields: Dictionary(uniqueKeysWithValues: zip(fields, values.dropFirst(2))))
        }
    }

    /// The frames of one TCP stream, in each direction, as `WireProtocol` reads them from what tshark put together.
    func frames(ofStream stream: Int) async throws -> [[Frame]] {
        let output = try await read(["-q", "-z", "follow,tcp,raw,\(stream)"])
        var directions = [ByteBuffer(), ByteBuffer()]
        for line in output.split(separator: "\n") {
            // The side that answers is indented.
            let text = line.drop { $0 == "\t" }
            guard !text.isEmpty, text.count.isMultiple(of: 2), text.allSatisfy(\.isHexDigit) else { continue }
            var rest = text[...]
            while let byte = UInt8(rest.prefix(2), radix: 16) {
                directions[line.hasPrefix("\t") ? 1 : 0].writeInteger(byte)
                rest = rest.dropFirst(2)
            }
        }
        return try directions.map { bytes in
            var bytes = bytes
            var frames: [Frame] = []
            while let frame = try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &bytes) { frames.append(frame) }
            return frames
        }
    }
}
