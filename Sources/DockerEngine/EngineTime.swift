import OrchestryModel

/// Times as the engine writes them.
package enum EngineTime {
    /// Reads an RFC 3339 time such as `2024-05-01T12:00:00.123456789Z` or `…+02:00`.
    /// - Returns: nil for anything else. The engine's zero time (year 1) gives a negative number.
    package static func parse(_ text: some StringProtocol) -> WallTime? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[10] == UInt8(ascii: "T"),
            let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
            let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
        else { return nil }
        var index = 19
        var milliseconds = 0
        if bytes[index] == UInt8(ascii: ".") {
            let digits = bytes[(index + 1)...].prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            guard !digits.isEmpty else { return nil }
            milliseconds =
                number(Array(digits.prefix(3)) + Array(repeating: UInt8(ascii: "0"), count: max(0, 3 - digits.count)))
                ?? 0
            index = digits.endIndex
        }
        guard let offset = offsetMinutes(bytes[index...]) else { return nil }
        let seconds = daysSinceEpoch(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second
        return WallTime(milliseconds: Int64(seconds - offset * 60) * 1_000 + Int64(milliseconds))
    }

    /// The digits of such a time below the millisecond, 0…999,999.
    package static func nanoseconds(_ text: some StringProtocol) -> Int {
        guard let point = text.firstIndex(of: ".") else { return 0 }
        let digits = text[text.index(after: point)...].prefix { $0.isNumber }.dropFirst(3).prefix(6)
        return (Int(digits) ?? 0) * [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1][digits.count]
    }

    private static func number(_ digits: some Collection<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))
        }
        return value
    }

    private static func offsetMinutes(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard let first = bytes.first else { return nil }
        if first == UInt8(ascii: "Z") { return bytes.count == 1 ? 0 : nil }
        guard bytes.count == 6, first == UInt8(ascii: "+") || first == UInt8(ascii: "-"),
            let hours = number(bytes.dropFirst().prefix(2)), let minutes = number(bytes.suffix(2))
        else { return nil }
        return (first == UInt8(ascii: "-") ? -1 : 1) * (hours * 60 + minutes)
    }

    /// Days from 1970-01-01 in the Gregorian calendar. Counts years from March, so that the leap day is a year's last.
    private static func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}
