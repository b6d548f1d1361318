import NIOCore
import OrchestryModel

/// Reads the engine's log stream with time stamps.
///
/// Without a terminal, frames of 8 bytes header (stream, three zeros, length as u32 big-endian) and payload; with one, bare
/// lines. Each payload begins with its own time stamp; one without a line feed at its end is continued by the stream's next.
package struct LogDecoder {
    package struct Malformed: Error {}
    package static let maximumText = 64 << 10
    /// The engine cuts lines at 16 KiB.
    private static let maximumFrame: UInt32 = 1 << 20

    private struct Partial {
        var time: WallTime
        var nanoseconds: Int
        var text: [UInt8]
    }
    private let isRaw: Bool
    private var buffer = ByteBuffer()
    private var lines = LineSplitter()
    private var partials: [LogLine.Stream: Partial] = [:]

    package init(isRaw: Bool) { self.isRaw = isRaw }

    package mutating func feed(_ chunk: ByteBuffer) throws -> [LogLine] {
        if isRaw { return try lines.feed(chunk).compactMap { take($0 + [UInt8(ascii: "\n")], from: .stdout) } }
        buffer.writeImmutableBuffer(chunk)
        var result: [LogLine] = []
        while let (stream, length) = try header(), buffer.readableBytes >= 8 + Int(length) {
            buffer.moveReaderIndex(forwardBy: 8)
            let payload = buffer.readBytes(length: Int(length)) ?? []
            if let line = take(payload, from: stream) { result.append(line) }
        }
        buffer.discardReadBytes()
        return result
    }

    /// Lines that had no line feed yet when the stream ended.
    package mutating func finish() -> [LogLine] {
        var result: [LogLine] = []
        if let rest = lines.finish(), let line = take(rest + [UInt8(ascii: "\n")], from: .stdout) {
            result.append(line)
        }
        for stream in [LogLine.Stream.stdout, .stderr] {
            if let partial = partials.removeValue(forKey: stream) { result.append(line(partial, stream)) }
        }
        return result
    }

    private func header() throws -> (LogLine.Stream, UInt32)? {
        guard let kind = buffer.getInteger(at: buffer.readerIndex, as: UInt8.self),
            let length = buffer.getInteger(at: buffer.readerIndex + 4, as: UInt32.self)
        else { return nil }
        guard kind <= 2, length <= Self.maximumFrame else { throw Malformed() }
        return (kind == 2 ? .stderr : .stdout, length)
    }

    private mutating func take(_ payload: [UInt8], from stream: LogLine.Stream) -> LogLine? {
        let space = payload.firstIndex(of: UInt8(ascii: " ")) ?? payload.endIndex
        let word = String(decoding: payload[..<space], as: UTF8.self)
        let stamp = EngineTime.parse(word)
        var text = stamp == nil ? payload[...] : payload[space...].dropFirst()
        let isWhole = text.last == UInt8(ascii: "\n")
        if isWhole { text = text.dropLast() }
        if text.last == UInt8(ascii: "\r") { text = text.dropLast() }
        var partial =
            partials.removeValue(forKey: stream)
            ?? Partial(
                time: stamp ?? WallTime(milliseconds: 0), nanoseconds: stamp == nil ? 0 : EngineTime.nanoseconds(word),
                text: [])
        partial.text.append(contentsOf: text.prefix(max(0, Self.maximumText - partial.text.count)))
        if isWhole { return line(partial, stream) }
        partials[stream] = partial
        return nil
    }

    private func line(_ partial: Partial, _ stream: LogLine.Stream) -> LogLine {
        LogLine(
            time: partial.time, nanoseconds: partial.nanoseconds, stream: stream,
            text: String(decoding: partial.text, as: UTF8.self))
    }
}
