import Foundation
import OrchestryModel

enum Output {
    /// Prints an answer in the format asked for.
    /// - Parameter table: the human form, with more columns for `.wide` where there are more; may be several lines,
    ///   without a newline at the end.
    static func show(_ answer: JSONValue, as format: OutputFormat, table: (JSONValue) -> String) {
        switch format {
        case .table, .wide: print(table(answer))
        case .json: print(answer.jsonText(pretty: true))
        case .yaml: print(YAMLText.write(answer), terminator: "")
        }
    }

    /// Prints one of many that come, a line each in JSON, and sends it on its way: somebody follows.
    /// - Parameter row: the human form, one line.
    static func showNext(_ value: JSONValue, as format: OutputFormat, row: (JSONValue) -> String) {
        switch format {
        case .table, .wide: print(row(value))
        case .json: print(value.jsonText())
        case .yaml: print("---\n" + YAMLText.write(value), terminator: "")
        }
        flush()
    }

    /// Sends what was printed on its way, for somebody who follows.
    static func flush() { fflush(nil) }

    /// A line on standard error.
    static func complain(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }

    /// Rows under headings, columns as wide as needed, two spaces between; on a terminal words that say how something is
    /// have colours.
    static func table(_ headings: [String], _ rows: [[String]]) -> String {
        var widths = headings.map(\.count)
        for row in rows {
            for (column, cell) in row.enumerated() where column < widths.count {
                widths[column] = max(widths[column], cell.count)
            }
        }
        return ([headings] + rows).enumerated().map { line, row in
            let cells = row.enumerated().map { column, cell in
                let painted = Terminal.paint(cell, line == 0 ? .bold : Terminal.colour(ofState: cell))
                // The last column needs no padding.
                return column == row.count - 1
                    ? painted : painted + String(repeating: " ", count: max(0, widths[column] - cell.count))
            }
            return cells.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    /// A list of an answer as a table, a row for each element.
    /// - Parameter none: what is said when it is empty.
    static func table(
        of list: String, in answer: JSONValue, none: String, _ headings: [String], row: (JSONValue) -> [String]
    ) -> String {
        let elements = answer[list]?.arrayValue ?? []
        return elements.isEmpty ? none : table(headings, elements.map(row))
    }

    /// `name: value` lines, values in one column.
    static func facts(_ facts: [(String, String)]) -> String {
        let width = facts.map(\.0.count).max() ?? 0
        return facts.map { "\($0):\(String(repeating: " ", count: width - $0.count + 1))\($1)" }
            .joined(separator: "\n")
    }

    // MARK: Cells

    /// A value in a cell; `-` for what is missing.
    static func cell(_ value: JSONValue?) -> String {
        switch value {
        case nil, .null?: "-"
        case .string(let text)?: text.isEmpty ? "-" : text.replacing("\n", with: " ")
        case .int(let number)?: String(number)
        case .double(let number)?: decimal(number)
        case .bool(let flag)?: flag ? "yes" : "no"
        case let other?: other.jsonText()
        }
    }

    static func percent(_ value: JSONValue?) -> String {
        value?.doubleValue.map { decimal($0) + "%" } ?? "-"
    }

    /// At most two digits after the point.
    static func decimal(_ number: Double) -> String {
        guard number.isFinite, number.magnitude < 1e15 else { return "\(number)" }
        let rounded = (number * 100).rounded() / 100
        return Int64(exactly: rounded).map(String.init) ?? "\(rounded)"
    }

    /// Seconds since 1970 as local time, `2026-11-23 04:05:06`.
    static func time(_ value: JSONValue?) -> String {
        guard let seconds = value?.doubleValue, seconds.magnitude < 1e11 else { return "-" }
        var clock = time_t(seconds)
        var parts = tm()
        localtime_r(&clock, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let day = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return "\(day) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }

    /// `1 container`, `2 containers`.
    static func count(_ value: JSONValue?, _ noun: String) -> String {
        let number = value?.intValue ?? 0
        return "\(number) \(noun)\(number == 1 ? "" : "s")"
    }
}
