import Foundation

/// The result of one benchmark, as text for people or JSON for programs.
package struct Report: Sendable, Encodable {
    package struct Table: Sendable, Encodable {
        package struct Row: Sendable {
            package var name: String
            /// As many as the table has columns; nil: does not apply.
            package var values: [Double?]
        }
        package var title: String
        package var columns: [String]
        package var rows: [Row] = []

        package init(_ title: String, columns: [String] = Summary.columns) {
            self.title = title
            self.columns = columns
        }

        package mutating func add(_ name: String, _ values: [Double?]) {
            precondition(values.count == columns.count, "\(values.count) values for \(columns.count) columns")
            rows.append(Row(name: name, values: values))
        }

        /// A row of the default columns; nothing measured shows as n = 0.
        package mutating func add(_ name: String, _ summary: Summary?) {
            add(name, summary?.values ?? [0, nil, nil, nil, nil])
        }

        private enum Keys: String, CodingKey { case title, rows }
        private struct EncodedRow: Encodable {
            var name: String
            var values: [String: Double]
        }
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(title, forKey: .title)
            try container.encode(
                rows.map { row in
                    let pairs = zip(columns, row.values).compactMap { column, value in value.map { (column, $0) } }
                    return EncodedRow(name: row.name, values: Dictionary(pairs) { first, _ in first })
                }, forKey: .rows)
        }
    }

    /// A figure divided by its baseline from the same run.
    package struct Ratio: Hashable, Sendable, Encodable {
        package enum Better: String, Hashable, Sendable, Encodable { case lower, higher }
        package var name: String
        package var value: Double
        package var baseline: String
        /// Which direction is an improvement.
        package var better: Better

        package init(_ name: String, _ value: Double, baseline: String, better: Better = .lower) {
            self.name = name
            self.value = value
            self.baseline = baseline
            self.better = better
        }
    }

    /// What a figure was hoped to be.
    package struct Goal: Hashable, Sendable, Encodable {
        package var name: String
        package var value: Double
        package var limit: Double
        /// `atMost` otherwise.
        package var isAtLeast: Bool
        package var isMet: Bool { isAtLeast ? value >= limit : value <= limit }

        private enum Keys: String, CodingKey { case name, value, atLeast, atMost, met }
        package func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            try container.encode(name, forKey: .name)
            try container.encode(value, forKey: .value)
            try container.encode(limit, forKey: isAtLeast ? .atLeast : .atMost)
            try container.encode(isMet, forKey: .met)
        }
    }

    package var benchmark: String
    package var machine: Machine
    /// What was run, in words.
    package var setting: String
    package var tables: [Table] = []
    package var ratios: [Ratio] = []
    package var goals: [Goal] = []
    package var notes: [String] = []

    package init(_ benchmark: String, setting: String) {
        self.benchmark = benchmark
        self.setting = setting
        machine = Machine.current()
    }

    /// Adds `value ÷ baseline`, if both are known.
    package mutating func compare(
        _ name: String, _ value: Double?, with baseline: Double?, called text: String, better: Ratio.Better = .lower
    ) {
        guard let value, let baseline, baseline != 0 else { return }
        ratios.append(Ratio(name, value / baseline, baseline: text, better: better))
    }

    /// Says whether `value`, if known, is as small as hoped.
    package mutating func goal(_ name: String, _ value: Double?, atMost limit: Double) {
        if let value { goals.append(Goal(name: name, value: value, limit: limit, isAtLeast: false)) }
    }

    package mutating func goal(_ name: String, _ value: Double?, atLeast limit: Double) {
        if let value { goals.append(Goal(name: name, value: value, limit: limit, isAtLeast: true)) }
    }

    // MARK: Output

    package func write(asJSON: Bool) throws {
        guard asJSON else { return print(text) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        print(String(decoding: try encoder.encode(self), as: UTF8.self))
    }

    package var text: String {
        var lines = ["\(benchmark): \(setting)", "machine: \(machine.line)"]
        for table in tables { lines += ["", table.title] + Self.aligned(table) }
        if !ratios.isEmpty { lines += ["", "ratios"] }
        let width = ratios.map(\.name.count).max() ?? 0
        for ratio in ratios {
            let name = ratio.name.padding(toLength: width, withPad: " ", startingAt: 0)
            lines.append("  \(name)  \(Self.format(ratio.value)) × \(ratio.baseline)")
        }
        if !goals.isEmpty { lines += ["", "goals"] }
        for goal in goals {
            lines.append(
                "  \(goal.name): \(Self.format(goal.value)), \(goal.isAtLeast ? "at least" : "at most") "
                    + "\(Self.format(goal.limit)) wanted: \(goal.isMet ? "met" : "MISSED")")
        }
        if !notes.isEmpty { lines.append("") }
        return (lines + notes.map { "note: \($0)" }).joined(separator: "\n")
    }

    /// Names to the left, numbers to the right.
    static func aligned(_ table: Table) -> [String] {
        let cells = [[""] + table.columns] + table.rows.map { [$0.name] + $0.values.map { $0.map(format) ?? "-" } }
        let widths = (table.columns.indices.map { $0 + 1 }).map { column in cells.map { $0[column].count }.max() ?? 0 }
        let nameWidth = cells.map { $0[0].count }.max() ?? 0
        return cells.map { row in
            let name = row[0].padding(toLength: nameWidth, withPad: " ", startingAt: 0)
            let numbers = zip(row.dropFirst(), widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }
            return "  " + ([name] + numbers).joined(separator: "  ")
        }
    }

    /// Three or four significant digits; thousands set apart by a comma.
    package static func format(_ value: Double) -> String {
        guard value.isFinite else { return "-" }
        let size = abs(value)
        if size == size.rounded() || size >= 100 {
            var digits = String(Int64(size.rounded()))
            var position = digits.count - 3
            while position > 0 {
                digits.insert(",", at: digits.index(digits.startIndex, offsetBy: position))
                position -= 3
            }
            return (value < 0 ? "-" : "") + digits
        }
        return String(format: size >= 10 ? "%.1f" : size >= 1 ? "%.2f" : "%.3f", value)
    }
}

/// Progress, where it does not disturb the result.
package func progress(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }
