import Foundation
import Measuring
import OrchestryModel

/// What a bench tells a cluster to do. A write is repeated under its key while the cluster is without a leader.
struct ControlClient: Sendable {
    var servers: [Server]

    /// - Throws: `BenchFailure` with the cluster's words when it refuses, or no node answers for 30 s.
    @discardableResult
    func send(_ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil) async throws -> JSONValue {
        let key = "bench-\(UUID().uuidString)"
        let deadline = ContinuousClock.now + .seconds(30)
        var number = 0
        while true {
            let server = servers[number % servers.count]
            var reason: String
            do {
                let answer = try await HTTPRequest(method, path, body: body, idempotencyKey: key).send(to: server)
                if (200..<300).contains(answer.status) { return answer.body ?? .null }
                reason =
                    "\(server) answers \(method.rawValue) \(path) with \(answer.status): "
                    + (answer.body?.jsonText() ?? "")
                if answer.status != 503 { throw BenchFailure(reason) }
            } catch let failure as BenchFailure {
                throw failure
            } catch {
                reason = "\(server): \(error)"
            }
            guard ContinuousClock.now < deadline else { throw BenchFailure(reason) }
            number += 1
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Waits until `path`'s answer satisfies `condition`.
    @discardableResult
    func wait(
        for what: String, at path: String, within limit: Duration, until condition: (JSONValue) -> Bool
    ) async throws -> JSONValue {
        let deadline = ContinuousClock.now + limit
        while true {
            let answer = try await send(.get, path)
            if condition(answer) { return answer }
            guard ContinuousClock.now < deadline else {
                throw BenchFailure("not within \(limit): \(what); the last answer was \(answer.jsonText())")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}
