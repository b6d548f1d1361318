import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1

/// HTTP to the Engine API: bounded in time and size, with every failure as an `EngineError`.
struct EngineTransport: Sendable {
    /// What API version is spoken: the oldest with everything used here, so that older engines and Podman answer too.
    static let apiVersion = "v1.41"
    /// Most answers are a few kilobytes; a list of a thousand containers with their labels is a few megabytes.
    static let maximumBody = 32 << 20
    /// An error's text, which ends up in logs and events.
    static let maximumErrorBody = 16 << 10

    private let owner: ClientOwner
    private var client: HTTPClient { owner.client }
    private let base: String
    enum Address: Sendable {
        case socket(String)
        case tcp(host: String, port: Int)
    }
    let address: Address
    let group: any EventLoopGroup

    init(configuration: EngineConfiguration, eventLoopGroup: any EventLoopGroup) {
        var options = HTTPClient.Configuration()
        options.redirectConfiguration = .disallow
        options.timeout.connect = .seconds(3)
        // Event, log and statistics streams hold a connection each; the engine is local, connections are cheap.
        options.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 256
        // An engine that is not there must be reported, not waited for: callers have their own retries.
        options.connectionPool.retryConnectionEstablishment = false
        options.decompression = .disabled
        owner = ClientOwner(
            client: HTTPClient(eventLoopGroupProvider: .shared(eventLoopGroup), configuration: options))
        group = eventLoopGroup
        if let address = configuration.tcpAddress {
            let parts = address.split(separator: ":")
            self.address = .tcp(
                host: parts.dropLast().joined(separator: ":"), port: parts.last.flatMap { Int($0) } ?? 2375)
            base = "http://\(address)/\(Self.apiVersion)"
        } else {
            address = .socket(configuration.socketPath)
            base = "http+unix://\(PercentEncoding.component(configuration.socketPath))/\(Self.apiVersion)"
        }
    }

    func shutdown() async {
        // The only failure is a second shutdown, which changes nothing.
        try? await client.shutdown()
    }

    /// One call of the API.
    struct Call: Sendable {
        /// For messages: "start container".
        var operation: String
        var method: HTTPMethod
        /// Begins with `/`, without the version; path components are already encoded.
        var path: String
        var query: [(name: String, value: String)] = []
        /// JSON.
        var body: ByteBuffer?
        var headers: [(name: String, value: String)] = []
        var timeout: Duration
    }

    /// Sends a call and reads its whole answer.
    /// - Parameter accepting: statuses other than 200…299 that are no failure.
    /// - Returns: the status and the body, at most `maximumBody` bytes.
    func send(_ call: Call, accepting: Set<UInt> = []) async throws(EngineError) -> (status: UInt, body: ByteBuffer) {
        do {
            return try await within(call.timeout, of: call) {
                let response = try await open(call, accepting: accepting)
                return (response.status.code, try await response.body.collect(upTo: Self.maximumBody))
            }
        } catch {
            throw Self.translate(error, call.operation)
        }
    }

    /// Sends a call whose answer is read as it comes, without a limit in time. The stream ends when it is dropped.
    func stream(_ call: Call) async throws(EngineError) -> HTTPClientResponse.Body {
        do {
            return try await within(call.timeout, of: call) { try await open(call, accepting: []).body }
        } catch {
            throw Self.translate(error, call.operation)
        }
    }

    private func open(_ call: Call, accepting: Set<UInt>) async throws -> HTTPClientResponse {
        let query = call.query.map { "\($0.name)=\(PercentEncoding.component($0.value))" }.joined(separator: "&")
        var request = HTTPClientRequest(url: base + call.path + (query.isEmpty ? "" : "?" + query))
        request.method = call.method
        // A socket's path is no host, and the engine insists on one.
        request.headers.add(name: "Host", value: "engine")
        for header in call.headers { request.headers.add(name: header.name, value: header.value) }
        if let body = call.body {
            request.headers.replaceOrAdd(name: "Content-Type", value: "application/json")
            request.body = .bytes(body)
        }
        // The deadline proper is `within`'s, which also covers the body; this one only has to be later.
        let response = try await client.execute(
            request, deadline: .now() + .nanoseconds(call.timeout.inNanosecondsLate))
        guard !(200..<300).contains(response.status.code), !accepting.contains(response.status.code) else {
            return response
        }
        let body = try await response.body.collect(upTo: Self.maximumErrorBody)
        throw Self.refusal(status: response.status.code, body: body, operation: call.operation)
    }

    func within<Value: Sendable>(
        _ limit: Duration, of call: Call, _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask(operation: work)
            group.addTask {
                try await Task.sleep(for: limit)
                throw EngineError(.timeout, operation: call.operation, message: "no answer within \(limit)")
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else {
                throw EngineError(.cancelled, operation: call.operation, message: "cancelled")
            }
            return value
        }
    }

    /// What the engine's refusal means.
    static func refusal(status: UInt, body: ByteBuffer, operation: String) -> EngineError {
        let text = (try? EngineJSON.decode(RefusalDocument.self, from: body))?.message  // Not JSON: shown as it is.
        let message = text ?? String(buffer: body)
        let lower = message.lowercased()
        let code: EngineError.Code =
            switch status {
            case 400: .invalid
            case 404 where lower.contains("no such image"): .imageMissing
            case 404: .notFound
            case 403, 409: .conflict
            // Podman's.
            case 500 where lower.contains("name is already in use"): .conflict
            case 500 where isHopeless(lower): .invalid
            case 500 where lower.contains("no such image") || isRegistryRefusal(lower): .imageMissing
            case 500...: .serverError
            default: .invalid
            }
        return EngineError(code, operation: operation, message: message.isEmpty ? "status \(status)" : message)
    }

    /// Whether Podman's words, in lower case, say that a container can't be started as it is, however often one tries.
    private static func isHopeless(_ words: String) -> Bool {
        words.contains("oci runtime attempted to invoke") || words.contains("unable to set memory limit")
    }

    /// Whether an engine's words, in lower case, say that a registry lacks an image or does not give it to us.
    static func isRegistryRefusal(_ words: String) -> Bool {
        ["manifest unknown", "access denied", "unauthorized", "no basic auth credentials"].contains {
            words.contains($0)
        }
    }

    static func translate(_ error: any Error, _ operation: String) -> EngineError {
        switch error {
        case let error as EngineError: error
        case is CancellationError: EngineError(.cancelled, operation: operation, message: "cancelled")
        case let error as HTTPClientError where error == .cancelled:
            EngineError(.cancelled, operation: operation, message: "cancelled")
        case let error as HTTPClientError where error == .deadlineExceeded || error == .readTimeout:
            EngineError(.timeout, operation: operation, message: "no answer in time")
        case is NIOTooManyBytesError, is LineSplitter.LineTooLong:
            EngineError(.malformed, operation: operation, message: "the answer is too long")
        case is LogDecoder.Malformed:
            EngineError(.malformed, operation: operation, message: "not a log stream")
        case is DecodingError:
            EngineError(.malformed, operation: operation, message: "unexpected answer: \(error)")
        default: EngineError(.unavailable, operation: operation, message: "\(error)")
        }
    }
}

extension Duration {
    /// A little more than this duration, for a backstop that must not fire before the deadline itself.
    fileprivate var inNanosecondsLate: Int64 {
        let (seconds, attoseconds) = components
        return (seconds + 5) * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

/// AsyncHTTPClient stops the process when a client is let go without a shutdown, which is too much for a path that forgot.
private final class ClientOwner: Sendable {
    let client: HTTPClient

    init(client: HTTPClient) { self.client = client }

    // A second shutdown fails, which changes nothing.
    deinit { client.shutdown { _ in } }
}

/// RFC 3986 §2.1.
enum PercentEncoding {
    /// Encodes everything but unreserved characters.
    static func component(_ text: String) -> String {
        var encoded = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return encoded
    }
}
