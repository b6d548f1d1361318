import NIOCore

/// One frame, its body not yet read.
public struct Frame: Hashable, Sendable {
    public var type: MessageType
    /// 0: one-way; even: a request; odd: the reply to the request one below.
    public var correlation: UInt64
    public var body: ByteBuffer
    public init(type: MessageType, correlation: UInt64, body: ByteBuffer) {
        self.type = type
        self.correlation = correlation
        self.body = body
    }
}

/// Cuts a stream of bytes into frames: `u32` big-endian length of the rest, type, correlation varint, body.
///
/// The length is checked against both limits as soon as its four bytes are there; nothing is allocated for it. After an
/// error the stream can't be followed any more: the connection must close.
public struct FrameDecoder: Sendable {
    /// Longest acceptable length field. 1 KiB until the Hello exchange is over.
    public var limit: UInt32

    public init(limit: UInt32 = WireLimits.helloFrame) { self.limit = limit }

    /// - Returns: the next frame, whose body shares the buffer's storage; nil when more bytes are needed.
    public func next(from buffer: inout ByteBuffer) throws(WireError) -> Frame? {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self) else { return nil }
        guard length >= WireLimits.minimumFrame else { throw .frameTooShort(length: length) }
        guard length <= limit else { throw .frameTooLong(length: length, limit: limit) }
        guard buffer.readableBytes - 4 >= Int(length) else { return nil }
        buffer.moveReaderIndex(forwardBy: 4)
        guard var body = buffer.readSlice(length: Int(length)) else { throw .truncated }
        let raw = try body.readByte()
        guard let type = MessageType(rawValue: raw) else { throw .unknownType(raw) }
        let correlation = try body.readVarint()
        guard correlation != 1 else { throw .badValue(field: "correlation") }
        return Frame(type: type, correlation: correlation, body: body)
    }
}

extension FrameDecoder: NIOSingleStepByteToMessageDecoder {
    public typealias InboundOut = Frame

    public mutating func decode(buffer: inout ByteBuffer) throws -> Frame? { try next(from: &buffer) }

    /// Bytes left when the connection ends are half a frame: nothing to report, the connection is gone.
    public mutating func decodeLast(buffer: inout ByteBuffer, seenEOF: Bool) throws -> Frame? {
        try next(from: &buffer)
    }
}
