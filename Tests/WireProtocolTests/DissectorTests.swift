import Foundation
import NIOCore
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// `proto-spec/dissector/orchestry.lua` in tshark, on captures made here. `TrafficTests` has it read real traffic.
@Suite(.enabled(if: Tool.isExpected("tshark"), "needs tshark: see configs/dev/test"), .timeLimit(.minutes(3)))
struct DissectorTests {
    private static let script = Vector.folder.deletingLastPathComponent()
        .appendingPathComponent("dissector/orchestry.lua").path

    private func tshark(_ capture: Capture, _ arguments: [String]) async throws -> String {
        let folder = try TemporaryFolder("dissector")
        try capture.write(to: folder.appending("capture.pcap"))
        return try await Tool.named("tshark").run(
            ["-X", "lua_script:\(Self.script)", "-r", folder.appending("capture.pcap")] + arguments)
    }

    /// The dissector's account of each packet: names of messages, names of errors.
    private func accounts(_ capture: Capture) async throws -> [Int: (names: [String], errors: [String])] {
        let output = try await tshark(
            capture,
            ["-T", "fields", "-e", "frame.number", "-e", "orchestry.message_name", "-e", "orchestry.malformed"])
        var accounts: [Int: (names: [String], errors: [String])] = [:]
        for line in output.split(separator: "\n") {
            let columns = line.split(separator: "\t", omittingEmptySubsequences: false).map { column in
                column.split(separator: ",").map(String.init)
            }
            guard columns.count == 3, let number = columns[0].first.flatMap({ Int($0) }) else { continue }
            accounts[number] = (columns[1], columns[2])
        }
        return accounts
    }

    /// The lines of `tshark -V` for each packet.
    private func details(_ capture: Capture) async throws -> [Int: [Substring]] {
        let output = try await tshark(capture, ["-V", "-O", "orchestry"])
        #expect(!output.contains("Lua Error"), "\(output.split(separator: "\n").filter { $0.contains("Lua Error") })")
        var packets: [Int: [Substring]] = [:]
        var current = 0
        for line in output.split(separator: "\n") {
            if line.hasPrefix("Frame "), let number = Int(line.dropFirst(6).prefix { $0.isNumber }) { current = number }
            packets[current, default: []].append(line)
        }
        return packets
    }

    /// Adds a vector, on a connection of its own on which its limit applies.
    private func add(_ vector: Vector, port: UInt16, to capture: inout Capture) throws -> Int {
        var connection = Capture.Connection(port: port)
        if vector.limit != WireLimits.bulkFrame { capture.open(&connection) }
        if vector.limit == WireLimits.controlFrame {
            let node = NodeInfo(id: NodeID(unchecked: "a"), role: .controller, host: "", clusterPort: 0, apiURL: "")
            let hello = Hello(cluster: ClusterID(unchecked: "c"), node: node, incarnation: 1, channel: .control)
            capture.send(try frame(.hello(hello)), on: &connection)
            let accepted = HelloAccepted(version: 1, node: node, incarnation: 2)
            capture.send(try frame(.helloAccepted(accepted)), on: &connection, toAcceptor: false)
        }
        return capture.send(vector.bytes, on: &connection)
    }

    private func frame(_ message: Message, correlation: UInt64 = 0) throws -> [UInt8] {
        var buffer = ByteBuffer()
        try FrameEncoder.encode(message, correlation: correlation, into: &buffer)
        return Array(buffer.readableBytesView)
    }

    @Test func `of every vector the dissector says what the file says`() async throws {
        var capture = Capture()
        var numbers: [(vector: Vector, packet: Int)] = []
        for (index, vector) in Vector.all.enumerated() {
            numbers.append((vector, try add(vector, port: UInt16(20_000 + index), to: &capture)))
        }
        let accounts = try await accounts(capture)
        let details = try await details(capture)
        #expect(numbers.count >= 72)
        for (vector, packet) in numbers {
            let account = try #require(accounts[packet], "\(vector.name)")
            let lines = vector.expected.split(separator: "\n")
            if let error = lines.first?.split(separator: ": ").last, vector.expected.hasPrefix("error: ") {
                #expect(account.errors == [String(error)], "\(vector.name)")
            } else {
                #expect(account.errors.isEmpty, "\(vector.name)")
                #expect(account.names == [lines.last?.prefix { $0 != " " }].compactMap { $0.map(String.init) })
                let missing = Self.missing(from: details[packet] ?? [], lines.last ?? "")
                #expect(missing.isEmpty, "\(vector.name): \(missing)")
            }
        }
    }

    @Test(arguments: [UInt64(1), 2]) func `every field of random messages is shown`(seed: UInt64) async throws {
        var capture = Capture()
        var maker = MessageMaker(seed: seed)
        var sent: [(message: Message, packet: Int)] = []
        for round in 0..<10 {
            for type in MessageType.allCases {
                let message = maker.message(of: type)
                var connection = Capture.Connection(port: UInt16(20_000 + round * 100 + Int(type.rawValue)))
                let bytes = try frame(message, correlation: maker.number() & ~1)
                // What does not fit one packet of the made-up network is left to the next test.
                guard bytes.count < 60_000 else { continue }
                sent.append((message, capture.send(bytes, on: &connection)))
            }
        }
        let accounts = try await accounts(capture)
        let details = try await details(capture)
        for (message, packet) in sent {
            let text = describe(message)
            let account = try #require(accounts[packet], "seed \(seed): \(text)")
            #expect(account.names == [messageName(message.type)] && account.errors.isEmpty, "seed \(seed): \(text)")
            let missing = Self.missing(from: details[packet] ?? [], text[...])
            #expect(missing.isEmpty, "seed \(seed): \(missing) of \(text)")
        }
    }

    @Test(arguments: [1, 3, 7, 100, 1_400]) func `frames are found however the stream is cut`(size: Int) async throws {
        var capture = Capture()
        var maker = MessageMaker(seed: UInt64(size))
        var connection = Capture.Connection(port: 20_000)
        var stream: [UInt8] = []
        // Short pieces make many packets: only the short messages then.
        let types = size < 100 ? Array(MessageType.allCases.prefix(12)) : MessageType.allCases
        for type in types { stream += try frame(maker.message(of: type)) }
        for start in stride(from: 0, to: stream.count, by: size) {
            capture.send(stream[start..<min(start + size, stream.count)], on: &connection)
        }
        let accounts = try await accounts(capture).sorted { $0.key < $1.key }
        let names = accounts.flatMap { $0.value.names }
        #expect(names == types.map(messageName))
        #expect(accounts.allSatisfy { $0.value.errors.isEmpty })
    }

    @Test func `a message on the wrong channel and bytes that are no frame are pointed out`() async throws {
        var capture = Capture()
        var maker = MessageMaker(seed: 3)
        var connection = Capture.Connection(port: 20_000)
        capture.open(&connection)
        let node = maker.nodeInfo()
        let hello = Hello(cluster: ClusterID(unchecked: "c"), node: node, incarnation: 1, channel: .bulk)
        capture.send(try frame(.hello(hello)), on: &connection)
        capture.send(
            try frame(.helloAccepted(HelloAccepted(version: 1, node: node, incarnation: 2))), on: &connection,
            toAcceptor: false)
        let heartbeat = capture.send(
            try frame(.election(.heartbeat(epoch: Epoch(7), sentAt: 1))), on: &connection)
        let noise = capture.send([0xff, 0xff, 0xff, 0xff, 1, 2, 3], on: &connection)
        let details = try await details(capture)
        #expect(details[heartbeat]?.contains { $0.contains("Heartbeat travels on control") } == true)
        #expect(details[noise]?.contains { $0.contains("frame-too-long (4294967295, limit 16777216)") } == true)
    }

    // MARK: Values

    /// The values of `description` (see `describe`) that no line shows: names and texts without special characters,
    /// numbers, truths.
    private static func missing(from lines: [Substring], _ description: Substring) -> [String] {
        var shown: [String: Int] = [:]
        var numbers: [Double] = []
        for line in lines {
            guard let colon = line.firstRange(of: ": ") else { continue }
            var value = line[colon.upperBound...]
            // "ready (3)": the word and its number; a time and its date.
            if value.last == ")", let bracket = value.range(of: " (", options: .backwards) {
                value = value[..<bracket.lowerBound]
            }
            let text = value == "True" ? "true" : value == "False" ? "false" : String(value)
            shown[text, default: 0] += 1
            if let number = Double(text) { numbers.append(number) }
        }
        return leaves(of: description).filter { leaf in
            if let count = shown[leaf], count > 0 {
                shown[leaf] = count - 1
                return false
            }
            // Wireshark shows 15 digits of a number.
            guard let number = Double(leaf) else { return true }
            return !numbers.contains { abs($0 - number) <= abs(number) * 1e-12 }
        }
    }

    private static func leaves(of description: Substring) -> [String] {
        let text = description.replacing("\"out of memory\": true, ", with: "")
        let token = /"(?:[^"\\]|\\.)*"(?<key>:)?|-?[0-9][-+.0-9e]*|true|false/
        return text.matches(of: token).compactMap { match in
            guard match.output.key == nil else { return nil }
            let leaf = match.output.0
            guard leaf.first == "\"" else { return String(leaf) }
            let inner = leaf.dropFirst().dropLast()
            let isPlain = inner.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./".contains($0)) }
            return isPlain && !inner.isEmpty && inner.count < 200 ? String(inner) : nil
        }
    }
}
