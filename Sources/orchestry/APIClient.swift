import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import OrchestryModel

/// Talks to the cluster: every command's only way to HTTP. Tries the servers in turn and again while none can take the
/// request, with one idempotency key, so that what was sent twice is done once.
struct APIClient {
    let servers: [String]
    /// How long to keep trying after the first failure.
    let patience: Duration
    let credentials: Credentials
    let http: HTTPClient
    /// Longer than a server takes over an answer (30 s), so that its own words about that arrive.
    private static let answerLimit = TimeAmount.seconds(35)

    init(servers: [String], patience: Duration, credentials: Credentials = Credentials()) throws {
        self.servers = servers
        self.patience = patience
        self.credentials = credentials
        var configuration = HTTPClient.Configuration()
        // On a stream a server says something each 15 s: one that is silent for longer is gone.
        configuration.timeout = .init(connect: .seconds(2), read: .seconds(40))
        // A server that refuses is left for the next at once; trying again is done here.
        configuration.connectionPool.retryConnectionEstablishment = false
        // A token goes to the servers that were named, not to where they point.
        if credentials.token != nil { configuration.redirectConfiguration = .disallow }
        configuration.tlsConfiguration = try credentials.tlsConfiguration()
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Whether that server may see the token: those that were named may, not those that they tell of.
    func isTrusted(_ server: String) -> Bool { credentials.token == nil || servers.contains(server) }

    /// One that asks that server only, and once. To be shut down by itself.
    func asking(_ server: String) throws -> APIClient {
        var shown = credentials
        if !isTrusted(server) { shown.token = nil }
        return try APIClient(servers: [server], patience: .zero, credentials: shown)
    }

    func shutdown() async {
        // The process ends right after: what could not be closed is closed then.
        try? await http.shutdown()
    }

    struct Answer {
        var status: Int
        var body: JSONValue
        var retryAfter: Duration?
        /// Which server gave it.
        var server: String
    }

    func get(_ path: String, query: [(String, String)] = [], app: String? = nil) async throws -> JSONValue {
        try await send(.GET, path, query: query, app: app)
    }

    /// - Parameter headers: conditions such as `If-Match`.
    func post(
        _ path: String, _ body: JSONValue? = nil, query: [(String, String)] = [], headers: [(String, String)] = [],
        app: String? = nil
    ) async throws -> JSONValue {
        try await send(.POST, path, query: query, body: body, headers: headers, app: app)
    }

    func patch(_ path: String, _ body: JSONValue) async throws -> JSONValue {
        try await send(.PATCH, path, body: body)
    }

    func put(_ path: String, _ body: JSONValue) async throws -> JSONValue { try await send(.PUT, path, body: body) }

    func delete(_ path: String, query: [(String, String)] = [], app: String? = nil) async throws -> JSONValue {
        try await send(.DELETE, path, query: query, app: app)
    }

    /// - Parameters:
    ///   - path: starts with `/`; its variable parts are escaped already (`appPath`).
    ///   - app: the app the request is about: 404 then means that there is no such app.
    /// - Throws: `CommandFailure`.
    private func send(
        _ method: HTTPMethod, _ path: String, query: [(String, String)] = [], body: JSONValue? = nil,
        headers: [(String, String)] = [], app: String? = nil
    ) async throws -> JSONValue {
        let answer = try await answer(method, Self.target(path, query), body: body, headers: headers)
        switch answer.status {
        case 200..<300: return answer.body
        case 404 where app != nil:
            throw CommandFailure.appNotFound(app ?? "", detail: answer.body["detail"]?.stringValue)
        default: throw CommandFailure.refused(status: answer.status, problem: answer.body)
        }
    }

    static func target(_ path: String, _ query: [(String, String)]) -> String {
        path + (query.isEmpty ? "" : "?" + query.map { "\($0)=\(escaped($1))" }.joined(separator: "&"))
    }
    static func tokenPath(_ name: String) -> String { "/tokens/\(escaped(name))" }

    static func secretPath(_ name: String) -> String { "/secrets/\(escaped(name))" }

    static func appPath(_ name: String, _ rest: String = "") -> String { "/apps/\(escaped(name))\(rest)" }

    static func nodePath(_ node: String, _ rest: String) -> String { "/nodes/\(escaped(node))\(rest)" }

    private static func escaped(_ text: String) -> String {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        return text.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
    }

    // MARK: Trying

    /// The first answer that is not "not now" (502, 503); after the patience is used up, the last such answer.
    private func answer(
        _ method: HTTPMethod, _ target: String, body: JSONValue?, headers: [(String, String)]
    ) async throws -> Answer {
        let clock = ContinuousClock()
        let deadline = clock.now + patience
        let key = UUID().uuidString
        var pause = Duration.milliseconds(100)
        var hasComplained = false
        while true {
            var reasons: [String] = []
            var notNow: Answer?
            for server in servers {
                do {
                    let answer = try await attempt(method, server, target, body: body, key: key, headers: headers)
                    guard answer.status == 502 || answer.status == 503 else { return answer }
                    notNow = answer
                } catch let failure as CommandFailure {
                    throw failure
                } catch {
                    reasons.append(Self.describe(error))
                }
            }
            let wait = max(pause, notNow?.retryAfter ?? .zero)
            guard clock.now + wait <= deadline else {
                if let notNow { return notNow }
                throw CommandFailure.unreachable(servers: servers, reasons: reasons)
            }
            if !hasComplained, pause > .milliseconds(500) {
                Output.complain("No server can take the request now; trying for \(patience) in all (--timeout).")
                hasComplained = true
            }
            try await Task.sleep(for: wait)
            pause = min(pause * 2, .seconds(1))
        }
    }

    private func attempt(
        _ method: HTTPMethod, _ server: String, _ target: String, body: JSONValue?, key: String,
        headers: [(String, String)]
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: server + target)
        request.method = method
        request.headers.add(name: "Accept", value: "application/json")
        request.headers.add(name: "User-Agent", value: "orchestry/\(Orchestry.version)")
        if let token = credentials.token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if method != .GET { request.headers.add(name: "Idempotency-Key", value: key) }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(bytes: body.jsonBytes()))
        }
        let response = try await http.execute(request, timeout: Self.answerLimit)
        let bytes = try await response.body.collect(upTo: 256 << 20)
        let answer: JSONValue
        do {
            answer = try JSONValue(json: bytes.readableBytesView)
        } catch {
            let status = Int(response.status.code)
            guard status >= 400 else {
                throw CommandFailure.refused(
                    status: status,
                    problem: [
                        "title": .string("\(server) does not speak Orchestry's protocol"),
                        "detail": .string("\(error)"),
                    ])
            }
            // A proxy in between answers in its own way.
            answer = ["title": .string("\(server) answered \(status) \(response.status.reasonPhrase)")]
        }
        let retryAfter = response.headers.first(name: "Retry-After").flatMap { Double($0) }
        return Answer(
            status: Int(response.status.code), body: answer,
            retryAfter: retryAfter.map { .milliseconds(Int64(min(max($0, 0), 60) * 1_000)) }, server: server)
    }

    private static func describe(_ error: NIOSSLError) -> String {
        if case .handshakeFailed = error {
            return "its certificate is not trusted, or it does not speak TLS (--ca FILE names an authority)"
        }
        return "TLS: \(error)"
    }

    static func describe(_ error: any Error) -> String {
        if let error = error as? HTTPClientError {
            switch error {
            case .connectTimeout, .deadlineExceeded, .readTimeout: return "no answer in time"
            case .remoteConnectionClosed: return "the connection was closed"
            default: return error.shortDescription
            }
        }
        if let error = error as? NIOSSLError { return describe(error) }
        if let error = error as? IOError {
            return String(cString: strerror(error.errnoCode)).lowercased()
        }
        let text = "\(error)"
        if text.contains("ECONNREFUSED") || text.lowercased().contains("connection refused") {
            return "connection refused"
        }
        return String(text.prefix(160))
    }
}
