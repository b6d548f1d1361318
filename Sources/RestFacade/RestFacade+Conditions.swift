import HTTPTypes
import Hummingbird
import OrchestryModel

extension RestRoute {
    /// Whether `If-Match` and `If-None-Match` are heeded.
    var isConditional: Bool { self == .register || self == .setPolicy }
}

/// `If-Match` and `If-None-Match` on what changes an app's spec (RFC 9110 §13.1).
extension RestFacade {
    /// nil: the request is unconditional.
    /// - Throws: `ValidationError` for a header that is not a list of entity tags.
    func condition(_ request: Request) throws -> SpecCondition? {
        switch (request.headers[.ifMatch], request.headers[.ifNoneMatch]) {
        case (nil, nil): return nil
        case ("*"?, nil): return .exists
        case (nil, "*"?): return .absent
        case (let text?, nil):
            guard let tags = SpecTag.list(text) else {
                throw ValidationError([
                    Violation(
                        "If-Match", "must be * or entity tags as GET /apps/{name}/raw gives them, such as \"r5-0123\"")
                ])
            }
            return .oneOf(tags)
        case (nil, _?): throw ValidationError([Violation("If-None-Match", "must be *: only if there is no such app")])
        case (_?, _?): throw ValidationError([Violation("If-None-Match", "must not come with If-Match")])
        }
    }

    /// A condition that nobody looks at would be a promise broken silently.
    func refuseCondition(_ request: Request) throws {
        guard request.method != .get, request.method != .head, request.headers[.ifMatch] != nil else { return }
        throw Problem(
            status: 400, code: "condition-not-possible", title: "If-Match is not possible here",
            detail: "Only POST /apps/register and POST /apps/{name}/policy heed If-Match. Nothing was changed.")
    }
}
