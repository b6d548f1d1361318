/// One thing wrong with a document a user sent: which field, and the rule it breaks.
public struct Violation: Hashable, Sendable, Codable, CustomStringConvertible {
    /// Dotted path from the document's root, `spec.ports[0].containerPort`; empty for the document as a whole.
    public var field: String
    /// A whole sentence's predicate: "must be between 1 and 65535, got 70000".
    public var rule: String
    public init(_ field: String, _ rule: String) {
        self.field = field
        self.rule = rule
    }
    public var description: String { field.isEmpty ? rule : "\(field) \(rule)" }
}

/// A document that was refused, with everything that is wrong with it.
public struct ValidationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Never empty.
    public var violations: [Violation]
    public init(_ violations: [Violation]) {
        precondition(!violations.isEmpty, "a refusal needs a reason")
        self.violations = violations
    }
    public var description: String { violations.map(\.description).joined(separator: "; ") }
}
