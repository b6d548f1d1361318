import AccessControl
import OrchestryModel
import Synchronization

/// Knows the tokens in force and the keys of JSON Web Tokens, and finds out by them who asks. Needs neither a leader nor
/// PostgreSQL: it goes by what it was last told.
package final class Gatekeeper: CallerIdentification {
    package struct Configuration: Sendable {
        package var node: NodeID
        /// A worker: whoever it asks has to see for themselves.
        package var passesCredentials: Bool
        /// Monotonic time of this node, for lock-outs.
        package var now: @Sendable () -> Instant
        /// For what expires.
        package var wall: @Sendable () -> WallTime
        /// An address was locked out for so long.
        package var lockedOut: @Sendable (_ address: String, _ time: Duration, _ reason: String) -> Void
        /// Reads the tokens anew; returns when that is done, or takes too long.
        package var refresh: @Sendable () async -> Void
        package var throttle: FailureThrottle.Settings
        package init(
            node: NodeID, passesCredentials: Bool = false, now: @escaping @Sendable () -> Instant,
            wall: @escaping @Sendable () -> WallTime,
            lockedOut: @escaping @Sendable (String, Duration, String) -> Void = { _, _, _ in },
            refresh: @escaping @Sendable () async -> Void = {},
            throttle: FailureThrottle.Settings = .init()
        ) {
            self.node = node
            self.passesCredentials = passesCredentials
            self.now = now
            self.wall = wall
            self.lockedOut = lockedOut
            self.refresh = refresh
            self.throttle = throttle
        }
    }

    private struct State {
        var tokens: [String: APIToken] = [:]
        var bootstrapHash: String?
        var verifier: WebTokenVerifier?
        var throttle: FailureThrottle
        /// Tokens used since they were last taken, by hash.
        var uses: [String: WallTime] = [:]
        var failures: UInt64 = 0
    }

    private let configuration: Configuration
    private let state: Mutex<State>

    package init(_ configuration: Configuration) {
        self.configuration = configuration
        state = Mutex(State(throttle: FailureThrottle(configuration.throttle)))
    }

    // MARK: What it goes by

    package func use(tokens: [APIToken]) {
        let byHash = Dictionary(tokens.map { ($0.hash, $0) }, uniquingKeysWith: { first, _ in first })
        state.withLock { $0.tokens = byHash }
    }

    /// - Parameter bootstrapHash: of a token from a file of this node, for an admin; nil: none.
    package func use(bootstrapHash: String?) { state.withLock { $0.bootstrapHash = bootstrapHash } }

    package func use(verifier: WebTokenVerifier?) { state.withLock { $0.verifier = verifier } }

    /// Which tokens were used since the last call, and when last, by hash.
    package func takeUses() -> [String: WallTime] {
        state.withLock { state in
            defer { state.uses = [:] }
            return state.uses
        }
    }

    /// Puts back what could not be stored.
    package func putBack(_ uses: [String: WallTime]) {
        state.withLock { $0.uses.merge(uses) { max($0, $1) } }
    }

    /// Credentials that were refused since the start.
    package var failures: UInt64 { state.withLock { $0.failures } }

    // MARK: Who asks

    package func identify(authorization: String?, address: String?) async -> Identification {
        let place = address ?? "unknown"
        let now = configuration.now()
        if let left = state.withLock({ $0.throttle.lockLeft(place, at: now) }) {
            return .unknown(Self.tooMany(left))
        }
        guard let authorization else {
            return .unknown(
                .unauthenticated(
                    "The request has no credentials. Send a token: 'Authorization: Bearer …' (orchestry: --token-file FILE "
                        + "or ORCHESTRY_TOKEN)."))
        }
        do throws(WebTokenRules.Refusal) {
            var found = try await caller(authorization, address: address)
            if configuration.passesCredentials { found.credential = authorization }
            return .known(found)
        } catch {
            return failed(place, error, at: now)
        }
    }

    private func failed(_ place: String, _ reason: WebTokenRules.Refusal, at now: Instant) -> Identification {
        let lock = state.withLock { state in
            state.failures += 1
            return state.throttle.failed(place, at: now)
        }
        if let lock { configuration.lockedOut(place, lock, reason.description) }
        return .unknown(.unauthenticated("The credentials are refused: \(reason)."))
    }

    private static func tooMany(_ left: Duration) -> Problem {
        let seconds = max(1, Int(left.inSeconds.rounded(.up)))
        return Problem(
            status: 429, code: "locked-out", title: "Too many failed attempts",
            detail:
                "Too many requests from this address had wrong credentials. It is listened to again in \(seconds) s.",
            retryAfterSeconds: seconds)
    }

    private func caller(
        _ authorization: String, address: String?
    ) async throws(WebTokenRules.Refusal) -> Caller {
        let parts = authorization.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else {
            throw .init("the Authorization header must be 'Bearer TOKEN'")
        }
        let text = String(parts[1])
        let wall = configuration.wall()
        if text.hasPrefix(TokenText.prefix) { return try await tokenCaller(text, address: address, at: wall) }
        guard let verifier = state.withLock({ $0.verifier }), WebTokenVerifier.looksLike(text) else {
            throw .init("it is no token of this cluster, and JSON Web Tokens are not set up or it is none")
        }
        let found = try verifier.verify(text, now: wall)
        return Caller(name: "jwt:\(found.name)", address: address, node: configuration.node, grant: found.grant)
    }

    private func tokenCaller(
        _ text: String, address: String?, at wall: WallTime
    ) async throws(WebTokenRules.Refusal) -> Caller {
        guard TokenText.isWellFormed(text) else { throw .init("the token is cut short or has a typing error") }
        let hash = TokenText.hash(text)
        if let caller = try known(hash, address: address, at: wall) { return caller }
        // One that another node has made a moment ago is no failure. What is read meanwhile may have been read before it
        // was made: so once more.
        for _ in 0..<2 {
            await configuration.refresh()
            if let caller = try known(hash, address: address, at: wall) { return caller }
        }
        throw .init("the token is not known: revoked, or of another cluster")
    }

    private func known(
        _ hash: String, address: String?, at wall: WallTime
    ) throws(WebTokenRules.Refusal) -> Caller? {
        let (token, isBootstrap) = state.withLock { state -> (APIToken?, Bool) in
            guard let token = state.tokens[hash] else { return (nil, state.bootstrapHash == hash) }
            if !token.hasExpired(at: wall) { state.uses[hash] = wall }
            return (token, false)
        }
        if isBootstrap {
            return Caller(
                name: "bootstrap", address: address, node: configuration.node, grant: AccessGrant(role: .admin))
        }
        guard let token else { return nil }
        guard !token.hasExpired(at: wall) else { throw .init("token \(token.name) has expired") }
        return Caller(
            name: "token:\(token.name)", address: address, node: configuration.node, grant: token.grant,
            token: token.fingerprint)
    }
}
