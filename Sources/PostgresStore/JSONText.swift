import Foundation
import OrchestryModel

/// JSON as `jsonb` columns take it: members sorted, no U+0000, no NaN or infinity.
enum JSONText {
    /// - Throws: `StoreError.invalidData` when the value can't be written as JSON (a NaN in a specification).
    static func encode(_ value: some Encodable, what: String) throws(StoreError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            let text = String(decoding: try encoder.encode(value), as: UTF8.self)
            return text.utf8.contains(UInt8(ascii: "\\")) ? withoutEscapedNull(text) : text
        } catch {
            throw .invalidData("\(what) can't be written as JSON")
        }
    }

    /// Numbers stay what they are: whole ones exact, others with a fraction.
    static func encode(_ value: JSONValue) -> String { storable(value).jsonText() }

    static func decode<Value: Decodable>(_ type: Value.Type, from text: String, what: String) throws(StoreError)
        -> Value
    {
        do {
            return try JSONDecoder().decode(type, from: Data(text.utf8))
        } catch let error as DecodingError {
            throw .invalidData("\(what) is not a \(type): \(place(of: error))")
        } catch {
            throw .invalidData("\(what) is not a \(type)")
        }
    }

    static func decodeValue(_ text: String, what: String) throws(StoreError) -> JSONValue {
        do {
            return try JSONValue(jsonText: text)
        } catch {
            throw .invalidData("\(what) is not JSON")
        }
    }

    static func withoutNull(_ text: String) -> String {
        guard text.utf8.contains(0) else { return text }
        return String(text.unicodeScalars.map { $0.value == 0 ? "\u{FFFD}" : Character($0) })
    }

    /// `value` with everything replaced that `jsonb` does not take.
    static func storable(_ value: JSONValue) -> JSONValue {
        switch value {
        case .string(let text): .string(withoutNull(text))
        case .double(let number) where !number.isFinite: .null
        case .array(let elements): .array(elements.map(storable))
        case .object(let members):
            .object(
                Dictionary(
                    members.map { (withoutNull($0.key), storable($0.value)) }, uniquingKeysWith: { first, _ in first }))
        case .null, .bool, .int, .double: value
        }
    }

    /// Replaces the escape `\u0000`, but not the text `\\u0000` (an escaped backslash before "u0000").
    private static func withoutEscapedNull(_ text: String) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        var iterator = text.utf8.makeIterator()
        var escape: [UInt8] = []
        while let byte = iterator.next() {
            guard !escape.isEmpty || byte == UInt8(ascii: "\\") else {
                result.append(byte)
                continue
            }
            escape.append(byte)
            let isUnicode = escape.count > 1 && escape[1] == UInt8(ascii: "u")
            guard escape.count == (isUnicode ? 6 : 2) else { continue }
            result += escape == Array("\\u0000".utf8) ? Array("\\ufffd".utf8) : escape
            escape = []
        }
        return String(decoding: result + escape, as: UTF8.self)
    }

    /// Where decoding failed, without the value found there.
    private static func place(of error: DecodingError) -> String {
        let context: DecodingError.Context
        switch error {
        case .keyNotFound(let key, let found):
            return "\(path(found.codingPath)) lacks \(key.stringValue)"
        case .typeMismatch(_, let found), .valueNotFound(_, let found), .dataCorrupted(let found): context = found
        @unknown default: return "unreadable"
        }
        return "\(path(context.codingPath)) has another form"
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        keys.isEmpty ? "the document" : keys.map(\.stringValue).joined(separator: ".")
    }
}
