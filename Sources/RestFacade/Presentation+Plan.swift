import OrchestryModel

extension Presentation {
    /// `POST /apps/plan`.
    package static func plan(_ plans: [SpecPlan]) -> JSONValue {
        [
            "apps": .array(plans.map(\.json)),
            "changes": JSONValue(plans.count { $0.change != .none }),
        ]
    }

    /// The entity tag that goes with an answer of `GET /apps/{name}/raw`; nil: it is an error.
    static func tag(ofDocument answer: JSONValue) -> String? {
        guard let flat = answer["raw"], let revision = answer["parsed"]?["revision"]?.intValue else { return nil }
        return SpecTag.of(revision: revision, flat: flat)
    }
}
