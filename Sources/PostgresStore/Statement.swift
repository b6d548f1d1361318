import OrchestryModel

/// One SQL statement with its parameters, all in text form.
struct Statement: Sendable {
    var sql: String
    var parameters: [Parameter]
    init(_ sql: String, _ parameters: [Parameter] = []) {
        self.sql = sql
        self.parameters = parameters
    }

    /// A parameter's text as PostgreSQL's input functions take it; nil is NULL.
    struct Parameter: Sendable, ExpressibleByNilLiteral {
        var text: String?
        init(nilLiteral: ()) { text = nil }
        private init(_ text: String?) { self.text = text }

        /// U+0000, which PostgreSQL can't store, becomes U+FFFD: a container's log line must not block the audit trail.
        static func text(_ value: String?) -> Parameter { Parameter(value.map(JSONText.withoutNull)) }
        static func id(_ value: some Identifier) -> Parameter { Parameter(value.rawValue) }
        static func int(_ value: Int?) -> Parameter { Parameter(value.map { String($0) }) }
        static func int(_ value: Int64) -> Parameter { Parameter(String(value)) }
        /// For INTEGER columns: clamped to 32 bits rather than refused.
        static func int32(_ value: Int?) -> Parameter { Parameter(value.map { String(Int32(clamping: $0)) }) }
        static func epoch(_ value: Epoch) -> Parameter { Parameter(String(Int64(clamping: value.rawValue))) }
        static func bool(_ value: Bool) -> Parameter { Parameter(value ? "t" : "f") }
        /// Milliseconds, for `to_timestamp($n::bigint / 1000.0)`.
        static func time(_ value: WallTime?) -> Parameter { Parameter(value.map { String($0.storable.milliseconds) }) }
        /// Milliseconds, for `$n::bigint * interval '1 millisecond'`.
        static func milliseconds(_ value: Duration) -> Parameter { Parameter(String(Int64(value.inMilliseconds))) }
        static func json(_ text: String) -> Parameter { Parameter(text) }
        static func optionalJSON(_ text: String?) -> Parameter { Parameter(text) }
    }
}

extension WallTime {
    /// Within 1970…9999, which PostgreSQL holds and JSON readers take.
    var storable: WallTime { WallTime(milliseconds: min(max(milliseconds, 0), 253_402_300_799_999)) }
}

/// One row of a result, all columns as text.
struct Row: Sendable {
    let values: [String?]

    /// - Throws: `StoreError.invalidData` when the column is NULL.
    func text(_ column: Int) throws(StoreError) -> String {
        guard let value = values[column] else { throw .invalidData("column \(column) is null") }
        return value
    }
    func int(_ column: Int) throws(StoreError) -> Int {
        let value = try text(column)
        guard let number = Int(value) else { throw .invalidData("column \(column) is not an integer") }
        return number
    }
    func optionalInt(_ column: Int) throws(StoreError) -> Int? { values[column] == nil ? nil : try int(column) }
    func int64(_ column: Int) throws(StoreError) -> Int64 { Int64(try int(column)) }
    func bool(_ column: Int) throws(StoreError) -> Bool { try text(column) == "t" }
    func epoch(_ column: Int) throws(StoreError) -> Epoch { Epoch(UInt64(clamping: try int(column))) }
    func time(_ column: Int) throws(StoreError) -> WallTime { WallTime(milliseconds: try int64(column)) }
    func optionalTime(_ column: Int) throws(StoreError) -> WallTime? { values[column] == nil ? nil : try time(column) }
    func json<Value: Decodable>(_ column: Int, as type: Value.Type) throws(StoreError) -> Value {
        try JSONText.decode(type, from: try text(column), what: "column \(column)")
    }
    /// NULL is JSON's null.
    func jsonValue(_ column: Int) throws(StoreError) -> JSONValue {
        values[column] == nil ? .null : try JSONText.decodeValue(try text(column), what: "column \(column)")
    }
}

/// Fragments of SQL used by several statements.
enum SQL {
    /// A timestamp column as whole milliseconds since 1970.
    static func milliseconds(_ column: String) -> String { "round(extract(epoch FROM \(column)) * 1000)::bigint" }
    /// A `Parameter.time` as a timestamp.
    static func timestamp(_ parameter: Int) -> String { "to_timestamp($\(parameter)::bigint / 1000.0)" }
}
