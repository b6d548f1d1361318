import OrchestryModel

/// What changed between two documents, field by field, for people and for the audit trail.
package enum DocumentDifference {
    package struct Change: Hashable, Sendable {
        /// `environment.LOG_LEVEL`, `ports[0].containerPort`.
        package var field: String
        /// nil: it was not there.
        package var old: JSONValue?
        /// nil: it is not there any more.
        package var new: JSONValue?

        package var json: JSONValue {
            var members: [String: JSONValue] = ["field": .string(field)]
            members["old"] = old
            members["new"] = new
            return .object(members)
        }
    }

    /// More changes than this are counted, not listed.
    package static let maximumChanges = 100
    /// Longer texts are cut, UTF-8 bytes.
    private static let maximumTextBytes = 256
    private static let hidden = JSONValue.string("(not shown)")

    /// Sorted by field. Values of variables whose names sound like passwords are not shown; secrets are in documents by
    /// name only.
    package static func between(_ old: JSONValue, _ new: JSONValue) -> [Change] {
        var changes: [Change] = []
        walk(old, new, at: "", into: &changes)
        changes.sort { $0.field < $1.field }
        let more = changes.count - maximumChanges
        guard more > 0 else { return changes }
        return changes.prefix(maximumChanges) + [Change(field: "(\(more) more fields)", old: nil, new: nil)]
    }

    private static func walk(_ old: JSONValue?, _ new: JSONValue?, at path: String, into changes: inout [Change]) {
        if old == new { return }
        let (before, after) = (members(old), members(new))
        guard before != nil || after != nil, before != nil || isAbsent(old), after != nil || isAbsent(new) else {
            changes.append(Change(field: path, old: shown(old, at: path), new: shown(new, at: path)))
            return
        }
        for key in Set((before ?? [:]).keys).union((after ?? [:]).keys).sorted() {
            walk(before?[key], after?[key], at: join(path, key), into: &changes)
        }
    }

    private static func isAbsent(_ value: JSONValue?) -> Bool { value == nil || value == .null }

    private static func join(_ path: String, _ key: String) -> String {
        path.isEmpty ? key : key.hasPrefix("[") ? path + key : "\(path).\(key)"
    }

    /// The parts of an object, and of a list of objects: by name where each has one of its own, else by place. nil: a value
    /// that is compared as a whole.
    private static func members(_ value: JSONValue?) -> [String: JSONValue]? {
        switch value {
        case .object(let members)?: return members
        case .array(let elements)? where !elements.isEmpty && elements.allSatisfy({ $0.objectValue != nil }):
            let names = elements.compactMap { $0["name"]?.stringValue }
            let keys =
                Set(names).count == elements.count ? names : elements.indices.map { "[\($0)]" }
            return Dictionary(zip(keys, elements), uniquingKeysWith: { first, _ in first })
        default: return nil
        }
    }

    private static func shown(_ value: JSONValue?, at path: String) -> JSONValue? {
        guard let value else { return nil }
        let isVariable = path.hasPrefix("environment") || path.hasPrefix("env")
        if isVariable, path.hasSuffix(".value"), soundsSecret(path) { return hidden }
        let text = value.stringValue ?? value.jsonText()
        // `--password=…`
        if path.hasPrefix("command") || path.hasPrefix("args"), soundsSecret(text) { return hidden }
        // A URL with a password in it.
        if let scheme = text.firstRange(of: "://"), let at = text[scheme.upperBound...].firstIndex(of: "@"),
            text[scheme.upperBound..<at].contains(":")
        {
            return hidden
        }
        guard text.utf8.count > maximumTextBytes else { return value }
        return .string(String(text.unicodeScalars.prefix(60).map(Character.init)) + "… (\(text.utf8.count) bytes)")
    }

    package static func soundsSecret(_ name: String) -> Bool {
        let name = name.uppercased()
        return ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTH", "PRIVATE"].contains { name.contains($0) }
    }
}
