import NIOCore

/// Writes messages as frames.
public enum FrameEncoder {
    /// Appends one frame.
    /// - Parameter correlation: 0 for one-way; even for a request; odd for a reply.
    /// - Returns: the frame's length in bytes, its length field included.
    /// - Throws: a `WireError` when the message breaks one of the protocol's rules (a name, a range, a limit); the
    ///   buffer is then as before.
    @discardableResult
    public static func encode(
        _ message: Message, correlation: UInt64 = 0, into buffer: inout ByteBuffer
    ) throws(WireError) -> Int {
        let start = buffer.writerIndex
        do throws(WireError) {
            guard correlation != 1 else { throw .badValue(field: "correlation") }
            let type = message.type
            buffer.writeInteger(UInt32(0))
            buffer.writeInteger(type.rawValue)
            buffer.writeVarint(correlation)
            try message.writeBody(into: &buffer)
            let length = buffer.writerIndex - start - 4
            guard length <= Int(type.frameLimit) else {
                throw .frameTooLong(length: UInt32(clamping: length), limit: type.frameLimit)
            }
            buffer.setInteger(UInt32(length), at: start)
            return length + 4
        } catch {
            buffer.moveWriterIndex(to: start)
            throw error
        }
    }
}
