/// Numbers as people read them, without Foundation.
enum Decimal {
    /// With exactly one digit after the point, `106.0`.
    static func oneDigit(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
        let tenths = Int64((abs(value) * 10).rounded())
        return "\(value < 0 && tenths > 0 ? "-" : "")\(tenths / 10).\(tenths % 10)"
    }

    /// Whole numbers without a point, others with at most two digits after it, `50`, `0.25`.
    static func short(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
        let hundredths = Int64((abs(value) * 100).rounded())
        let sign = value < 0 && hundredths > 0 ? "-" : ""
        let rest = hundredths % 100
        if rest == 0 { return "\(sign)\(hundredths / 100)" }
        if rest % 10 == 0 { return "\(sign)\(hundredths / 100).\(rest / 10)" }
        return "\(sign)\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }

    /// A fraction as a whole percentage, `212%`.
    static func percent(_ fraction: Double) -> String {
        let value = (fraction * 100).rounded()
        return value.isFinite && abs(value) < 1e15 ? "\(Int64(value))%" : "\(value)%"
    }
}
