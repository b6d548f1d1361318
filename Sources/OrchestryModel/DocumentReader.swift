/// Reads typed fields out of a document a user sent and collects everything in it that breaks a rule, so that one
/// answer names all that has to be corrected. Reading goes on after a violation, with nil for the field.
struct DocumentReader {
    /// An object of the document with its place in it.
    struct Object {
        var path: String
        var members: [String: JSONValue]
        /// The member, where it is there and not null.
        subscript(key: String) -> JSONValue? {
            guard let value = members[key], value != .null else { return nil }
            return value
        }
        func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
    }

    /// More are counted but not listed: a hostile document must not make a huge answer.
    static let maximumListed = 100
    private var listed: [Violation] = []
    private var unlisted = 0

    /// What was found so far, in the order found.
    var violations: [Violation] {
        unlisted == 0 ? listed : listed + [Violation("", "breaks \(unlisted) more rules that are not listed here")]
    }

    mutating func report(_ field: String, _ rule: String) {
        if listed.count < Self.maximumListed { listed.append(Violation(field, rule)) } else { unlisted += 1 }
    }

    // MARK: Objects and lists

    /// The object at `path`; nil when it is absent, null or something else (which is reported).
    /// - Parameters:
    ///   - keys: the fields it may have; any other is reported, with the closest of these.
    ///   - hints: what to say about particular unknown fields, instead of the closest one.
    mutating func object(
        _ value: JSONValue?, at path: String, keys: [String], hints: [String: String] = [:]
    ) -> Object? {
        guard let value, value != .null else { return nil }
        guard case .object(let members) = value else {
            report(path, "must be an object, got \(Self.describe(value))")
            return nil
        }
        let object = Object(path: path, members: members)
        for key in members.keys.sorted() where !keys.contains(key) {
            let advice: String
            if let hint = hints[key] {
                advice = hint
            } else if let close = closestKey(to: key, among: keys) {
                advice = "did you mean \(close)?"
            } else {
                advice = "known here: \(keys.joined(separator: ", "))"
            }
            report(object.path(of: Self.shortened(key)), "is not a known field; \(advice)")
        }
        return object
    }

    /// The elements of a list with their paths; nil when it is absent, empty list when it is not a list.
    mutating func list(
        _ object: Object, _ key: String, atMost limit: Int, of what: String
    ) -> [(path: String, value: JSONValue)]? {
        guard let value = object[key] else { return nil }
        let path = object.path(of: key)
        guard case .array(let elements) = value else {
            report(path, "must be a list of \(what), got \(Self.describe(value))")
            return []
        }
        guard elements.count <= limit else {
            report(path, "must have at most \(limit) elements, got \(elements.count)")
            return []
        }
        return elements.enumerated().map { ("\(path)[\($0.offset)]", $0.element) }
    }

    // MARK: Scalars

    mutating func integer(_ object: Object, _ key: String, _ range: ClosedRange<Int>) -> Int? {
        object[key].flatMap { integer($0, at: object.path(of: key), range) }
    }

    mutating func integer(_ value: JSONValue, at path: String, _ range: ClosedRange<Int>) -> Int? {
        if let number = value.intValue, range.contains(number) { return number }
        report(
            path, "must be a whole number from \(range.lowerBound) to \(range.upperBound), got \(Self.describe(value))")
        return nil
    }

    mutating func number(_ object: Object, _ key: String, _ range: ClosedRange<Double>) -> Double? {
        guard let value = object[key] else { return nil }
        if let number = value.doubleValue, range.contains(number) { return number }
        let bounds = "\(Self.short(range.lowerBound)) to \(Self.short(range.upperBound))"
        report(object.path(of: key), "must be a number from \(bounds), got \(Self.describe(value))")
        return nil
    }

    mutating func boolean(_ object: Object, _ key: String) -> Bool? {
        guard let value = object[key] else { return nil }
        if let flag = value.boolValue { return flag }
        report(object.path(of: key), "must be true or false, got \(Self.describe(value))")
        return nil
    }

    /// A string of 1 to `limit` bytes without control characters, for which `rule` holds.
    mutating func text(
        _ object: Object, _ key: String, atMost limit: Int, _ ruleText: String, _ rule: (String) -> Bool = { _ in true }
    ) -> String? {
        object[key].flatMap { text($0, at: object.path(of: key), atMost: limit, ruleText, rule) }
    }

    mutating func text(
        _ value: JSONValue, at path: String, atMost limit: Int, _ ruleText: String,
        _ rule: (String) -> Bool = { _ in true }
    ) -> String? {
        if case .string(let text) = value, !text.isEmpty, text.utf8.count <= limit,
            text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }), rule(text)
        {
            return text
        }
        report(path, "must be \(ruleText), got \(Self.describe(value))")
        return nil
    }

    /// One of some words, in any case of letters.
    mutating func choice<Value>(_ object: Object, _ key: String, _ choices: [(word: String, value: Value)]) -> Value? {
        guard let value = object[key] else { return nil }
        if let text = value.stringValue,
            let match = choices.first(where: { $0.word.lowercased() == text.lowercased() })
        {
            return match.value
        }
        let words = choices.map(\.word)
        var rule = "must be one of \(words.joined(separator: ", ")), got \(Self.describe(value))"
        if let text = value.stringValue, let close = closestKey(to: text, among: words) {
            rule += "; did you mean \(close)?"
        }
        report(object.path(of: key), rule)
        return nil
    }

    // MARK: Words for the answer

    /// The value as a person would name it, at most about 60 characters.
    static func describe(_ value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .int(let number): String(number)
        case .double(let number): short(number)
        case .string(let text): "\"\(shortened(text))\""
        case .array(let elements): elements.isEmpty ? "an empty list" : "a list of \(elements.count)"
        case .object(let members): members.isEmpty ? "an empty object" : "an object of \(members.count)"
        }
    }

    /// `2` rather than `2.0`.
    static func short(_ number: Double) -> String {
        if let whole = Int64(exactly: number) { String(whole) } else { number.description }
    }

    static func shortened(_ text: String) -> String {
        let clean = String(text.unicodeScalars.prefix(57).map { $0.value < 0x20 ? " " : Character($0) })
        return text.unicodeScalars.count > 57 ? clean + "..." : clean
    }
}
