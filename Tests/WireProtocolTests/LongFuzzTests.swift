import NIOCore
import Testing
import WireProtocol

import struct Foundation.Data
import class Foundation.ProcessInfo
import struct Foundation.URL

/// As many rounds as somebody has time for: `ORCHESTRY_DEV_FUZZ_ROUNDS=1000000 swift test --filter LongFuzzTests`. The
/// seed of a failure is in its text; `ORCHESTRY_DEV_FUZZ_SEED` begins there.
@Suite struct LongFuzzTests {
    private static let rounds = setting("ORCHESTRY_DEV_FUZZ_ROUNDS", 20_000)
    private static let firstSeed = setting("ORCHESTRY_DEV_FUZZ_SEED", 1)

    private static func setting(_ name: String, _ fallback: UInt64) -> UInt64 {
        ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) ?? fallback
    }

    /// Frames that are right, to be spoilt: the golden ones and one of every type.
    private static let templates: [[UInt8]] = {
        var maker = MessageMaker(seed: 0xFADE)
        let made = MessageType.allCases.map { type -> [UInt8] in
            var buffer = ByteBuffer()
            // An unencodable message would leave an empty template, which the test below reports.
            _ = try? FrameEncoder.encode(maker.message(of: type), into: &buffer)
            return Array(buffer.readableBytesView)
        }
        return Vector.all.map(\.bytes) + made
    }()

    /// Bytes of one round.
    static func bytes(seed: UInt64) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        switch seed % 8 {
        case 0:  // Noise behind a length that fits.
            let largest: UInt8 = Bool.random(using: &random) ? 255 : 8
            let types = MessageType.allCases
            let body = (0..<Int.random(in: 0...120, using: &random)).map { _ in
                UInt8.random(in: 0...largest, using: &random)
            }
            let type = types[Int.random(in: types.indices, using: &random)].rawValue
            return framed([type, 0] + body)
        case 1:  // Noise.
            return (0..<Int.random(in: 0...64, using: &random)).map { _ in .random(in: 0...255, using: &random) }
        case 2...4:  // A valid message with every field varied, then spoilt.
            let types = MessageType.allCases
            var maker = MessageMaker(seed: random.next())
            var buffer = ByteBuffer()
            // As above.
            _ = try? FrameEncoder.encode(
                maker.message(of: types[Int.random(in: types.indices, using: &random)]), into: &buffer)
            return spoilt(Array(buffer.readableBytesView), &random)
        default:
            return spoilt(templates[Int.random(in: templates.indices, using: &random)], &random)
        }
    }

    private static func framed(_ rest: [UInt8]) -> [UInt8] {
        let length = UInt32(rest.count)
        return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) } + rest
    }

    /// Up to six changes of the kinds that find faults: bits, extreme bytes, cuts, repeats, moves, lies about lengths.
    private static func spoilt(_ original: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
        var bytes = original
        // One change gets furthest; none at all is the test of the test.
        for _ in 0..<([0, 1, 1, 1, 1, 2, 3, 6].randomElement(using: &random) ?? 1) where !bytes.isEmpty {
            let place = Int.random(in: bytes.indices, using: &random)
            let length = min(Int.random(in: 1...12, using: &random), bytes.count - place)
            switch Int.random(in: 0...8, using: &random) {
            case 0: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
            case 1: bytes[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
            case 2: bytes.removeSubrange(place..<(place + length))
            case 3: bytes.insert(contentsOf: bytes[place..<(place + length)], at: place)
            case 4: bytes.removeLast(bytes.count - place)
            case 5: bytes.insert(.random(in: 0...255, using: &random), at: place)
            case 6:  // A varint of the largest kind.
                let tail = Array(repeating: UInt8(0xFF), count: Int.random(in: 1...9, using: &random)) + [0x7F]
                bytes.replaceSubrange(place..<(place + length), with: tail)
            case 7:
                let other = templates[Int.random(in: templates.indices, using: &random)]
                bytes.insert(contentsOf: other.prefix(Int.random(in: 0...40, using: &random)), at: place)
            default: bytes.swapAt(place, Int.random(in: bytes.indices, using: &random))
            }
        }
        // Mostly with a length that is true again, so that the body is looked at.
        guard bytes.count > 6, Int.random(in: 0...3, using: &random) > 0 else { return bytes }
        return framed(Array(bytes[4...]))
    }

    @Test func `nothing traps, and what is accepted comes out as it went in`() throws {
        try #require(!Self.templates.contains { $0.isEmpty })
        let peakBefore = Self.peakAddressSpace()
        var accepted = 0
        for seed in Self.firstSeed..<(Self.firstSeed + Self.rounds) {
            let bytes = Self.bytes(seed: seed)
            let reference = ByteBuffer(bytes: bytes)
            var buffer = reference
            let capacity = buffer.capacity
            var frames = 0
            while let frame = (try? FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer)).flatMap({ $0 }) {
                frames += 1
                try #require(frames <= bytes.count / 6 + 1, "seed \(seed): the decoder does not move on")
                guard let message = try? Message(frame) else { continue }
                accepted += 1
                try check(message, frame, seed)
            }
            try #require(buffer.capacity <= max(capacity, bytes.count), "seed \(seed): the buffer grew")
        }
        let growth = Self.peakAddressSpace() - peakBefore
        // Frames of this test have a few hundred bytes: an allocation from an unchecked length would be far larger.
        #expect(growth < 1 << 30, "address space grew by \(growth) bytes")
        #expect(accepted > Int(Self.rounds) / 20, "only \(accepted) of \(Self.rounds) got through: too much noise")
        print("fuzz: \(Self.rounds) rounds from seed \(Self.firstSeed), \(accepted) messages accepted")
    }

    /// Decode, encode, decode: the second message is the first, and from then on the bytes stay the same.
    private func check(_ message: Message, _ frame: Frame, _ seed: UInt64) throws {
        var first = ByteBuffer()
        do throws(WireError) {
            try FrameEncoder.encode(message, correlation: frame.correlation, into: &first)
        } catch {
            Issue.record("seed \(seed): accepted but not encodable: \(error); \(message)")
            return
        }
        var copy = first
        let again = try #require(try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &copy), "seed \(seed)")
        let second = try Message(again)
        try #require(second == message, "seed \(seed): \(message) became \(second)")
        var last = ByteBuffer()
        try FrameEncoder.encode(second, correlation: again.correlation, into: &last)
        try #require(last == first, "seed \(seed): \(message)")
    }

    /// Bytes; 0 where the system does not say.
    private static func peakAddressSpace() -> Int {
        // Only Linux has it.
        let status = (try? Data(contentsOf: URL(fileURLWithPath: "/proc/self/status"))) ?? Data()
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmPeak:") }
        return (line?.split(whereSeparator: { !$0.isNumber }).first).flatMap { Int($0) }.map { $0 * 1024 } ?? 0
    }

    /// A length or count that is not true, at every place of every kind of frame.
    @Test(arguments: MessageType.allCases) func `a count that can't be true is refused before room is made for it`(
        _ type: MessageType
    ) throws {
        var maker = MessageMaker(seed: 0xC0DE + UInt64(type.rawValue))
        for _ in 0..<3 {
            var buffer = ByteBuffer()
            try FrameEncoder.encode(maker.message(of: type), into: &buffer)
            let bytes = Array(buffer.readableBytesView)
            for place in bytes.indices.dropFirst(6) {
                for lie: [UInt8] in [[0xFF, 0xFF, 0x7F], [0xFF, 0xFF, 0xFF, 0x07], [0x80, 0x80, 0x80, 0x80, 0x10]] {
                    var changed = bytes
                    changed.replaceSubrange(place..<min(place + 1, bytes.count), with: lie)
                    var lying = ByteBuffer(bytes: Self.framed(Array(changed[4...])))
                    // Refused or not: what counts is that it returns, quickly and without a huge allocation.
                    if let frame = try? FrameDecoder(limit: WireLimits.bulkFrame).next(from: &lying) {
                        _ = try? Message(frame)
                    }
                }
            }
        }
    }
}
