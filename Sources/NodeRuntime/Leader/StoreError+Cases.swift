import PostgresStore

extension StoreError {
    /// Another node leads, or will: this one's epoch counts no longer.
    var isFenced: Bool { if case .fenced = self { true } else { false } }
    var isDuplicateRequest: Bool { self == .duplicateRequest }
    var isOutcomeUnknown: Bool { if case .outcomeUnknown = self { true } else { false } }
    var isSchemaTooNew: Bool { if case .schemaTooNew = self { true } else { false } }
}
