import OrchestryModel

/// What a change would do, in words: the answer of `POST /apps/plan`, and beside it where each document came from.
enum PlanText {
    /// - Parameters:
    ///   - plan: one of `apps`.
    ///   - source: its file; nil: there is one only.
    static func describe(_ plan: JSONValue, source: String? = nil) -> String {
        let app = Output.cell(plan["app"])
        var lines = [Terminal.paint("\(app): \(headline(plan))", .bold) + (source.map { "  (\($0))" } ?? "")]
        lines += (plan["differences"]?.arrayValue ?? []).map { "  " + difference($0) }
        lines += sentences(plan["effects"]).map { "  → " + $0 }
        lines += sentences(plan["warnings"]).map { Terminal.paint("  ! " + $0, .yellow) }
        return lines.joined(separator: "\n")
    }

    private static func headline(_ plan: JSONValue) -> String {
        switch plan["change"]?.stringValue {
        case "create": "new"
        case "revision": "revision \(Output.cell(plan["current_revision"])) → \(Output.cell(plan["revision"]))"
        case "settings": "changed, no restart"
        case "wording": "written in another way, no change in effect"
        case "none": "no change"
        default: Output.cell(plan["change"])
        }
    }

    /// `~ spec.image: "shop:1" → "shop:2"`.
    private static func difference(_ difference: JSONValue) -> String {
        let field = Output.cell(difference["field"])
        func text(_ value: JSONValue?) -> String? {
            guard let value, value != .null else { return nil }
            return value.stringValue ?? value.jsonText()
        }
        return switch (text(difference["old"]), text(difference["new"])) {
        case (let old?, let new?): Terminal.paint("~ \(field): \(old) → \(new)", .yellow)
        case (nil, let new?): Terminal.paint("+ \(field): \(new)", .green)
        case (let old?, nil): Terminal.paint("- \(field): \(old)", .red)
        case (nil, nil): "~ \(field)"
        }
    }

    private static func sentences(_ list: JSONValue?) -> [String] {
        (list?.arrayValue ?? []).compactMap(\.stringValue)
    }

    /// How many of what, for the last line.
    static func summary(_ plans: [JSONValue]) -> String {
        func count(_ change: String) -> Int { plans.count { $0["change"]?.stringValue == change } }
        let parts = [
            ("create", "new"), ("revision", "with a new revision"), ("settings", "changed without a restart"),
            ("wording", "written in another way"), ("none", "without change"),
        ].compactMap { change, words in count(change) > 0 ? "\(count(change)) \(words)" : nil }
        return "\(plans.count) app\(plans.count == 1 ? "" : "s"): \(parts.joined(separator: ", "))."
    }
}
