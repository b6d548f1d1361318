import OrchestryModel
import Testing

struct SpecPlanTests {
    // MARK: Differences

    struct Row: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var old: JSONValue
        var new: JSONValue
        var differences: [SpecDifference]
        init(_ name: String, _ old: JSONValue, _ new: JSONValue, _ differences: SpecDifference...) {
            testDescription = name
            self.old = old
            self.new = new
            self.differences = differences
        }
    }

    static let rows = [
        Row("equal", ["a": [1, 2]], ["a": [1, 2]]),
        Row(
            "a value", ["spec": ["image": "a:1"]], ["spec": ["image": "a:2"]],
            .init("spec.image", old: "a:1", new: "a:2")),
        Row("new and gone", ["a": 1], ["b": 2], .init("a", old: 1, new: nil), .init("b", old: nil, new: 2)),
        Row("one number, two spellings", ["a": 2], ["a": 2.0]),
        Row("null and {} are left out", ["a": nil, "b": [:], "c": ["d": nil]], [:]),
        Row("an empty list is not", ["args": []], [:], .init("args", old: [], new: nil)),
        Row(
            "named elements by name", ["env": [["name": "A", "value": "1"], ["name": "B", "value": "2"]]],
            ["env": [["name": "A", "value": "1"], ["name": "C", "value": "3"], ["name": "B", "value": "9"]]],
            .init("env[B].value", old: "2", new: "9"),
            .init("env[C]", old: nil, new: ["name": "C", "value": "3"])),
        Row(
            "another order alone", ["env": [["name": "A"], ["name": "B"]]], ["env": [["name": "B"], ["name": "A"]]],
            .init("env (order)", old: ["A", "B"], new: ["B", "A"])),
        Row(
            "others by position", ["hosts": ["a", "b"]], ["hosts": ["a", "c", "d"]],
            .init("hosts[1]", old: "b", new: "c"), .init("hosts[2]", old: nil, new: "d")),
        Row(
            "another kind of value", ["maintenance": true], ["maintenance": ["message": "x"]],
            .init("maintenance", old: true, new: ["message": "x"])),
    ]

    @Test(arguments: rows)
    func `what differs between two documents`(_ row: Row) {
        #expect(SpecDifference.between(row.old, and: row.new) == row.differences)
        // The other way round the same fields, old and new exchanged.
        let back = SpecDifference.between(row.new, and: row.old)
        #expect(back.map { SpecDifference($0.field, old: $0.new, new: $0.old) } == row.differences)
    }

    @Test(arguments: [Fixtures.document])
    func `the stored form reads back as what was submitted`(_ document: JSONValue) throws {
        let (spec, flat) = try AppSpec.parse(document)
        let again = AppSpec.document(flat: flat, name: spec.name)
        #expect(SpecDifference.between(document, and: again).isEmpty)
        let (spec2, flat2) = try AppSpec.parse(again)
        #expect(spec2 == spec)
        #expect(flat2 == flat)
    }

    // MARK: Plans

    /// `web` with a change of its document.
    private static func application(
        revision: Int = 4, status: Application.Status = .running, replicas: Int = 3,
        _ change: (inout [String: JSONValue]) -> Void = { _ in }
    ) throws -> Application {
        var document = Fixtures.document.objectValue ?? [:]
        change(&document)
        let (spec, flat) = try AppSpec.parse(.object(document))
        return Application(
            spec: spec, document: flat, revision: revision, status: status, replicas: replicas,
            createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 2))
    }

    private static func set(_ section: String, _ key: String, _ value: JSONValue) -> (inout [String: JSONValue]) -> Void
    {
        { document in
            var members = document[section]?.objectValue ?? [:]
            members[key] = value
            document[section] = .object(members)
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var section: String
        var key: String
        var value: JSONValue
        var status = Application.Status.running
        var change: SpecPlan.Change
        /// All must be among the effects, in words.
        var words: [String]
    }

    static let cases = [
        Case(
            testDescription: "an image", section: "spec", key: "image", value: "testing:2", change: .revision,
            words: [
                "Makes revision 5 and replaces 3 instances by a rolling update (at most 1 more and 0 fewer at once)."
            ]),
        Case(
            testDescription: "an image of a stopped app", section: "spec", key: "image", value: "testing:2",
            status: .stopped, change: .revision, words: ["The app is stopped: nothing restarts."]),
        Case(
            testDescription: "a maximum", section: "scaling", key: "maxReplicas", value: 9, change: .settings,
            words: ["The autoscaler goes by the new policy from its next evaluation on; nothing restarts."]),
        Case(
            testDescription: "a maximum below what runs", section: "scaling", key: "maxReplicas", value: 2,
            change: .settings, words: ["3 are wanted now, maxReplicas is 2"]),
        Case(
            testDescription: "a minimum above what runs", section: "scaling", key: "minReplicas", value: 5,
            change: .settings, words: ["3 are wanted now, minReplicas is 5"]),
        Case(
            testDescription: "a host", section: "spec", key: "routing", value: ["hosts": ["shop.example"]],
            change: .settings, words: ["Every node's proxy takes over the new routing; nothing restarts."]),
        Case(
            testDescription: "maintenance", section: "spec", key: "routing", value: ["maintenance": true],
            change: .settings, words: ["the proxy answers 503 in the app's place"]),
        Case(
            testDescription: "a check", section: "healthCheck", key: "path", value: "/ready", change: .settings,
            words: ["probed by the new checks at once"]),
        Case(
            testDescription: "a label", section: "metadata", key: "labels", value: ["team": "a"], change: .settings,
            words: ["nothing restarts"]),
        Case(
            testDescription: "a default written out", section: "spec", key: "pullPolicy", value: "IfNotPresent",
            change: .wording, words: ["says the same in other words"]),
        Case(
            testDescription: "another spelling of a quantity", section: "spec", key: "resources",
            value: ["cpu": 0.1, "memory": "128Mi"], change: .wording, words: ["Nothing that runs changes"]),
    ]

    @Test(arguments: cases)
    func `what a change does`(_ row: Case) throws {
        let current = try Self.application(status: row.status, replicas: row.status == .running ? 3 : 0)
        var next = try Self.application(
            status: row.status, replicas: row.status == .running ? 3 : 0, Self.set(row.section, row.key, row.value))
        if AppSpec.needsNewRevision(from: current.spec, to: next.spec) { next.revision += 1 }
        let plan = SpecPlan(to: next, from: current)
        #expect(plan.change == row.change)
        for words in row.words { #expect(plan.effects.contains { $0.contains(words) }, "\(plan.effects)") }
        #expect(!plan.differences.isEmpty)
        #expect(plan.replicas == current.replicas)
        #expect(plan.tag == current.tag)
        #expect(
            plan.effects.contains { $0.contains("replaces") } == (row.change == .revision && row.status == .running))
    }

    @Test func `no change, a new app, a rollout under way, a missing secret`() throws {
        let current = try Self.application()
        let none = SpecPlan(to: current, from: current)
        #expect(none.change == .none && none.differences.isEmpty && none.effects.isEmpty && none.warnings.isEmpty)

        let new = try Self.application(revision: 1, status: .stopped, replicas: 0)
        let create = SpecPlan(to: new, from: nil)
        #expect(create.change == .create && create.tag == nil && create.currentRevision == nil)
        #expect(create.effects.first?.contains("revision 1 with image testing:latest") == true, "\(create.effects)")

        let next = try Self.application(revision: 5, Self.set("spec", "image", "testing:2"))
        let over = SpecPlan(to: next, from: current, rollout: 4)
        #expect(over.effects.first?.contains("takes the place of the rollout of revision 4") == true, "\(over.effects)")

        let secret: JSONValue = [["name": "P", "source": "secret", "key": "db"]]
        let needing = try Self.application(revision: 5, Self.set("spec", "environment", secret))
        let held = SpecPlan(to: needing, from: current)
        #expect(held.warnings.first?.contains("orchestry secret set db") == true, "\(held.warnings)")
    }

    // MARK: Tags and conditions

    @Test func `a tag changes with the revision and with the document, and with nothing else`() throws {
        let current = try Self.application()
        #expect(try Self.application(status: .stopped, replicas: 0).tag == current.tag)
        #expect(try Self.application(revision: 5).tag != current.tag)
        #expect(try Self.application(Self.set("scaling", "maxReplicas", 6)).tag != current.tag)
        // FNV-1a of "{}", from the reference implementation's parameters.
        #expect(SpecTag.of(revision: 1, flat: [:]).hasPrefix("r1-"))
        #expect(SpecTag.of(revision: 1, flat: [:]).utf8.count == 3 + 16)
    }

    @Test func `conditions`() throws {
        let current = try Self.application()
        let name = current.name
        func holds(_ condition: SpecCondition, _ application: Application?) -> Bool {
            do throws(Problem) {
                try condition.check(application, name: name)
                return true
            } catch {
                #expect(error.status == 412)
                return false
            }
        }
        #expect(holds(.exists, current) && !holds(.exists, nil))
        #expect(!holds(.absent, current) && holds(.absent, nil))
        #expect(holds(.oneOf(["other", current.tag]), current))
        #expect(!holds(.oneOf(["other"]), current) && !holds(.oneOf([current.tag]), nil) && !holds(.oneOf([]), current))
    }

    @Test(
        arguments: [
            ("\"a\"", ["a"]), ("\"a\", \"b-1\"", ["a", "b-1"]), ("W/\"a\", \"b\"", ["b"]), ("W/\"a\"", []),
            ("\"\"", [""]),
            ("a", nil), ("\"a", nil), ("", nil), ("\"a\",", nil), ("\"a b\"", nil),
        ] as [(String, [String]?)])
    func `tags of a header`(_ header: String, _ tags: [String]?) { #expect(SpecTag.list(header) == tags) }

    // MARK: The request

    @Test func `a plan's documents are all read, and all faults told`() throws {
        #expect(try Operation.parsePlan(["documents": [Fixtures.document]]) == [Fixtures.document])
        var bad = Fixtures.document.objectValue ?? [:]
        bad["spec"] = ["type": "http", "imag": "x"]
        let error = #expect(throws: ValidationError.self) {
            try Operation.parsePlan(["documents": [Fixtures.document, .object(bad), Fixtures.document, 3]])
        }
        let fields = error?.violations.map(\.field) ?? []
        for field in [
            "documents[1].spec.imag", "documents[1].spec.image", "documents[1].spec.ports",
            "documents[2].metadata.name", "documents[3]",
        ] {
            #expect(fields.contains(field), "\(fields)")
        }
    }

    @Test(arguments: [[:], ["documents": []], ["documents": 1], ["documents": [1], "more": 1], [1]] as [JSONValue])
    func `another form is refused`(_ body: JSONValue) {
        #expect(throws: ValidationError.self) { try Operation.parsePlan(body) }
    }
}
