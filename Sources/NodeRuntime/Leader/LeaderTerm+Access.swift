import AccessControl
import Foundation
import Logging
import OrchestryModel
import PostgresStore
import RestFacade

/// Tokens, and the last word on who may do what: the node that took a request has authenticated its caller, but it may
/// not have heard yet that a token was revoked.
extension LeaderTerm {
    /// nil: the caller may.
    func refusal(of request: ControlRequest) -> Problem? {
        guard let caller = request.caller else { return nil }
        if let problem = caller.objection(to: request.operation) { return problem }
        // In doubt, PostgreSQL may know of a token that memory does not: a write settles that first, then asks again.
        guard let fingerprint = caller.token, !isInDoubt else { return nil }
        let wall = surroundings.clock.wall()
        let isInForce = tokens.values.contains { $0.fingerprint == fingerprint && !$0.hasExpired(at: wall) }
        return isInForce
            ? nil : .unauthenticated("The credentials are refused: \(caller.name) is revoked or has expired.")
    }

    // MARK: Writes

    func planToken(_ wanted: TokenRequest, _ request: ControlRequest) async throws -> Plan {
        func conflict(_ code: String, _ title: String, _ detail: String) -> Problem {
            Problem(status: 409, code: code, title: title, detail: detail)
        }
        if let grant = request.caller?.grant {
            let verbs = wanted.grant.role.verbs.filter(wanted.grant.allows)
            if let verb = verbs.sorted().first(where: { !grant.allows($0) }) {
                throw Problem.forbidden(
                    "Nobody gives more than they have: the token would have the verb '\(verb.rawValue)', and "
                        + "\(request.actor) has not.")
            }
        }
        if tokens[wanted.name] != nil {
            throw conflict(
                "token-exists", "The name is taken",
                "There is a token \(wanted.name) already. Choose another name, or: orchestry token revoke \(wanted.name)"
            )
        }
        guard tokens.count < APIToken.maximum else {
            throw conflict(
                "too-many-tokens", "Too many tokens",
                "There are \(tokens.count) tokens; revoke some that are not needed (orchestry token list).")
        }
        guard try await !surroundings.store.knowsToken(wanted.hash) else {
            throw conflict(
                "token-reused", "The token was used before", "Make a new token: this one exists or was revoked.")
        }
        let wall = surroundings.clock.wall()
        let token = APIToken(
            name: wanted.name, hash: wanted.hash, grant: wanted.grant, createdAt: wall, createdBy: request.actor,
            expiresAt: wanted.expiresSeconds.map { WallTime(milliseconds: wall.milliseconds + Int64($0) * 1_000) })
        return Plan(
            response: ControlResponse(body: Presentation.token(token, now: wall)),
            changes: [
                .saveToken(token),
                event(
                    .tokenCreated, nil, "Token \(token.name) was made for role \(token.grant.role.rawValue)", request,
                    ["token": .string(token.name.rawValue), "fingerprint": .string(token.fingerprint)]),
            ], tokens: [token.name: token])
    }

    func planRevocation(of name: TokenName, _ request: ControlRequest) throws -> Plan {
        guard let token = tokens[name] else { throw Problem.tokenNotFound(name) }
        return Plan(
            response: ControlResponse(body: Presentation.tokenRevoked(name)),
            changes: [
                .revokeToken(hash: token.hash, by: request.actor, at: surroundings.clock.wall()),
                event(
                    .tokenRevoked, nil, "Token \(name) was revoked", request,
                    ["token": .string(name.rawValue), "fingerprint": .string(token.fingerprint)]),
            ], tokens: [name: nil])
    }

    /// Secrets belong to no app, so whoever may deploy one could have it print any of them. A caller limited to apps may
    /// name those that the app names already, and those that carry its name: `<app>.…`.
    func refuseForeignSecrets(of spec: AppSpec, _ request: ControlRequest) throws {
        guard request.caller?.grant?.isLimitedToApps == true else { return }
        let known = Set(applications[spec.name]?.spec.allSecretNames ?? [])
        let foreign = spec.allSecretNames.filter { name in
            !known.contains(name) && !name.rawValue.hasPrefix("\(spec.name).")
        }
        guard let first = foreign.first else { return }
        throw Problem.forbidden(
            "\(request.actor) is limited to some apps, and secret \(first) is not one that app \(spec.name) names already or "
                + "whose name begins with '\(spec.name).': a caller without that limit must add it.")
    }

    // MARK: The audit trail

    /// What is recorded with a write, in its transaction.
    func auditChange(_ plan: Plan, _ request: ControlRequest) -> StateChange {
        var before: Application?
        if case .app(let name) = request.operation.scope { before = applications[name] }
        let after = plan.deleted != nil ? nil : plan.application ?? before
        var record = AuditRecord(
            request, time: surroundings.clock.wall(), node: surroundings.me.id, before: before, after: after)
        record.changes += plan.differences
        return .audit(record.json)
    }

    /// What is carried out without a transaction goes by way of the outbox.
    func noteCarriedOut(_ kind: EventKind, _ message: String, _ request: ControlRequest) {
        let record = AuditRecord(request, time: surroundings.clock.wall(), node: surroundings.me.id)
        surroundings.record(kind, record.app, message, ["actor": .string(request.actor), "audit": record.json])
    }

    // MARK: Reads

    /// nil: not known (yet), or not for sure.
    func tokensInForce() async -> [APIToken]? {
        isLoaded && !isInDoubt ? tokens.values.sorted { $0.name < $1.name } : nil
    }

    func tokensForNode() async throws -> ControlResponse {
        guard let tokens = await tokensInForce() else {
            throw Problem.noLeader("The leader is not sure of the tokens now.")
        }
        return ControlResponse(body: try APIToken.document(of: tokens))
    }

    func listTokens() async throws -> ControlResponse {
        // From PostgreSQL: that is where it is kept when they were last used.
        ControlResponse(
            body: Presentation.tokenList(try await surroundings.store.tokens(), now: surroundings.clock.wall()))
    }

    func audit(app: AppName?, after: Int64?, limit: Int, isRaw: Bool) async throws -> ControlResponse {
        let found = try await surroundings.store.audit(app: app, after: after, limit: limit)
        return ControlResponse(body: Presentation.audit(found.entries, head: found.head, isRaw: isRaw))
    }
}

/// Between nodes.
extension APIToken {
    static func document(of tokens: [APIToken]) throws -> JSONValue {
        ["tokens": try JSONValue(json: Array(try JSONEncoder().encode(tokens)))]
    }

    static func list(from document: JSONValue) throws -> [APIToken] {
        try JSONDecoder().decode([APIToken].self, from: Data((document["tokens"] ?? .null).jsonBytes()))
    }
}
