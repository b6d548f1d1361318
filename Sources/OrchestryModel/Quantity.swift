/// Amounts of CPU and memory as specs write them, after Kubernetes' quantities.
enum Quantity {
    /// CPU in thousandths of a core: `"250m"`, `"1"`, `"0.5"`, `2.5`. Nil: not such an amount.
    static func millicores(_ value: JSONValue) -> Int? {
        switch value {
        case .int, .double:
            return value.doubleValue.flatMap { whole($0 * 1000) }
        case .string(let text):
            if text.hasSuffix("m") { return decimal(text.dropLast()).flatMap(whole) }
            return decimal(text[...]).flatMap { whole($0 * 1000) }
        default:
            return nil
        }
    }

    private static let byteUnits: [(suffix: String, factor: Double)] = [
        ("Ki", 0x1p10), ("Mi", 0x1p20), ("Gi", 0x1p30), ("Ti", 0x1p40), ("k", 1e3), ("K", 1e3), ("M", 1e6),
        ("G", 1e9), ("T", 1e12), ("", 1),
    ]

    /// Bytes: `"128Mi"`, `"1.5Gi"`, `"512M"` (powers of ten), `134217728`. Nil: not such an amount.
    static func bytes(_ value: JSONValue) -> Int64? {
        switch value {
        case .int, .double:
            return value.doubleValue.flatMap(whole).map(Int64.init)
        case .string(let text):
            for unit in byteUnits where text.hasSuffix(unit.suffix) {
                return decimal(text.dropLast(unit.suffix.count)).flatMap { whole($0 * unit.factor) }.map(Int64.init)
            }
            return nil
        default:
            return nil
        }
    }

    /// Digits with an optional fraction; no sign, exponent or space.
    private static func decimal(_ text: Substring) -> Double? {
        guard text.utf8.count <= 32, text.utf8.first.map({ (48...57).contains($0) }) == true,
            text.utf8.last.map({ (48...57).contains($0) }) == true,
            text.utf8.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: ".") })
        else { return nil }
        return Double(text)
    }

    /// Rounded to a whole number; nil below zero or beyond 2⁵³, where doubles are no longer exact.
    private static func whole(_ number: Double) -> Int? {
        number >= 0 && number <= 0x1p53 ? Int(number.rounded()) : nil
    }
}
