extension JSONValue {
    /// This value as one JSON text in UTF-8, keys sorted, so that equal values give equal bytes.
    ///
    /// Doubles always keep a fraction or an exponent (`2.0`), so that reading the text back gives an equal value.
    /// NaN and infinities, which JSON cannot hold, become `null`.
    /// - Parameter pretty: one member or element a line, indented by two spaces.
    public func jsonBytes(pretty: Bool = false) -> [UInt8] {
        var writer = JSONWriter(pretty: pretty)
        writer.write(self)
        return writer.bytes
    }

    /// `jsonBytes(pretty:)` as text.
    public func jsonText(pretty: Bool = false) -> String {
        String(decoding: jsonBytes(pretty: pretty), as: UTF8.self)
    }
}

private struct JSONWriter {
    private(set) var bytes: [UInt8] = []
    private let pretty: Bool
    private var level = 0

    init(pretty: Bool) {
        self.pretty = pretty
        bytes.reserveCapacity(256)
    }

    mutating func write(_ value: JSONValue) {
        switch value {
        case .null: append("null")
        case .bool(let value): append(value ? "true" : "false")
        case .int(let value): append(String(value))
        case .double(let value): append(value.isFinite ? value.description : "null")
        case .string(let value): write(string: value)
        case .array(let elements):
            list(UInt8(ascii: "["), UInt8(ascii: "]"), elements) { writer, element in writer.write(element) }
        case .object(let members):
            list(UInt8(ascii: "{"), UInt8(ascii: "}"), members.sorted { $0.key < $1.key }) { writer, member in
                writer.write(string: member.key)
                writer.bytes.append(UInt8(ascii: ":"))
                if writer.pretty { writer.bytes.append(UInt8(ascii: " ")) }
                writer.write(member.value)
            }
        }
    }

    private mutating func list<Element>(
        _ open: UInt8, _ close: UInt8, _ elements: [Element], _ write: (inout JSONWriter, Element) -> Void
    ) {
        bytes.append(open)
        if !elements.isEmpty {
            level += 1
            for (position, element) in elements.enumerated() {
                if position > 0 { bytes.append(UInt8(ascii: ",")) }
                newLine()
                write(&self, element)
            }
            level -= 1
            newLine()
        }
        bytes.append(close)
    }

    private mutating func newLine() {
        guard pretty else { return }
        bytes.append(0x0A)
        bytes.append(contentsOf: repeatElement(0x20, count: level * 2))
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func write(string: String) {
        bytes.append(UInt8(ascii: "\""))
        if string.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            bytes.append(contentsOf: string.utf8)
        } else {
            for byte in string.utf8 { write(escaping: byte) }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func write(escaping byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
        case 0x08: append("\\b")
        case 0x09: append("\\t")
        case 0x0A: append("\\n")
        case 0x0C: append("\\f")
        case 0x0D: append("\\r")
        case 0..<0x20:
            append("\\u00")
            append(byte < 0x10 ? "0" : "1")
            append(String(byte & 0x0F, radix: 16))
        default: bytes.append(byte)
        }
    }
}
