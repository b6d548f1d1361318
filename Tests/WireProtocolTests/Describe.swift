import OrchestryModel
import WireProtocol

/// One text for each value, for the lower half of the vectors: `Type(field: value, …)`, names as in the model.
func describe(_ value: Any) -> String {
    // By type, not by cast: every empty list casts to every type of list.
    if type(of: value) == [UInt8].self, let bytes = value as? [UInt8] {
        return "<" + bytes.map(hex).joined() + ">"
    }
    switch value {
    case let value as JSONValue: return describe(document: value)
    case let value as String: return quoted(value)
    case let value as any Identifier: return quoted(value.rawValue)
    case let value as Epoch: return String(value.rawValue)
    case let value as WallTime: return String(value.milliseconds)
    case let value as ErrorCode: return value.description
    case let value as ClosedRange<UInt16>: return "\(value.lowerBound)...\(value.upperBound)"
    case let value as any BinaryInteger: return String(describing: value)
    case let value as Double: return String(describing: value)
    case let value as Bool: return String(describing: value)
    case let value as [String: String]:
        return "{" + value.sorted { $0.key < $1.key }.map { quoted($0) + ": " + quoted($1) }.joined(separator: ", ")
            + "}"
    default: break
    }
    let mirror = Mirror(reflecting: value)
    switch mirror.displayStyle {
    case .optional: return mirror.children.first.map { describe($0.value) } ?? "nil"
    case .collection: return "[" + mirror.children.map { describe($0.value) }.joined(separator: ", ") + "]"
    case .enum:
        guard let payload = mirror.children.first, let name = payload.label else { return String(describing: value) }
        let inner = Mirror(reflecting: payload.value)
        guard inner.displayStyle == .tuple else { return "\(name)(\(describe(payload.value)))" }
        return "\(name)(\(fields(inner)))"
    default: return "\(type(of: value))(\(fields(mirror)))"
    }
}

private func fields(_ mirror: Mirror) -> String {
    mirror.children.map { child in
        // Tuples without labels have ".0", ".1".
        guard let label = child.label, !label.hasPrefix(".") else { return describe(child.value) }
        return "\(label): \(describe(child.value))"
    }.joined(separator: ", ")
}

private func describe(document: JSONValue) -> String {
    switch document {
    case .null: return "null"
    case .bool(let value): return String(value)
    case .int(let value): return String(value)
    case .double(let value): return String(describing: value)
    case .string(let value): return quoted(value)
    case .array(let items): return "[" + items.map(describe(document:)).joined(separator: ", ") + "]"
    case .object(let members):
        let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
        return "{" + sorted.map { quoted($0) + ": " + describe(document: $1) }.joined(separator: ", ") + "}"
    }
}

private func quoted(_ text: String) -> String {
    "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : "\($0)" }.joined() + "\""
}

func hex(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
}
