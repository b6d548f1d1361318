import OrchestryModel

/// What a check found.
struct Finding: Hashable {
    enum Level: String { case ok, warning, error }

    /// `host` or `cluster`.
    var area: String
    var check: String
    var level: Level
    /// What is so.
    var found: String
    /// What to do about it; nil with `ok`.
    var advice: String?

    init(_ area: String, _ check: String, _ level: Level, _ found: String, _ advice: String? = nil) {
        self.area = area
        self.check = check
        self.level = level
        self.found = found
        self.advice = advice
    }

    var json: JSONValue {
        [
            "area": .string(area), "check": .string(check), "level": .string(level.rawValue), "found": .string(found),
            "advice": JSONValue(advice),
        ]
    }
}
