/// One field in which two documents of an app differ.
public struct SpecDifference: Hashable, Sendable {
    /// Dotted path in the submitted form; elements that have a name go by it: `spec.environment[LOG_LEVEL].value`.
    public var field: String
    /// nil: the field is new.
    public var old: JSONValue?
    /// nil: the field is gone.
    public var new: JSONValue?
    public init(_ field: String, old: JSONValue?, new: JSONValue?) {
        self.field = field
        self.old = old
        self.new = new
    }

    /// What differs between two documents in the submitted form, sorted by path.
    ///
    /// Values are compared as they are written (`0.5` and `500m` differ), except that `2` and `2.0` are one number and
    /// that null and an empty object count as left out. A list whose elements all have names is compared
    /// by these (a new order alone is then one difference), any other by position.
    public static func between(_ old: JSONValue, and new: JSONValue) -> [SpecDifference] {
        var found: [SpecDifference] = []
        // Not as left out altogether when they are empty: their fields are what differs.
        compare(given(old) ?? [:], given(new) ?? [:], at: "", into: &found)
        return found
    }

    private static func given(_ value: JSONValue?) -> JSONValue? {
        switch value {
        case nil, .null?: nil
        case .object(let members)? where members.allSatisfy({ given($0.value) == nil }): nil
        default: value
        }
    }

    private static func compare(
        _ old: JSONValue?, _ new: JSONValue?, at path: String, into found: inout [SpecDifference]
    ) {
        switch (old, new) {
        case (nil, nil): return
        case (.object(let old)?, .object(let new)?):
            for key in Set(old.keys).union(new.keys).sorted() {
                compare(given(old[key]), given(new[key]), at: path.isEmpty ? key : "\(path).\(key)", into: &found)
            }
        case (.array(let old)?, .array(let new)?):
            compare(old, new, at: path, into: &found)
        default:
            guard old != new else { return }
            if let old = old?.doubleValue, let new = new?.doubleValue, old == new { return }
            found.append(SpecDifference(path, old: old, new: new))
        }
    }

    private static func compare(
        _ old: [JSONValue], _ new: [JSONValue], at path: String, into found: inout [SpecDifference]
    ) {
        guard let oldNames = names(of: old), let newNames = names(of: new) else {
            for index in 0..<max(old.count, new.count) {
                compare(
                    index < old.count ? given(old[index]) : nil, index < new.count ? given(new[index]) : nil,
                    at: "\(path)[\(index)]", into: &found)
            }
            return
        }
        let before = Dictionary(uniqueKeysWithValues: zip(oldNames, old))
        let after = Dictionary(uniqueKeysWithValues: zip(newNames, new))
        for name in Set(oldNames).union(newNames).sorted() {
            compare(before[name], after[name], at: "\(path)[\(name)]", into: &found)
        }
        let kept = oldNames.filter { after[$0] != nil }
        let now = newNames.filter { before[$0] != nil }
        if kept != now {
            func order(_ names: [String]) -> JSONValue { .array(names.map { .string($0) }) }
            found.append(SpecDifference("\(path) (order)", old: order(kept), new: order(now)))
        }
    }

    /// nil: not every element is an object with a name of its own.
    private static func names(of elements: [JSONValue]) -> [String]? {
        let names = elements.compactMap { $0["name"]?.stringValue }
        return names.count == elements.count && Set(names).count == names.count ? names : nil
    }

    public var json: JSONValue {
        ["field": .string(field), "old": old ?? .null, "new": new ?? .null]
    }
}

extension AppSpec {
    /// The submitted form of an app's stored document: what `parse(_:)` takes, without what was left empty.
    /// - Parameter flat: as `parse(_:)` returned it.
    public static func document(flat: JSONValue, name: AppName) -> JSONValue {
        // What `parse(_:)` fills in where it was left out.
        let filled: [String: JSONValue] = ["resources": [:], "ports": [], "labels": [:], "scaling": [:]]
        var members = (flat.objectValue ?? [:]).filter { $0.value != .null && $0.value != filled[$0.key] }
        var metadata: [String: JSONValue] = ["name": .string(name.rawValue)]
        metadata["labels"] = members.removeValue(forKey: "labels")
        var document: [String: JSONValue] = ["apiVersion": "v1", "kind": "App", "metadata": .object(metadata)]
        document["scaling"] = members.removeValue(forKey: "scaling")
        document["healthCheck"] = members.removeValue(forKey: "health")
        document["livenessCheck"] = members.removeValue(forKey: "liveness")
        document["spec"] = .object(members)
        return .object(document)
    }
}
