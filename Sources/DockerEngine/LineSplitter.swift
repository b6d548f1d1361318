import NIOCore

/// Puts lines together from chunks that split or join them anywhere.
struct LineSplitter {
    struct LineTooLong: Error {}
    /// An event with a container's labels is a few kilobytes.
    static let maximumLine = 4 << 20
    private var pending: [UInt8] = []

    /// - Returns: the lines that are now whole, without their line feed.
    mutating func feed(_ chunk: ByteBuffer) throws -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var rest = chunk.readableBytesView[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            pending.append(contentsOf: rest[rest.startIndex..<end])
            lines.append(pending)
            pending = []
            rest = rest[rest.index(after: end)...]
        }
        pending.append(contentsOf: rest)
        if pending.count > Self.maximumLine { throw LineTooLong() }
        return lines
    }

    /// What is left when the stream has ended; nil when it ended with a line feed.
    mutating func finish() -> [UInt8]? {
        defer { pending = [] }
        return pending.isEmpty ? nil : pending
    }
}
