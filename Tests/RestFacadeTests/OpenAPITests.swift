import HTTPTypes
import OrchestryModel
import RestFacade
import Testing

struct OpenAPITests {
    private let document: JSONValue

    init() throws { document = try JSONValue(json: RestFacade.openAPIDocument) }

    @Test func `every route is described, and nothing else`() throws {
        let paths = try #require(document["paths"]?.objectValue)
        let described = paths.flatMap { path, operations in
            (operations.objectValue ?? [:]).keys.map { "\($0.uppercased()) \(path)" }
        }
        #expect(Set(described) == Set(RestRoute.allCases.map { "\($0.method.rawValue) \($0.path)" }))
        #expect(described.count == RestRoute.allCases.count)
    }

    @Test(arguments: RestRoute.allCases)
    func `an operation has its route's id, parameters and answers`(_ route: RestRoute) throws {
        let operation = try #require(document["paths"]?[route.path]?[route.method.rawValue.lowercased()])
        #expect(operation["operationId"]?.stringValue == route.rawValue)
        #expect(operation["summary"]?.stringValue?.isEmpty == false)
        #expect(operation["responses"]?[route == .exec ? "101" : "200"] != nil)
        let parameters = (operation["parameters"]?.arrayValue ?? []).compactMap { $0["$ref"]?.stringValue }
        #expect(parameters.contains("#/components/parameters/AppName") == route.path.contains("{name}"))
        #expect(
            parameters.contains("#/components/parameters/IdempotencyKey") == (route.method != .get))
        #expect(parameters.contains("#/components/parameters/NodeName") == route.path.contains("{node}"))
        // A write of a secret that is not there makes it.
        #expect((operation["responses"]?["404"] != nil) == (route.path.contains("{") && route != .setSecret))
    }

    @Test func `every reference leads somewhere, and every component is used`() throws {
        var references: Set<String> = []
        func walk(_ value: JSONValue) {
            switch value {
            case .object(let members):
                if let reference = members["$ref"]?.stringValue { references.insert(reference) }
                members.values.forEach(walk)
            case .array(let elements): elements.forEach(walk)
            default: break
            }
        }
        walk(document)
        for reference in references {
            var place: JSONValue? = document
            for step in reference.dropFirst(2).split(separator: "/") { place = place?[String(step)] }
            #expect(place != nil, "\(reference)")
        }
        let components = try #require(document["components"]?.objectValue)
        for (section, members) in components where section != "securitySchemes" {
            for name in (members.objectValue ?? [:]).keys {
                #expect(references.contains("#/components/\(section)/\(name)"), "\(section)/\(name) is not used")
            }
        }
        #expect(document["openapi"] == "3.1.0")
    }

    @Test(arguments: RestRoute.allCases)
    func `what needs credentials says so, with its refusals`(_ route: RestRoute) throws {
        let operation = try #require(document["paths"]?[route.path]?[route.method.rawValue.lowercased()])
        let isOpen = route.access == .open
        #expect((operation["security"] == []) == isOpen)
        for status in ["401", "403", "429"] { #expect((operation["responses"]?[status] != nil) == !isOpen) }
        #expect(document["security"]?.arrayValue?.contains(["bearer": []]) == true)
        #expect(document["components"]?["securitySchemes"]?["bearer"]?["scheme"] == "bearer")
    }

    @Test func `the document's fields are the parser's`() throws {
        // A document with every described field is refused for none of them being unknown.
        let schemas = try #require(document["components"]?["schemas"])
        func probe(_ schema: String, _ wrap: (JSONValue) -> JSONValue) throws {
            let names = try #require(schemas[schema]?["properties"]?.objectValue).keys
            let section = JSONValue.object(
                Dictionary(uniqueKeysWithValues: names.map { ($0, JSONValue.object(["?": 1])) }))
            let error = #expect(throws: ValidationError.self) { try AppSpec.parse(wrap(section)) }
            let unknown = error?.violations.filter { $0.rule.contains("not a known field") && !$0.field.hasSuffix("?") }
            #expect(unknown?.isEmpty == true, "\(String(describing: unknown))")
        }
        let base = Samples.document.objectValue ?? [:]
        try probe("RolloutPolicy") { rollout in
            var spec = base["spec"]?.objectValue ?? [:]
            spec["rollout"] = rollout
            return .object(base.merging(["spec": .object(spec)]) { $1 })
        }
        try probe("ContainerSpec") { .object(base.merging(["spec": $0]) { $1 }) }
        try probe("Scaling") { .object(base.merging(["scaling": $0]) { $1 }) }
        try probe("HealthCheck") { .object(base.merging(["healthCheck": $0]) { $1 }) }
        try probe("AppDocument") { $0 }
    }
}
