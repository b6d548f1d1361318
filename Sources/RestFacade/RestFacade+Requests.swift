import AccessControl
import HTTPTypes
import Hummingbird
import NIOCore
import OrchestryModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Seconds since 1970.
package func wallClockSeconds() -> Double { Date().timeIntervalSince1970 }

extension RestFacade {
    /// From HTTP to a request of the control plane and back, within the time limit.
    func ask(_ route: RestRoute, _ request: Request, _ context: FacadeContext) async throws -> Response {
        try await ask(route, request, context) { try await operation(route, request, context) }
    }

    /// - Parameters:
    ///   - finish: makes the client's answer of the control plane's.
    ///   - operation: what is asked; read from the body as needed.
    func ask(
        _ route: RestRoute, _ request: Request, _ context: FacadeContext,
        finish: (ControlResponse) -> ControlResponse = { $0 },
        _ operation: @escaping @Sendable () async throws -> OrchestryModel.Operation
    ) async throws -> Response {
        let key = try idempotencyKey(request)
        if !route.isConditional { try refuseCondition(request) }
        // Every route that comes here needs a caller.
        guard let caller = context.caller else { throw Problem.unauthenticated("It is not known who asks.") }
        let answer = try await withThrowingTaskGroup(of: ControlResponse?.self) { group in
            group.addTask {
                let operation = try await operation()
                if let problem = caller.objection(to: operation) { throw problem }
                return await controlPlane.perform(
                    ControlRequest(operation: operation, idempotencyKey: key, caller: caller))
            }
            group.addTask {
                try await Task.sleep(for: configuration.requestTimeout)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        guard let answer else {
            throw Problem(
                status: 504, code: "timeout", title: "The cluster did not answer in time",
                detail: route.method == .get
                    ? "No answer came within \(configuration.requestTimeout). Try again."
                    : "No answer came within \(configuration.requestTimeout), and the change may still be applied. "
                        + "Repeat the request with the header 'Idempotency-Key: \(key)': it is applied once.",
                retryAfterSeconds: 1)
        }
        var response = Response(finish(answer))
        if route.method != .get { response.headers[.idempotencyKey] = key }
        if route == .appDocument, let tag = Presentation.tag(ofDocument: answer.body) {
            response.headers[.eTag] = "\"\(tag)\""
        }
        return response
    }

    /// A token that the client did not make itself is made here, and is in this one answer only: neither the leader nor
    /// PostgreSQL gets more than its hash.
    func createToken(_ request: Request, _ context: FacadeContext) async throws -> Response {
        var generator = SystemRandomNumberGenerator()
        let made = TokenText.generate(using: &generator)
        let wanted = try TokenRequest.parse(try await body(request))
        var complete = wanted
        if wanted.hash.isEmpty { complete.hash = TokenText.hash(made) }
        let operation = OrchestryModel.Operation.createToken(complete)
        return try await ask(
            .createToken, request, context,
            finish: { answer in
                guard wanted.hash.isEmpty, answer.status == 200, case .object(var members) = answer.body else {
                    return answer
                }
                members["token"] = .string(made)
                return ControlResponse(status: answer.status, body: .object(members))
            }, { operation })
    }

    private func operation(
        _ route: RestRoute, _ request: Request, _ context: FacadeContext
    ) async throws -> OrchestryModel.Operation {
        switch route {
        case .register:
            let document = try await body(request)
            // The leader reads it again: this only spares everyone the way there and the wait for a leader.
            _ = try AppSpec.parse(document)
            return .register(document: document, condition: try condition(request))
        case .plan: return .plan(documents: try Operation.parsePlan(try await body(request)))
        case .start: return .start(try app(context))
        case .stop: return .stop(try app(context))
        case .retry: return .retry(try app(context))
        case .deleteApp: return .delete(try app(context))
        case .scale:
            let name = try app(context)
            let (replicas, seconds) = try Operation.parseReplicas(try await body(request))
            return .scale(name, replicas: replicas, forSeconds: seconds)
        case .autoscale:
            let name = try app(context)
            return .autoscale(name, try Operation.parseAutoscale(try await body(request)))
        case .simulate:
            let name = try app(context)
            return .simulate(name, try SimulationRequest.parse(try await body(request)))
        case .setPolicy:
            let name = try app(context)
            let policy = try Operation.parsePolicy(try await body(request))
            return .setPolicy(name, policy: policy, condition: try condition(request))
        case .simulateMetrics:
            let name = try app(context)
            return .simulateMetrics(name, try SimulatedMetrics.parse(try await body(request)))
        case .listApps: return .listApps
        case .appStatus: return .appStatus(try app(context))
        case .appDocument: return .appDocument(try app(context))
        case .appMetrics: return .appMetrics(try app(context))
        case .why: return .why(try app(context))
        case .appHistory:
            let name = try app(context)
            let minutes = try number(request, "minutes", default: 30)
            guard (1...1_440).contains(minutes) else {
                throw ValidationError([Violation("minutes", "must be 1 to 1440, got \(minutes)")])
            }
            return .appHistory(name, minutes: minutes)
        case .appLogs: return .appLogs(try app(context), lines: try logLines(request))
        case .events: return try events(request)
        case .systemMetrics: return .systemMetrics
        case .usageOfApps: return .usageOfApps
        case .stepDown: return .stepDown
        case .listSecrets: return .listSecrets
        case .showSecret: return .showSecret(try secret(context))
        case .setSecret:
            let name = try secret(context)
            let value = try SealedSecret.parseValue(try await body(request))
            return .setSecret(try controlPlane.seal(value, name: name))
        case .removeSecret:
            return .removeSecret(try secret(context), force: try flag(request, "force"))
        case .rollback:
            let name = try app(context)
            return .rollback(name, to: try Operation.parseRollback(try await optionalBody(request)))
        case .pauseRollout: return .pauseRollout(try app(context))
        case .resumeRollout: return .resumeRollout(try app(context))
        case .abortRollout: return .abortRollout(try app(context))
        case .rolloutStatus: return .rolloutStatus(try app(context))
        case .revisions: return .revisions(try app(context))
        case .listNodes: return .listNodes
        case .cordonNode: return .cordonNode(try node(context))
        case .uncordonNode: return .uncordonNode(try node(context))
        case .drainNode:
            let node = try node(context)
            return .drainNode(node, deadlineSeconds: try Operation.parseDrain(try await optionalBody(request)))
        case .rebalance:
            return .rebalance(maxMoves: try Operation.parseRebalance(try await optionalBody(request)))
        case .listTokens: return .listTokens
        case .revokeToken: return .revokeToken(try token(context))
        case .audit: return try audit(request)
        case .backup: return .backup
        case .restore:
            let merge = try flag(request, "merge")
            let document = try await body(request, limit: max(configuration.maxBodyBytes, Self.backupBytes))
            return .restore(checksum: try await controlPlane.stage(document), merge: merge)
        case .listSettings: return .listSettings
        case .changeSettings: return .changeSettings(try Operation.parseSettings(try await body(request)))
        case .prometheusMetrics, .clusterStatus, .clusterLeader, .clusterHealth, .health, .openAPI, .createToken,
            .eventStream, .dashboard, .dashboardFile, .exec:
            preconditionFailure("\(route) is answered elsewhere")  // A bug: `answer` never sends these here.
        }
    }

    func logLines(_ request: Request) throws -> Int {
        // The original takes a negative count as none, and has no upper limit.
        min(max(try number(request, "lines", default: 100), 0), 10_000)
    }

    private func events(_ request: Request) throws -> OrchestryModel.Operation {
        .events(app: try appParameter(request), limit: try limit(request))
    }

    private func audit(_ request: Request) throws -> OrchestryModel.Operation {
        var after: Int64?
        if request.uri.queryParameters["after"] != nil {
            let number = try number(request, "after", default: 0)
            guard number >= 0 else { throw ValidationError([Violation("after", "must be at least 0, got \(number)")]) }
            after = Int64(number)
        }
        return .audit(
            app: try appParameter(request), after: after, limit: try limit(request), isRaw: try flag(request, "raw"))
    }

    private func appParameter(_ request: Request) throws -> AppName? {
        guard let text = request.uri.queryParameters["app"].map(String.init), !text.isEmpty else { return nil }
        guard let name = AppName(rawValue: text) else {
            throw ValidationError([
                Violation("app", "must be an app's name (a DNS label), got \"\(text.prefix(64))\"")
            ])
        }
        return name
    }

    /// 1…1,000; more is cut.
    private func limit(_ request: Request) throws -> Int {
        let limit = try number(request, "limit", default: 100)
        guard limit >= 1 else { throw ValidationError([Violation("limit", "must be at least 1, got \(limit)")]) }
        return min(limit, 1_000)
    }

    private func number(_ request: Request, _ key: String, default fallback: Int) throws -> Int {
        guard let text = request.uri.queryParameters[Substring(key)] else { return fallback }
        guard let number = Int(text) else {
            throw ValidationError([Violation(key, "must be a whole number, got \"\(text.prefix(64))\"")])
        }
        return number
    }

    /// A name that could not be an app's is an app that does not exist.
    func app(_ context: FacadeContext) throws -> AppName {
        let text = context.parameters.get("name") ?? ""
        guard let name = AppName(rawValue: text) else {
            throw Problem.appNotFound(AppName(unchecked: DocumentPath.shown(text)))
        }
        return name
    }

    private func token(_ context: FacadeContext) throws -> TokenName {
        let text = context.parameters.get("token") ?? ""
        guard let name = TokenName(rawValue: text) else {
            throw Problem.tokenNotFound(TokenName(unchecked: DocumentPath.shown(text)))
        }
        return name
    }

    private func secret(_ context: FacadeContext) throws -> SecretName {
        let text = context.parameters.get("secret") ?? ""
        guard let name = SecretName(rawValue: text) else {
            throw ValidationError([
                Violation(
                    "secret",
                    "must be 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first, got "
                        + "\"\(DocumentPath.shown(text))\"")
            ])
        }
        return name
    }

    func flag(_ request: Request, _ key: String) throws -> Bool {
        switch request.uri.queryParameters[Substring(key)] {
        case nil, "false", "0": return false
        case "true", "1", "": return true
        case let other?:
            throw ValidationError([Violation(key, "must be true or false, got \"\(other.prefix(64))\"")])
        }
    }

    private func node(_ context: FacadeContext) throws -> NodeID {
        let text = context.parameters.get("node") ?? ""
        guard let node = NodeID(rawValue: text) else {
            throw Problem.nodeNotFound(NodeID(unchecked: DocumentPath.shown(text)))
        }
        return node
    }

    // MARK: Headers and body

    private func idempotencyKey(_ request: Request) throws -> String {
        guard let given = request.headers[.idempotencyKey] else { return "auto-\(randomHex())\(randomHex())" }
        guard (1...200).contains(given.utf8.count), given.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw ValidationError([
                Violation("Idempotency-Key", "must be 1 to 200 visible ASCII characters, got \(given.utf8.count) bytes")
            ])
        }
        return given
    }

    /// The body as JSON, an empty object where there is none.
    private func optionalBody(_ request: Request) async throws -> JSONValue {
        try await body(request, whenEmpty: [:])
    }

    /// Largest backup that can be sent back: some thousand apps with all their revisions.
    private static let backupBytes = 128 << 20

    /// The body as JSON. Never holds more of it than the limit.
    /// - Parameter limit: bytes; nil: the configured one.
    private func body(
        _ request: Request, whenEmpty: JSONValue? = nil, limit: Int? = nil
    ) async throws -> JSONValue {
        if let type = request.headers[.contentType]?.lowercased(), type.contains("yaml") {
            throw Problem(
                status: 415, code: "unsupported-media-type", title: "The body must be JSON",
                detail: "YAML is not read here: `orchestry register FILE` converts it, or send application/json.")
        }
        let limit = limit ?? configuration.maxBodyBytes
        if let announced = request.headers[.contentLength].flatMap(Int.init), announced > limit {
            throw Problem.tooLarge(limit: limit)
        }
        let bytes: ByteBuffer
        do {
            bytes = try await request.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw Problem.tooLarge(limit: limit)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw Problem(
                status: 400, code: "incomplete-body", title: "The body did not arrive whole",
                detail: "The connection ended before the request's body did.")
        }
        guard bytes.readableBytes > 0 else {
            if let whenEmpty { return whenEmpty }
            throw ValidationError([Violation("", "must have a JSON object as its body, got none")])
        }
        do {
            return try JSONValue(json: bytes.readableBytesView)
        } catch {
            throw Problem(
                status: 400, code: "malformed-json", title: "The body is not JSON",
                detail: "The body is not JSON: \(error).")
        }
    }
}

extension Problem {
    static func tooLarge(limit: Int) -> Problem {
        Problem(
            status: 413, code: "body-too-large", title: "Content Too Large",
            detail: "The body is larger than the limit of \(limit) bytes.")
    }
}
