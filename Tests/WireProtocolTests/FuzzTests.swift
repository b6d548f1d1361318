import NIOCore
import OrchestryModel
import Testing
import WireProtocol

/// Bytes nobody meant: the decoder must refuse or accept them, never trap, never read past the frame, and what it
/// accepts must have exactly the form the encoder gives it.
@Suite struct FuzzTests {
    private func check(_ bytes: ByteBuffer, _ context: @autoclosure () -> String) {
        var buffer = bytes
        while true {
            let frame: Frame?
            do throws(WireError) { frame = try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer) } catch {
                return
            }
            guard let frame else { return }
            guard let message = try? Message(frame) else { continue }
            // Histograms, texts and numbers that were accepted must be usable.
            if case .sampleBatch(let samples) = message {
                for sample in samples { _ = (sample.latency.count, sample.latency.percentileMilliseconds(0.95)) }
            }
            // A Hello of a newer release loses its extra bytes; all others come out as they went in.
            guard frame.type != .hello else { continue }
            var again = ByteBuffer()
            do {
                try FrameEncoder.encode(message, correlation: frame.correlation, into: &again)
            } catch {
                Issue.record("accepted but not encodable: \(error), \(context())")
                return
            }
            // Documents of Codable types may hold keys this release does not know, and those are left out.
            switch frame.type {
            case .instanceCommand, .forwardRequest, .forwardResponse, .execRequest: continue
            default: break
            }
            let start = again.readableBytes - frame.body.readableBytes
            #expect(
                again.getSlice(at: start, length: frame.body.readableBytes) == frame.body,
                "decode and encode disagree: \(context())")
        }
    }

    @Test func `random bytes`() {
        var random = SeededGenerator(seed: 0xF00D)
        for round in 0..<20_000 {
            let length = Int.random(in: 0...200, using: &random)
            var buffer = ByteBuffer()
            for _ in 0..<length { buffer.writeInteger(UInt8.random(in: 0...255, using: &random)) }
            check(buffer, "round \(round)")
        }
    }

    @Test(arguments: MessageType.allCases) func `random bodies`(_ type: MessageType) {
        var random = SeededGenerator(seed: 0xBEEF + UInt64(type.rawValue))
        for round in 0..<4000 {
            // Small bytes pass more checks and get further.
            let largest: UInt8 = round % 2 == 0 ? 255 : 8
            let length = Int.random(in: 0...80, using: &random)
            var buffer = ByteBuffer()
            buffer.writeInteger(UInt32(length + 2))
            buffer.writeInteger(type.rawValue)
            buffer.writeInteger(UInt8(0))
            for _ in 0..<length { buffer.writeInteger(UInt8.random(in: 0...largest, using: &random)) }
            check(buffer, "\(type), round \(round)")
        }
    }

    @Test(arguments: MessageType.allCases) func `valid frames with a few bytes changed`(_ type: MessageType) throws {
        var maker = MessageMaker(seed: 0xCAFE + UInt64(type.rawValue))
        for round in 0..<300 {
            var buffer = ByteBuffer()
            try FrameEncoder.encode(maker.message(of: type), into: &buffer)
            for _ in 0..<maker.int(1...4) {
                let position = maker.int(4...(buffer.readableBytes - 1))
                buffer.setInteger(UInt8(maker.int(0...255)), at: position)
            }
            check(buffer, "\(type), round \(round)")
        }
    }

    @Test func `mutated vectors`() {
        var random = SeededGenerator(seed: 0xACE)
        for vector in Vector.all {
            for round in 0..<200 {
                var bytes = vector.bytes
                switch round % 3 {
                case 0:
                    bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
                case 1: bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
                default:
                    bytes.insert(
                        .random(in: 0...255, using: &random), at: Int.random(in: bytes.indices, using: &random))
                }
                check(ByteBuffer(bytes: bytes), "\(vector.name), round \(round)")
            }
        }
    }
}
