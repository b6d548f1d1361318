import OrchestryModel

/// The reverse of `DocumentEncoder`.
enum DocumentDecoder {
    /// - Throws: `badValue(field)` when the document does not have the type's form.
    static func decode<Value: Decodable>(
        _ type: Value.Type, from document: JSONValue, field: String
    ) throws(WireError) -> Value {
        do {
            return try DocumentDecoding(value: document, codingPath: []).unwrap(type)
        } catch {
            throw .badValue(field: field)
        }
    }
}

private struct DocumentDecoding: Decoder {
    let value: JSONValue
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func mismatch<T>(_ type: T.Type) -> DecodingError {
        .typeMismatch(type, DecodingError.Context(codingPath: codingPath, debugDescription: "another type is there"))
    }

    func unwrap<T: Decodable>(_ type: T.Type) throws -> T {
        let plain: Any?
        switch type {
        case is JSONValue.Type: plain = value
        case is Bool.Type: plain = value.boolValue
        case is String.Type: plain = value.stringValue
        case is Double.Type: plain = value.doubleValue
        case is Float.Type: plain = value.doubleValue.map { Float($0) }
        case let integer as any FixedWidthInteger.Type: plain = wholeNumber(integer)
        default: return try T(from: self)
        }
        guard let result = plain as? T else { throw mismatch(type) }
        return result
    }

    private func wholeNumber<Number: FixedWidthInteger>(_ type: Number.Type) -> Any? {
        switch value {
        case .int(let number): Number(exactly: number)
        case .double(let number): Number(exactly: number)
        default: nil
        }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard let members = value.objectValue else { throw mismatch([String: JSONValue].self) }
        return KeyedDecodingContainer(KeyedDocument<Key>(members: members, codingPath: codingPath))
    }
    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard let items = value.arrayValue else { throw mismatch([JSONValue].self) }
        return DocumentList(items: items, codingPath: codingPath)
    }
    func singleValueContainer() throws -> any SingleValueDecodingContainer { SingleDocument(place: self) }
}

private struct KeyedDocument<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let members: [String: JSONValue]
    let codingPath: [any CodingKey]
    var allKeys: [Key] { members.keys.compactMap(Key.init(stringValue:)) }

    func contains(_ key: Key) -> Bool { members[key.stringValue] != nil }

    private func place(_ key: any CodingKey) throws -> DocumentDecoding {
        guard let value = members[key.stringValue] else {
            let context = DecodingError.Context(codingPath: codingPath, debugDescription: "no \(key.stringValue)")
            throw DecodingError.keyNotFound(key, context)
        }
        return DocumentDecoding(value: value, codingPath: codingPath + [key])
    }
    func decodeNil(forKey key: Key) throws -> Bool { try place(key).value == .null }
    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { try place(key).unwrap(type) }
    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Nested> { try place(key).container(keyedBy: type) }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try place(key).unkeyedContainer()
    }
    func superDecoder() throws -> any Decoder { try place(DocumentKey(stringValue: "super")) }
    func superDecoder(forKey key: Key) throws -> any Decoder { try place(key) }
}

private struct DocumentList: UnkeyedDecodingContainer {
    let items: [JSONValue]
    let codingPath: [any CodingKey]
    private(set) var currentIndex = 0
    var count: Int? { items.count }
    var isAtEnd: Bool { currentIndex >= items.count }

    init(items: [JSONValue], codingPath: [any CodingKey]) {
        self.items = items
        self.codingPath = codingPath
    }

    private func place() throws -> DocumentDecoding {
        guard currentIndex < items.count else {
            let context = DecodingError.Context(codingPath: codingPath, debugDescription: "the list ends")
            throw DecodingError.valueNotFound(JSONValue.self, context)
        }
        return DocumentDecoding(value: items[currentIndex], codingPath: codingPath)
    }
    mutating func decodeNil() throws -> Bool {
        guard try place().value == .null else { return false }
        currentIndex += 1
        return true
    }
    mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
        let result = try place().unwrap(type)
        currentIndex += 1
        return result
    }
    mutating func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type
    ) throws -> KeyedDecodingContainer<Nested> {
        let container = try place().container(keyedBy: type)
        currentIndex += 1
        return container
    }
    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        let container = try place().unkeyedContainer()
        currentIndex += 1
        return container
    }
    mutating func superDecoder() throws -> any Decoder {
        let decoder = try place()
        currentIndex += 1
        return decoder
    }
}

private struct SingleDocument: SingleValueDecodingContainer {
    let place: DocumentDecoding
    var codingPath: [any CodingKey] { place.codingPath }
    func decodeNil() -> Bool { place.value == .null }
    func decode<T: Decodable>(_ type: T.Type) throws -> T { try place.unwrap(type) }
}
