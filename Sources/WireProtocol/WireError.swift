/// Why bytes are not a valid frame or body. The raw codes travel in Error frames; `proto-spec/errors.md` lists them.
public enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The length field is below the minimum of 2 (a type and a one-byte correlation id).
    case frameTooShort(length: UInt32)
    /// The length field is above what may be sent now.
    case frameTooLong(length: UInt32, limit: UInt32)
    /// No message has this type.
    case unknownType(UInt8)
    /// The body ends before its last field does.
    case truncated
    /// The body goes on after its last field.
    case spareBytes(Int)
    /// A varint that is longer than needed, or does not fit 64 bits.
    case badVarint
    /// A text that is not UTF-8.
    case badText(field: String)
    /// A length or a count above its limit.
    case tooLong(field: String)
    /// A value outside its range, or a name that breaks its rule.
    case badValue(field: String)
    /// A reserved bit is set.
    case reservedBits(field: String)

    public var code: ErrorCode {
        switch self {
        case .frameTooShort: .frameTooShort
        case .frameTooLong: .frameTooLong
        case .unknownType: .unknownType
        case .truncated: .truncated
        case .spareBytes: .spareBytes
        case .badVarint: .badVarint
        case .badText: .badText
        case .tooLong: .tooLong
        case .badValue: .badValue
        case .reservedBits: .reservedBits
        }
    }

    /// Safe to log and to send to the peer: it never holds the peer's bytes.
    public var description: String {
        switch self {
        case .frameTooShort(let length): "frame length \(length) is below 2"
        case .frameTooLong(let length, let limit): "frame length \(length) is above \(limit)"
        case .unknownType(let type): "unknown message type \(type)"
        case .truncated: "the body ends too early"
        case .spareBytes(let count): "\(count) spare bytes after the body"
        case .badVarint: "malformed varint"
        case .badText(let field): "\(field) is not UTF-8"
        case .tooLong(let field): "\(field) is above its limit"
        case .badValue(let field): "\(field) is outside its range"
        case .reservedBits(let field): "reserved bits are set in \(field)"
        }
    }
}
