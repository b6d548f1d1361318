/// Five fields (minute, hour, day of month, month, day of week) that name moments of a local calendar, as `cron` writes
/// them: `*`, numbers, ranges, lists and steps; months and days of the week also by their first three English letters;
/// Sunday is 0 or 7. Where both days are restricted, either suffices.
///
/// A local time that a change of the clocks leaves out happens at the moment of that change; one that comes twice
/// happens the first time only.
public struct CronExpression: Hashable, Sendable {
    /// As given.
    public let text: String
    private let minutes: UInt64
    private let hours: UInt64
    private let days: UInt64
    private let months: UInt64
    private let weekdays: UInt64
    private let anyDay: Bool
    private let anyWeekday: Bool

    /// 29 February may be eight years away.
    private static let longestWaitDays = 8 * 366 + 1

    /// - Throws: what is wrong, in words that follow "the cron expression".
    public init(_ text: String) throws(CronError) {
        let fields = text.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count == 5 else {
            throw CronError(message: "must have five fields (minute hour day month weekday), got \(fields.count)")
        }
        self.text = fields.joined(separator: " ")
        minutes = try Self.set(fields[0], "minute", 0...59)
        hours = try Self.set(fields[1], "hour", 0...23)
        days = try Self.set(fields[2], "day of the month", 1...31)
        months = try Self.set(
            fields[3], "month", 1...12,
            names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
        let given = try Self.set(
            fields[4], "day of the week", 0...7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"])
        weekdays = given | (given >> 7) & 1
        anyDay = fields[2].hasPrefix("*")
        anyWeekday = fields[4].hasPrefix("*")
        guard canHappen else { throw CronError(message: "names a day that no month has") }
    }

    private var canHappen: Bool {
        // Another day of the week would do.
        if !anyWeekday { return true }
        let lengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        for (index, length) in lengths.enumerated() where months >> (index + 1) & 1 == 1 {
            if days & ((1 << UInt64(length + 1)) - 1) != 0 { return true }
        }
        return false
    }

    private static func set(
        _ field: Substring, _ what: String, _ range: ClosedRange<Int>, names: [String] = []
    ) throws(CronError) -> UInt64 {
        func fail(_ part: some StringProtocol) -> CronError {
            CronError(
                message: "has '\(part.prefix(20))' for the \(what): "
                    + "a number from \(range.lowerBound) to \(range.upperBound), a range, a list, * or a step is expected"
            )
        }
        func number(_ text: Substring) -> Int? {
            if let index = names.firstIndex(of: text.lowercased()) { return index + range.lowerBound }
            guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
            return Int(text).flatMap { range.contains($0) ? $0 : nil }
        }
        var set: UInt64 = 0
        for part in field.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            var bounds: ClosedRange<Int>
            if halves[0] == "*" {
                bounds = range
            } else {
                let ends = halves[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
                guard let first = number(ends[0]) else { throw fail(part) }
                bounds = first...first
                if ends.count == 2 {
                    guard let last = number(ends[1]), last >= first else { throw fail(part) }
                    bounds = first...last
                } else if halves.count == 2 {
                    bounds = first...range.upperBound
                }
            }
            var step = 1
            if halves.count == 2 {
                guard let given = Int(halves[1]), (1...range.upperBound).contains(given) else { throw fail(part) }
                step = given
            }
            for value in stride(from: bounds.lowerBound, through: bounds.upperBound, by: step) {
                set |= 1 << UInt64(value)
            }
        }
        return set
    }

    /// The first moment after `second` that it names.
    /// - Parameters:
    ///   - second: seconds since 1970.
    ///   - offset: of local time to UTC at a second since 1970, in seconds.
    /// - Returns: nil when there is none within eight years.
    public func next(after second: Int64, offset: (Int64) -> Int64) -> Int64? {
        // From the day before: a day's length and the offset may have changed within it.
        let today = Self.floorDivide(second + offset(second), 86_400)
        for day in (today - 1)...(today + Int64(Self.longestWaitDays)) where matches(day: day) {
            for hour in 0..<24 where hours >> UInt64(hour) & 1 == 1 {
                for minute in 0..<60 where minutes >> UInt64(minute) & 1 == 1 {
                    let moment = Self.moment(local: day * 86_400 + Int64(hour * 3_600 + minute * 60), offset)
                    if moment > second { return moment }
                }
            }
        }
        return nil
    }

    private func matches(day: Int64) -> Bool {
        let date = Self.civil(day: day)
        guard months >> UInt64(date.month) & 1 == 1 else { return false }
        // 1 January 1970 was a Thursday.
        let weekday = ((day + 4) % 7 + 7) % 7
        let byDay = days >> UInt64(date.day) & 1 == 1
        let byWeekday = weekdays >> UInt64(weekday) & 1 == 1
        if anyDay || anyWeekday { return byDay && byWeekday }
        return byDay || byWeekday
    }

    /// The UTC second of a local one (as seconds since 1970 by the local clock).
    private static func moment(local: Int64, _ offset: (Int64) -> Int64) -> Int64 {
        // Changes of the clocks are months apart: the offsets of the day before and after are all there can be.
        let before = offset(local - 86_400 - 43_200)
        let after = offset(local + 86_400 + 43_200)
        if before == after { return local - before }
        let fitting = [local - before, local - after].filter { $0 + offset($0) == local }
        if let first = fitting.min() { return first }
        // Left out: the first moment at which the local clock is past it.
        var early = local - max(before, after)
        var late = local - min(before, after)
        while late - early > 1 {
            let middle = early + (late - early) / 2
            if middle + offset(middle) >= local { late = middle } else { early = middle }
        }
        return early + offset(early) >= local ? early : late
    }

    /// Day of the Gregorian calendar from days since 1970, counted in years that begin with March, so that the leap day
    /// is the last.
    private static func civil(day: Int64) -> (month: Int64, day: Int64) {
        let shifted = day + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let year = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        return (month < 10 ? month + 3 : month - 9, dayOfYear - (153 * month + 2) / 5 + 1)
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }
}

/// What is wrong with a cron expression.
public struct CronError: Error, Hashable, Sendable {
    public var message: String
}

extension CronExpression: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        do {
            try self.init(text)
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.message)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}
