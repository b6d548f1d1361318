import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import OrchestryModel

/// Server-sent events (HTML Living Standard, 9.2.6) out of the pieces in which they come.
struct EventStreamParser {
    struct Event {
        var type: String
        var data: String
    }
    private var rest = ByteBuffer()
    private var type = ""
    private var data: [String] = []

    mutating func feed(_ chunk: ByteBuffer) -> [Event] {
        var events: [Event] = []
        rest.writeImmutableBuffer(chunk)
        while let end = rest.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            var line = rest.readString(length: end - rest.readerIndex) ?? ""
            rest.moveReaderIndex(forwardBy: 1)
            if line.hasSuffix("\r") { line.removeLast() }
            if line.isEmpty {
                if !data.isEmpty { events.append(Event(type: type, data: data.joined(separator: "\n"))) }
                (type, data) = ("", [])
            } else if line.hasPrefix("event: ") {
                type = String(line.dropFirst(7))
            } else if line.hasPrefix("data: ") {
                data.append(String(line.dropFirst(6)))
            }
        }
        rest.discardReadBytes()
        return events
    }
}

extension APIClient {
    /// Follows a stream until interrupted; when a connection ends, goes on at the next server.
    /// - Parameters:
    ///   - query: for each connection anew, so that it can say where to go on.
    ///   - take: what comes.
    /// - Throws: `CommandFailure` when a server refuses, or none can be reached for the client's patience.
    func follow(
        _ path: String, app: String, query: () -> [(String, String)], take: (EventStreamParser.Event) throws -> Void
    ) async throws {
        let clock = ContinuousClock()
        var deadline = clock.now + patience
        while true {
            var reasons: [String] = []
            for server in servers {
                do {
                    try await followOnce(server, path, app: app, query: query()) { event in
                        deadline = clock.now + patience
                        try take(event)
                    }
                } catch let failure as CommandFailure {
                    throw failure
                } catch {
                    reasons.append(Self.describe(error))
                }
            }
            guard clock.now < deadline else { throw CommandFailure.unreachable(servers: servers, reasons: reasons) }
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    private func followOnce(
        _ server: String, _ path: String, app: String, query: [(String, String)],
        take: (EventStreamParser.Event) throws -> Void
    ) async throws {
        var request = HTTPClientRequest(url: server + Self.target(path, query))
        request.headers.add(name: "Accept", value: "text/event-stream, application/json")
        request.headers.add(name: "User-Agent", value: "orchestry/\(Orchestry.version)")
        if let token = credentials.token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        let response = try await http.execute(request, deadline: .distantFuture)
        guard response.status == .ok else {
            let bytes = try await response.body.collect(upTo: 1 << 20)
            let problem = (try? JSONValue(json: bytes.readableBytesView)) ?? .null  // A proxy answers in its own way.
            switch response.status.code {
            case 404: throw CommandFailure.appNotFound(app, detail: problem["detail"]?.stringValue)
            case 502, 503: return
            default: throw CommandFailure.refused(status: Int(response.status.code), problem: problem)
            }
        }
        var parser = EventStreamParser()
        for try await chunk in response.body {
            for event in parser.feed(chunk) { try take(event) }
        }
    }
}
