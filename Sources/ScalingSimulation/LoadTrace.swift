import OrchestryModel

/// What an app had to carry in one second, and what was known of it.
public struct LoadPoint: Hashable, Sendable {
    /// Any zero; consecutive points are one apart.
    public var second: Int64
    /// Requests per second, whole app.
    public var rps: Double
    /// Mean number of requests in flight, whole app; nil: follows from the model.
    public var connections: Double?
    /// nil: follows from the model.
    public var p95Milliseconds: Double?
    /// CPU of all instances together, percent of one instance's limit (250: two and a half limits' worth); nil: from the
    /// model.
    public var cpuPercent: Double?
    /// Memory of each instance, percent of its limit; nil: not measured.
    public var memoryPercent: Double?
    /// False: the load was there, its figures were not (an outage of the metrics).
    public var isMeasured: Bool
    public init(
        second: Int64, rps: Double, connections: Double? = nil, p95Milliseconds: Double? = nil,
        cpuPercent: Double? = nil, memoryPercent: Double? = nil, isMeasured: Bool = true
    ) {
        self.second = second
        self.rps = rps
        self.connections = connections
        self.p95Milliseconds = p95Milliseconds
        self.cpuPercent = cpuPercent
        self.memoryPercent = memoryPercent
        self.isMeasured = isMeasured
    }
}

/// An app's load, one point for each second without a gap.
public struct LoadTrace: Hashable, Sendable {
    /// A week.
    public static let largestCount = 7 * 86_400

    public private(set) var points: [LoadPoint]

    /// - Parameter points: consecutive seconds.
    public init(_ points: [LoadPoint]) {
        self.points = points
    }

    /// - Parameters:
    ///   - seconds: 0..<seconds.
    ///   - rps: the load of one second.
    public init(seconds: Int64, rps: (Int64) -> Double) {
        points = (0..<seconds).map { LoadPoint(second: $0, rps: rps($0)) }
    }

    /// Nothing is known of these seconds, as when every reading fails.
    public mutating func hide(_ seconds: Range<Int64>) {
        for index in points.indices where seconds.contains(points[index].second) { points[index].isMeasured = false }
    }
}

/// What is wrong with a trace file.
public struct TraceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// 1 for the first line.
    public var line: Int
    public var message: String
    public var description: String { "line \(line): \(message)" }
}

extension LoadTrace {
    private static let columns = [
        "second", "rps", "connections", "p95_ms", "cpu_percent", "memory_percent", "instances",
    ]

    /// Reads comma-separated values with a heading: `second` and `rps`, and if wanted `connections` (requests in flight),
    /// `p95_ms`, `cpu_percent` and `memory_percent` (means over instances, percent of their limit), and `instances`, the
    /// number of them that `cpu_percent` is a mean over (1 when left out). Rows may leave out seconds: each holds until
    /// the next. A row without `rps` begins an outage: the load stays as it was, unmeasured. Lines that begin with `#`
    /// and empty lines are skipped. Seconds are counted from the first row.
    /// - Throws: the first fault.
    public init(csv text: String) throws(TraceError) {
        var heading: [String]?
        var rows: [LoadPoint] = []
        var number = 0
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            number += 1
            let fields = line.split(separator: ",", omittingEmptySubsequences: false).map {
                String($0.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
            }
            if line.allSatisfy(\.isWhitespace) || fields[0].hasPrefix("#") { continue }
            guard let names = heading else {
                heading = try Self.heading(fields, line: number)
                continue
            }
            let row = try Self.row(fields, names, line: number, previous: rows.last)
            if let last = rows.last {
                guard row.second > last.second else {
                    throw TraceError(line: number, message: "second \(row.second) does not come after \(last.second)")
                }
                guard row.second - rows[0].second < Self.largestCount else {
                    throw TraceError(line: number, message: "a trace may last a week at most")
                }
                for second in last.second + 1..<row.second {
                    var held = last
                    held.second = second
                    rows.append(held)
                }
            }
            rows.append(row)
        }
        guard !rows.isEmpty else {
            throw TraceError(
                line: max(number, 1), message: "no rows: a heading such as second,rps and at least one row")
        }
        self.init(rows)
    }

    private static func heading(_ names: [String], line: Int) throws(TraceError) -> [String] {
        for name in names where !columns.contains(name) {
            throw TraceError(
                line: line, message: "'\(name.prefix(40))' is not a column: use \(columns.joined(separator: ", "))")
        }
        guard Set(names).count == names.count else { throw TraceError(line: line, message: "a column comes twice") }
        for name in ["second", "rps"] where !names.contains(name) {
            throw TraceError(line: line, message: "the heading must name the column \(name)")
        }
        return names
    }

    private static func row(
        _ fields: [String], _ names: [String], line: Int, previous: LoadPoint?
    ) throws(TraceError) -> LoadPoint {
        guard fields.count == names.count else {
            throw TraceError(line: line, message: "\(names.count) values are expected, not \(fields.count)")
        }
        var values: [String: Double] = [:]
        for (name, field) in zip(names, fields) where !field.isEmpty {
            guard let value = Double(field), value.isFinite, value >= 0, value <= 1e9 else {
                throw TraceError(
                    line: line, message: "\(name) must be a number from 0 to 1e9, not '\(field.prefix(40))'")
            }
            values[name] = value
        }
        guard let second = values["second"], second == second.rounded() else {
            throw TraceError(line: line, message: "second must be a whole number")
        }
        guard let rps = values["rps"] else {
            return LoadPoint(second: Int64(second), rps: previous?.rps ?? 0, isMeasured: false)
        }
        return LoadPoint(
            second: Int64(second), rps: rps, connections: values["connections"], p95Milliseconds: values["p95_ms"],
            cpuPercent: values["cpu_percent"].map { $0 * (values["instances"] ?? 1) },
            memoryPercent: values["memory_percent"])
    }
}
