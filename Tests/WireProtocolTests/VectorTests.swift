import NIOCore
import Testing
import WireProtocol

import struct Foundation.Data
import class Foundation.ProcessInfo

@Suite struct VectorTests {
    /// Decodes the vector's bytes as a peer would.
    private func outcome(_ vector: Vector) -> (text: String, frame: Frame?, message: Message?) {
        var buffer = ByteBuffer(bytes: vector.bytes)
        do throws(WireError) {
            guard let frame = try FrameDecoder(limit: vector.limit).next(from: &buffer) else {
                return ("needs more bytes\n", nil, nil)
            }
            guard buffer.readableBytes == 0 else { return ("bytes after the frame\n", nil, nil) }
            let message = try Message(frame)
            return ("correlation: \(frame.correlation)\n\(describe(message))\n", frame, message)
        } catch {
            return ("error: \(error.code)\n", nil, nil)
        }
    }

    @Test(arguments: Vector.all) func `a peer makes of the bytes what the file says`(_ vector: Vector) throws {
        try #require(!vector.bytes.isEmpty, "\(vector.name) is unreadable")
        #expect(outcome(vector).text == vector.expected, "\(vector.name)")
    }

    @Test(arguments: Vector.all) func `encoding what was decoded gives the same bytes`(_ vector: Vector) throws {
        guard let frame = outcome(vector).frame, let message = outcome(vector).message else { return }
        guard vector.name != "hello-newer-release" else { return }  // Its spare bytes are not ours to repeat.
        var buffer = ByteBuffer()
        try FrameEncoder.encode(message, correlation: frame.correlation, into: &buffer)
        #expect(Array(buffer.readableBytesView) == vector.bytes, "\(vector.name)")
    }

    @Test func `every message type and every kind of error has a vector`() {
        let valid = Set(Vector.all.compactMap { outcome($0).message?.type })
        #expect(valid == Set(MessageType.allCases))
        let refused = Set(Vector.all.map(\.expected).filter { $0.hasPrefix("error: ") })
        let named = (1...10 as ClosedRange<UInt16>).map { "error: \(ErrorCode(rawValue: $0))\n" }
        #expect(refused == Set(named))
    }
}
