import OrchestryModel

/// One service of a compose file as an app's document. Scalars arrive as texts.
struct ComposeService {
    var notes: [ComposeFile.Note] = []
    var spec: [String: JSONValue] = [:]
    var security: [String: JSONValue] = [:]
    var resources: [String: JSONValue] = [:]
    var volumes: [JSONValue] = []
    /// In the container, the first is the primary one.
    var ports: [Int] = []
    var labels: [String: JSONValue] = [:]
    var health: JSONValue?
    var replicas = 1

    /// Ports of things that do not speak HTTP.
    private static let otherProtocols: Set<Int> = [1433, 1883, 3306, 4222, 5432, 5672, 6379, 9092, 11211, 27017]

    static func read(_ name: String, _ definition: JSONValue) -> ComposeFile.Service {
        var service = ComposeService()
        let members = definition.objectValue ?? [:]
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            if value == .null { service.leave(key, "it is empty") } else { service.take(key, value) }
        }
        let app = service.appName(name)
        guard service.spec["image"] != nil else {
            if members["image"] == nil {
                service.leave("image", "there is none, so no app is made: build it, push it to a registry, and name it")
            }
            return ComposeFile.Service(name: name, document: nil, notes: service.notes, violations: [])
        }
        let document = service.document(app)
        do {
            _ = try AppSpec.parse(document)
            return ComposeFile.Service(name: name, document: document, notes: service.notes, violations: [])
        } catch {
            return ComposeFile.Service(
                name: name, document: document, notes: service.notes, violations: error.violations)
        }
    }

    // MARK: Notes

    mutating func use(_ key: String, _ text: String = "") { note(key, .used, text) }
    mutating func change(_ key: String, _ text: String) { note(key, .changed, text) }
    mutating func leave(_ key: String, _ text: String) { note(key, .left, text) }

    private mutating func note(_ key: String, _ fate: ComposeFile.Note.Fate, _ text: String) {
        notes.append(ComposeFile.Note(key: key, fate: fate, text: text))
    }

    /// The text as compose would see it; nil: it is none, or holds a variable, which is said.
    mutating func literal(_ key: String, _ value: JSONValue) -> String? {
        guard let text = value.stringValue else {
            leave(key, "it must be a text")
            return nil
        }
        guard let literal = ComposeText.literal(text) else {
            leave(key, "\"\(text)\" holds a variable, whose value is not known here: write it out")
            return nil
        }
        return literal
    }

    /// Says of each member beside `known` that nothing is made of it.
    mutating func leaveOthers(_ members: [String: JSONValue], but known: Set<String>, at path: String) {
        for key in members.keys.sorted() where !known.contains(key) { leave("\(path).\(key)", "not available") }
    }

    /// The elements of a list of texts; what is none is said.
    mutating func texts(_ key: String, _ value: JSONValue) -> [String] {
        guard let elements = value.arrayValue else {
            leave(key, "it must be a list")
            return []
        }
        return elements.compactMap { literal(key, $0) }
    }

    // MARK: The document

    private mutating func appName(_ name: String) -> String {
        let app = String(name.lowercased().map { $0 == "_" || $0 == "." ? "-" : $0 })
        if app != name { change("(name)", "the app is called \(app): a DNS label") }
        return app
    }

    private mutating func document(_ app: String) -> JSONValue {
        var spec = spec
        if ports.isEmpty {
            spec["type"] = "worker"
            change("(type)", "worker: no ports are named, so nothing is routed to it")
        } else if let port = ports.first, Self.otherProtocols.contains(port) {
            spec["type"] = "tcp"
            change("(type)", "tcp: \(port) is a port that does not speak HTTP; the proxy does not route to it")
        } else {
            spec["type"] = "http"
            change("(type)", "http, at the host name \(app): write tcp if its first port does not speak HTTP")
        }
        if !ports.isEmpty { spec["ports"] = .array(ports.map { ["containerPort": JSONValue($0)] }) }
        if !security.isEmpty { spec["security"] = .object(security) }
        if !resources.isEmpty { spec["resources"] = .object(resources) }
        if !volumes.isEmpty { spec["volumes"] = .array(volumes) }
        if resources["cpu"] == nil || resources["memory"] == nil {
            change(
                "(limits)", "compose sets none; here an instance has 250m of CPU and 256 MiB unless it says otherwise")
        }
        if security["user"] == nil {
            change("(user)", "an image that names no user runs as nobody (65534), not as root")
        }
        change(
            "(scaling)",
            "fixed at \(replicas), as in compose: mode auto with a target such as targetRPSPerReplica lets it grow")
        var metadata: [String: JSONValue] = ["name": .string(app)]
        if !labels.isEmpty { metadata["labels"] = .object(labels) }
        var document: [String: JSONValue] = [
            "apiVersion": "v1", "kind": "App", "metadata": .object(metadata), "spec": .object(spec),
            "scaling": [
                "mode": "manual", "minReplicas": JSONValue(replicas), "maxReplicas": JSONValue(replicas),
            ],
        ]
        document["healthCheck"] = health
        return .object(document)
    }
}
