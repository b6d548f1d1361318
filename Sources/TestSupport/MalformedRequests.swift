import Leadership
import OrchestryModel

/// A request for a change that can't be carried out, whatever the state: each kind breaks a rule of its own.
public struct MalformedRequest: Sendable, CustomStringConvertible {
    public var method: String
    public var path: String
    public var body: [UInt8]
    public var headers: [(name: String, value: String)]
    public var description: String {
        "\(method) \(path) \(headers) \(String(decoding: body.prefix(2_000), as: UTF8.self))"
    }

    /// Writes that have a body, with one that is good.
    private static func bodies(app: String, document: JSONValue) -> [(method: String, path: String, body: JSONValue)] {
        [
            ("POST", "/apps/register", document), ("POST", "/apps/\(app)/scale", ["replicas": 3]),
            ("POST", "/apps/\(app)/autoscale", ["action": "pause", "direction": "in"]),
            ("POST", "/apps/\(app)/policy", ["policy": ["maxReplicas": 4]]),
            ("POST", "/apps/\(app)/simulateMetrics", ["rps": 5, "evaluate": false]),
            ("POST", "/apps/\(app)/rollback", ["to": 1]), ("PUT", "/secrets/db", ["value": "x"]),
            ("POST", "/nodes/controller-1/drain", ["deadlineSeconds": 60]),
            ("POST", "/cluster/rebalance", ["maxMoves": 1]), ("POST", "/tokens", ["name": "t", "role": "viewer"]),
        ]
    }

    private static let names = [
        "No_App", "UP", "..%2f..", "%00", "-x", "x-", "a.b%20c", "%F0%9F%98%80", String(repeating: "a", count: 64),
        "%ff",
    ]

    /// - Parameters:
    ///   - app: one that exists, where anything does.
    ///   - document: a good document of it.
    public static func make(_ random: inout SplitMix64, app: String, document: JSONValue) -> MalformedRequest {
        let writes = bodies(app: app, document: document)
        let write = writes[Int.random(in: 0..<writes.count, using: &random)]
        var request = MalformedRequest(
            method: write.method, path: write.path, body: write.body.jsonBytes(),
            headers: [("Content-Type", "application/json")])
        let name = names[Int.random(in: 0..<names.count, using: &random)]
        switch Int.random(in: 0...8, using: &random) {
        case 0:  // Cut short.
            request.body = Array(request.body.prefix(Int.random(in: 1..<request.body.count, using: &random)))
        case 1:  // Not UTF-8, not JSON.
            request.body =
                [0xFF] + (0..<Int.random(in: 0...60, using: &random)).map { _ in .random(in: 0...255, using: &random) }
        case 2:  // An unknown member somewhere.
            request.body = withUnknownMember(write.body, &random).jsonBytes()
        case 3:  // Something else than an object.
            let others: [JSONValue] = [[], [1], "text", 5, 2.5, true, [[:]]]
            request.body = others[Int.random(in: 0..<others.count, using: &random)].jsonBytes()
        case 4:  // A name that can't be one.
            let paths = ["up", "down", "retry", "scale", "rollout/pause", "rollback"]
            request.path = "/apps/\(name)/\(paths[Int.random(in: 0..<paths.count, using: &random)])"
        case 5:
            let paths = [
                ("PUT", "/secrets/-\(name)"), ("DELETE", "/tokens/-\(name)"), ("POST", "/nodes/-\(name)/cordon"),
            ]
            (request.method, request.path) = paths[Int.random(in: 0..<paths.count, using: &random)]
        case 6:  // A key that can't be one.
            request.headers.append(
                ("Idempotency-Key", Bool.random(using: &random) ? "a b" : String(repeating: "k", count: 201)))
        case 7:  // A spec with one value of a wrong type.
            (request.method, request.path) = ("POST", "/apps/register")
            request.body = withWrongValue(document, &random).jsonBytes()
        default:  // Nothing there, or not by this method.
            let segments = ["apps", "nodes", "x", app, "scale", "..", "%2e%2e", "tokens", "audit", "secrets"]
            let path = (0...Int.random(in: 1...5, using: &random)).map { _ in
                segments[Int.random(in: 0..<segments.count, using: &random)]
            }
            (request.method, request.path) = ("PATCH", "/" + path.joined(separator: "/"))
        }
        return request
    }

    private static func withUnknownMember(_ value: JSONValue, _ random: inout SplitMix64) -> JSONValue {
        guard case .object(var members) = value else { return value }
        let inner = members.filter { $0.value.objectValue != nil && $0.key != "labels" }.keys.sorted()
        if let key = inner.randomElement(using: &random), Bool.random(using: &random) {
            members[key] = withUnknownMember(members[key] ?? .null, &random)
        } else {
            members["zz\(UInt16.random(in: 0...(.max), using: &random))"] = 1
        }
        return .object(members)
    }

    /// One leaf becomes an object, which no field is.
    private static func withWrongValue(_ value: JSONValue, _ random: inout SplitMix64) -> JSONValue {
        switch value {
        case .object(var members) where !members.isEmpty:
            let key = members.keys.sorted().randomElement(using: &random) ?? ""
            members[key] = withWrongValue(members[key] ?? .null, &random)
            return .object(members)
        case .array(var elements) where !elements.isEmpty:
            let index = Int.random(in: 0..<elements.count, using: &random)
            elements[index] = withWrongValue(elements[index], &random)
            return .array(elements)
        default: return ["?": [1]]
        }
    }
}
