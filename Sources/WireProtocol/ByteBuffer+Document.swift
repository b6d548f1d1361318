import NIOCore
import OrchestryModel

/// JSON documents as tagged binary: a tag byte, then what it announces. One document has one form only (keys sorted).
extension ByteBuffer {
    private enum Tag {
        static let null: UInt8 = 0
        static let no: UInt8 = 1
        static let yes: UInt8 = 2
        static let int: UInt8 = 3
        static let double: UInt8 = 4
        static let string: UInt8 = 5
        static let array: UInt8 = 6
        static let object: UInt8 = 7
    }

    private static let finite = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude

    /// - Throws: `tooLong` for a document that is nested too deeply or whose texts or counts are above the limits.
    mutating func writeDocument(_ value: JSONValue, depth: Int = 0) throws(WireError) {
        guard depth < WireLimits.documentDepth else { throw .tooLong(field: "document.depth") }
        switch value {
        case .null: writeInteger(Tag.null)
        case .bool(let flag): writeInteger(flag ? Tag.yes : Tag.no)
        case .int(let number):
            writeInteger(Tag.int)
            writeZigzag(number)
        case .double(let number):
            // JSON has no infinities and no not-a-number.
            guard number.isFinite else {
                writeInteger(Tag.null)
                return
            }
            writeInteger(Tag.double)
            writeInteger(number.bitPattern)
        case .string(let text):
            writeInteger(Tag.string)
            try writeText(text, "document.text", limit: WireLimits.documentTextBytes)
        case .array(let items):
            writeInteger(Tag.array)
            try writeCount(items.count, "document.items", limit: WireLimits.documentItems)
            for item in items { try writeDocument(item, depth: depth + 1) }
        case .object(let members):
            writeInteger(Tag.object)
            try writeCount(members.count, "document.items", limit: WireLimits.documentItems)
            for (key, member) in members.sorted(by: { $0.key.precedesInBytes($1.key) }) {
                try writeText(key, "document.key", limit: WireLimits.documentKeyBytes)
                try writeDocument(member, depth: depth + 1)
            }
        }
    }

    mutating func readDocument(depth: Int = 0) throws(WireError) -> JSONValue {
        guard depth < WireLimits.documentDepth else { throw .tooLong(field: "document.depth") }
        switch try readByte() {
        case Tag.null: return .null
        case Tag.no: return .bool(false)
        case Tag.yes: return .bool(true)
        case Tag.int: return .int(try readZigzag())
        case Tag.double: return .double(try readDouble("document.number", in: Self.finite))
        case Tag.string: return .string(try readText("document.text", limit: WireLimits.documentTextBytes))
        case Tag.array:
            let count = try readCount("document.items", limit: WireLimits.documentItems, elementBytes: 1)
            var items: [JSONValue] = []
            // A value in memory is larger than its byte here, so room grows with what is really read.
            items.reserveCapacity(min(count, 1024))
            for _ in 0..<count { items.append(try readDocument(depth: depth + 1)) }
            return .array(items)
        case Tag.object: return .object(try readMembers(depth: depth))
        default: throw .badValue(field: "document.tag")
        }
    }

    private mutating func readMembers(depth: Int) throws(WireError) -> [String: JSONValue] {
        let count = try readCount("document.items", limit: WireLimits.documentItems, elementBytes: 2)
        var members: [String: JSONValue] = [:]
        members.reserveCapacity(min(count, 1024))
        var previous: String?
        for _ in 0..<count {
            let key = try readText("document.key", limit: WireLimits.documentKeyBytes)
            // Strictly ascending, so no key comes twice.
            if let previous, !previous.precedesInBytes(key) { throw .badValue(field: "document.key") }
            // Two keys may differ in bytes and still be equal as Swift texts (composed and decomposed accents).
            guard members.updateValue(try readDocument(depth: depth + 1), forKey: key) == nil else {
                throw .badValue(field: "document.key")
            }
            previous = key
        }
        return members
    }

    /// A Codable value in the document form its `Codable` conformance gives it.
    mutating func writeCodable(_ value: some Encodable) throws(WireError) {
        try writeDocument(try DocumentEncoder.encode(value))
    }

    mutating func readCodable<Value: Decodable>(
        _ field: String, as type: Value.Type
    ) throws(WireError) -> Value {
        try DocumentDecoder.decode(type, from: try readDocument(), field: field)
    }
}

extension String {
    /// Order by UTF-8 bytes, which every language can reproduce.
    fileprivate func precedesInBytes(_ other: String) -> Bool {
        utf8.lexicographicallyPrecedes(other.utf8)
    }
}
