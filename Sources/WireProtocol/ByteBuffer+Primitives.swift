import NIOCore
import OrchestryModel

/// The building blocks of every body. Reading never traps and never allocates for a length it has not checked against
/// both its limit and the bytes that are there.
extension ByteBuffer {
    // MARK: Integers

    /// Unsigned LEB128, 1 to 10 bytes, always the shortest form.
    mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }

    /// - Throws: `truncated`; `badVarint` for a value of more than 64 bits or a form that is not the shortest.
    mutating func readVarint() throws(WireError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = readInteger(as: UInt8.self) {
            // The tenth byte has room for one bit only.
            if shift == 63, byte > 1 { throw .badVarint }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 {
                if byte == 0, shift > 0 { throw .badVarint }
                return value
            }
            shift += 7
        }
        throw .truncated
    }

    /// - Throws: `badValue` when the value is outside `range`.
    mutating func readVarint(_ field: String, in range: ClosedRange<UInt64>) throws(WireError) -> UInt64 {
        let value = try readVarint()
        guard range.contains(value) else { throw .badValue(field: field) }
        return value
    }

    /// Zigzag: 0, −1, 1, −2 … become 0, 1, 2, 3 …, so that small magnitudes are short.
    mutating func writeZigzag(_ value: Int64) {
        writeVarint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    mutating func readZigzag() throws(WireError) -> Int64 {
        let raw = try readVarint()
        return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    }

    /// A whole number of 0…2³¹−1.
    mutating func writeSmall(_ value: Int, _ field: String) throws(WireError) {
        guard value >= 0, UInt64(value) <= WireLimits.smallInteger else { throw .badValue(field: field) }
        writeVarint(UInt64(value))
    }

    mutating func readSmall(_ field: String) throws(WireError) -> Int {
        Int(try readVarint(field, in: 0...WireLimits.smallInteger))
    }

    /// A counter of 0…2³²; larger ones are written as 2³².
    mutating func writeCounter(_ value: UInt64) { writeVarint(min(value, WireLimits.counter)) }

    mutating func readCounter(_ field: String) throws(WireError) -> UInt64 {
        try readVarint(field, in: 0...WireLimits.counter)
    }

    /// Milliseconds since 1970, up to the end of the year 9999; times outside are moved to the nearer end.
    mutating func writeWallTime(_ time: WallTime) {
        writeVarint(min(UInt64(max(0, time.milliseconds)), WireLimits.wallMilliseconds))
    }

    mutating func readWallTime(_ field: String) throws(WireError) -> WallTime {
        WallTime(milliseconds: Int64(try readVarint(field, in: 0...WireLimits.wallMilliseconds)))
    }

    mutating func readByte() throws(WireError) -> UInt8 {
        guard let byte = readInteger(as: UInt8.self) else { throw .truncated }
        return byte
    }

    /// One byte, 0 or 1.
    mutating func writeFlag(_ value: Bool) { writeInteger(UInt8(value ? 1 : 0)) }

    mutating func readFlag(_ field: String) throws(WireError) -> Bool {
        switch try readByte() {
        case 0: false
        case 1: true
        default: throw .badValue(field: field)
        }
    }

    /// One byte of flags, of which only those in `mask` are defined.
    mutating func readFlags(_ field: String, mask: UInt8) throws(WireError) -> UInt8 {
        let flags = try readByte()
        guard flags & ~mask == 0 else { throw .reservedBits(field: field) }
        return flags
    }

    // MARK: Floating point

    /// IEEE 754 binary64, big-endian. Values outside `range` are moved to its nearer end; not-a-number to its lower end.
    mutating func writeDouble(_ value: Double, in range: ClosedRange<Double>) {
        let kept = value.isNaN ? range.lowerBound : Swift.min(Swift.max(value, range.lowerBound), range.upperBound)
        writeInteger(kept.bitPattern)
    }

    /// - Throws: `badValue` when it is outside `range` or not a number.
    mutating func readDouble(_ field: String, in range: ClosedRange<Double>) throws(WireError) -> Double {
        guard let bits = readInteger(as: UInt64.self) else { throw .truncated }
        let value = Double(bitPattern: bits)
        guard range.contains(value) else { throw .badValue(field: field) }
        return value
    }

    // MARK: Counts, bytes and text

    /// The number of elements that follow.
    /// - Parameter elementBytes: the fewest bytes one element takes, at least 1: a count that can't be true is refused
    ///   before anything is allocated for it.
    mutating func readCount(_ field: String, limit: Int, elementBytes: Int) throws(WireError) -> Int {
        let count = try readVarint()
        guard count <= UInt64(limit) else { throw .tooLong(field: field) }
        guard Int(count) * elementBytes <= readableBytes else { throw .truncated }
        return Int(count)
    }

    mutating func writeCount(_ count: Int, _ field: String, limit: Int) throws(WireError) {
        guard count <= limit else { throw .tooLong(field: field) }
        writeVarint(UInt64(count))
    }

    mutating func writeByteString(_ bytes: [UInt8], _ field: String, limit: Int) throws(WireError) {
        guard bytes.count <= limit else { throw .tooLong(field: field) }
        writeVarint(UInt64(bytes.count))
        writeBytes(bytes)
    }

    mutating func readByteString(_ field: String, limit: Int) throws(WireError) -> [UInt8] {
        let length = try readLength(field, limit: limit)
        guard let bytes = readBytes(length: length) else { throw .truncated }
        return bytes
    }

    /// UTF-8 with its length in bytes in front.
    mutating func writeText(_ text: String, _ field: String, limit: Int) throws(WireError) {
        let length = text.utf8.count
        guard length <= limit else { throw .tooLong(field: field) }
        writeVarint(UInt64(length))
        writeString(text)
    }

    /// As `writeText`, for words meant for people: what is too long is cut at a character boundary.
    mutating func writeCutText(_ text: String, limit: Int) {
        var kept = Substring(text)
        if kept.utf8.count > limit {
            // A character may take many bytes, so cut by scalars: never inside one.
            var end = text.utf8.index(text.startIndex, offsetBy: limit)
            while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
                end = text.utf8.index(before: end)
            }
            kept = text[..<end]
        }
        writeVarint(UInt64(kept.utf8.count))
        writeSubstring(kept)
    }

    mutating func readText(_ field: String, limit: Int, minimum: Int = 0) throws(WireError) -> String {
        let length = try readLength(field, limit: limit)
        guard length >= minimum else { throw .badValue(field: field) }
        guard let view = viewBytes(at: readerIndex, length: length),
            let text = String(validating: view, as: UTF8.self)
        else { throw .badText(field: field) }
        moveReaderIndex(forwardBy: length)
        return text
    }

    /// A text that follows an identity's rule.
    mutating func writeIdentifier(_ identifier: some Identifier, _ field: String) throws(WireError) {
        guard type(of: identifier).isValid(identifier.rawValue) else { throw .badValue(field: field) }
        try writeText(identifier.rawValue, field, limit: WireLimits.instanceBytes)
    }

    mutating func readIdentifier<ID: Identifier>(
        _ field: String, as type: ID.Type = ID.self, limit: Int = WireLimits.identifierBytes
    ) throws(WireError) -> ID {
        guard let identifier = ID(rawValue: try readText(field, limit: limit)) else { throw .badValue(field: field) }
        return identifier
    }

    private mutating func readLength(_ field: String, limit: Int) throws(WireError) -> Int {
        let length = try readVarint()
        guard length <= UInt64(limit) else { throw .tooLong(field: field) }
        guard Int(length) <= readableBytes else { throw .truncated }
        return Int(length)
    }
}
