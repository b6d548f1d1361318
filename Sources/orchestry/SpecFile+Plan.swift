import OrchestryModel

extension SpecFile {
    /// Largest body of one request, bytes: the server takes a mebibyte unless it is told otherwise.
    private static let planBytes = 512 << 10

    /// What applying the documents would do, one answer a document in their order.
    /// - Throws: `CommandFailure.refused` with everything that is wrong with any of them, under the files' names.
    static func plan(_ files: [SpecFile], with client: APIClient) async throws -> [JSONValue] {
        var plans: [JSONValue] = []
        var violations: [JSONValue] = []
        var rest = files[...]
        while !rest.isEmpty {
            var bytes = 0
            let part = rest.prefix { file in
                defer { bytes += file.document.jsonBytes().count }
                return bytes < planBytes
            }.prefix(Operation.mostPlanned)
            rest = rest.dropFirst(part.count)
            do {
                let answer = try await client.post(
                    "/apps/plan", ["documents": .array(part.map(\.document))])
                let told = answer["apps"]?.arrayValue ?? []
                guard told.count == part.count else {
                    throw CommandFailure.local("the cluster planned \(told.count) of \(part.count) documents")
                }
                plans += told
            } catch CommandFailure.refused(422, let problem) {
                violations += (problem["violations"]?.arrayValue ?? []).map { placed($0, among: Array(part)) }
            }
        }
        guard violations.isEmpty else {
            throw CommandFailure.refused(
                status: 422,
                problem: [
                    "title": "Nothing was applied: the documents break rules", "violations": .array(violations),
                ])
        }
        return plans
    }

    /// `documents[2].spec.image` → `shop.yaml: spec.image`.
    private static func placed(_ violation: JSONValue, among files: [SpecFile]) -> JSONValue {
        let field = violation["field"]?.stringValue ?? ""
        guard field.hasPrefix("documents["), let end = field.firstIndex(of: "]"),
            let index = Int(field[field.index(field.startIndex, offsetBy: 10)..<end]), files.indices.contains(index)
        else { return violation }
        let place = field[field.index(after: end)...].drop { $0 == "." }
        let source = files[index].source
        return [
            "field": .string(place.isEmpty ? source : "\(source): \(place)"), "rule": violation["rule"] ?? "",
        ]
    }
}
