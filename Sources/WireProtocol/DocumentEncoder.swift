import OrchestryModel

/// Turns `Encodable` values into documents as JSON encoders do, without Foundation.
package enum DocumentEncoder {
    /// - Throws: `badValue` for an integer that does not fit `Int64` or a value that refuses to be encoded.
    package static func encode(_ value: some Encodable) throws(WireError) -> JSONValue {
        do {
            return try DocumentEncoding.wrap(value, path: []).resolved
        } catch {
            throw .badValue(field: "document")
        }
    }
}

/// A place in the document being built; containers hold a reference to theirs.
private final class DocumentSlot {
    enum Content {
        case empty
        case value(JSONValue)
        case array([DocumentSlot])
        case object([String: DocumentSlot])
    }
    var content = Content.empty

    init() {}
    init(_ value: JSONValue) { content = .value(value) }

    func append(_ slot: DocumentSlot) {
        var slots: [DocumentSlot] = []
        if case .array(let current) = content { slots = current }
        content = .empty  // Gives up the old copy, so that the append happens in place.
        slots.append(slot)
        content = .array(slots)
    }

    func set(_ slot: DocumentSlot, for key: String) {
        var members: [String: DocumentSlot] = [:]
        if case .object(let current) = content { members = current }
        content = .empty  // As above.
        members[key] = slot
        content = .object(members)
    }

    var count: Int { if case .array(let slots) = content { slots.count } else { 0 } }

    var resolved: JSONValue {
        switch content {
        case .empty: .object([:])
        case .value(let value): value
        case .array(let slots): .array(slots.map(\.resolved))
        case .object(let members): .object(members.mapValues(\.resolved))
        }
    }
}

private struct DocumentEncoding: Encoder {
    let slot: DocumentSlot
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    static func wrap(_ value: some Encodable, path: [any CodingKey]) throws -> DocumentSlot {
        switch value {
        case let value as JSONValue: return DocumentSlot(value)
        case let value as Bool: return DocumentSlot(.bool(value))
        case let value as String: return DocumentSlot(.string(value))
        case let value as Double: return DocumentSlot(.double(value))
        case let value as Float: return DocumentSlot(.double(Double(value)))
        case let value as any BinaryInteger:
            guard let number = Int64(exactly: value) else {
                let context = EncodingError.Context(codingPath: path, debugDescription: "does not fit 64 bits")
                throw EncodingError.invalidValue(value, context)
            }
            return DocumentSlot(.int(number))
        default:
            let slot = DocumentSlot()
            try value.encode(to: DocumentEncoding(slot: slot, codingPath: path))
            return slot
        }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        if case .empty = slot.content { slot.content = .object([:]) }
        return KeyedEncodingContainer(KeyedDocument<Key>(slot: slot, codingPath: codingPath))
    }
    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        if case .empty = slot.content { slot.content = .array([]) }
        return DocumentList(slot: slot, codingPath: codingPath)
    }
    func singleValueContainer() -> any SingleValueEncodingContainer {
        SingleDocument(slot: slot, codingPath: codingPath)
    }
}

private struct KeyedDocument<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let slot: DocumentSlot
    let codingPath: [any CodingKey]

    func encodeNil(forKey key: Key) throws { slot.set(DocumentSlot(.null), for: key.stringValue) }
    func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
        slot.set(try DocumentEncoding.wrap(value, path: codingPath + [key]), for: key.stringValue)
    }
    private func child(_ key: any CodingKey) -> DocumentEncoding {
        let child = DocumentSlot()
        slot.set(child, for: key.stringValue)
        return DocumentEncoding(slot: child, codingPath: codingPath + [key])
    }
    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> { child(key).container(keyedBy: type) }
    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer { child(key).unkeyedContainer() }
    func superEncoder() -> any Encoder { child(DocumentKey(stringValue: "super")) }
    func superEncoder(forKey key: Key) -> any Encoder { child(key) }
}

private struct DocumentList: UnkeyedEncodingContainer {
    let slot: DocumentSlot
    let codingPath: [any CodingKey]
    var count: Int { slot.count }

    func encodeNil() throws { slot.append(DocumentSlot(.null)) }
    func encode<T: Encodable>(_ value: T) throws {
        slot.append(try DocumentEncoding.wrap(value, path: codingPath))
    }
    private func child() -> DocumentEncoding {
        let child = DocumentSlot()
        slot.append(child)
        return DocumentEncoding(slot: child, codingPath: codingPath)
    }
    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        child().container(keyedBy: type)
    }
    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { child().unkeyedContainer() }
    func superEncoder() -> any Encoder { child() }
}

private struct SingleDocument: SingleValueEncodingContainer {
    let slot: DocumentSlot
    let codingPath: [any CodingKey]

    func encodeNil() throws { slot.content = .value(.null) }
    func encode<T: Encodable>(_ value: T) throws {
        slot.content = try DocumentEncoding.wrap(value, path: codingPath).content
    }
}

/// A key that is not one of a type's own.
struct DocumentKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}
