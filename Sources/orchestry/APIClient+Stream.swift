import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import OrchestryModel

/// Server-sent events (HTML Living Standard, 9.2.6) out of the pieces in which they come.
struct EventStreamParser {
    struct Event {
        var type: String
        /// Empty: only the id has moved on.
        var data: String
        var id: String?
    }
    private var rest = ByteBuffer()
    private var type = ""
    private var data: [String] = []
    private var id: String?

    mutating func feed(_ chunk: ByteBuffer) -> [Event] {
        var events: [Event] = []
        rest.writeImmutableBuffer(chunk)
        while let end = rest.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            var line = rest.readString(length: end - rest.readerIndex) ?? ""
            rest.moveReaderIndex(forwardBy: 1)
            if line.hasSuffix("\r") { line.removeLast() }
            if line.isEmpty {
                if !data.isEmpty || id != nil {
                    events.append(Event(type: type, data: data.joined(separator: "\n"), id: id))
                }
                (type, data, id) = ("", [], nil)
            } else if line.hasPrefix("event: ") {
                type = String(line.dropFirst(7))
            } else if line.hasPrefix("data: ") {
                data.append(String(line.dropFirst(6)))
            } else if line.hasPrefix("id: ") {
                id = String(line.dropFirst(4))
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
    /// - Throws: `CommandFailure` when a server refuses, or none serves for the client's patience.
    func follow(
        _ path: String, app: String? = nil, query: () -> [(String, String)],
        take: (EventStreamParser.Event) throws -> Void
    ) async throws {
        let clock = ContinuousClock()
        var deadline = clock.now + patience
        while true {
            var reasons: [String] = []
            var wasServed = false
            for server in servers {
                do {
                    let refusal = try await followOnce(
                        server, path, app: app, query: query(), heard: { wasServed = true }, take: take)
                    reasons.append(refusal ?? "the connection ended")
                } catch let failure as CommandFailure {
                    throw failure
                } catch {
                    reasons.append(Self.describe(error))
                }
            }
            if wasServed { deadline = clock.now + patience }
            guard clock.now < deadline else { throw CommandFailure.unreachable(servers: servers, reasons: reasons) }
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    /// - Returns: why the server can't serve it now; nil: it did, and then the connection ended.
    private func followOnce(
        _ server: String, _ path: String, app: String?, query: [(String, String)],
        heard: () -> Void, take: (EventStreamParser.Event) throws -> Void
    ) async throws -> String? {
        var request = HTTPClientRequest(url: server + Self.target(path, query))
        request.headers.add(name: "Accept", value: "text/event-stream, application/json")
        request.headers.add(name: "User-Agent", value: "orchestry/\(Orchestry.version)")
        if let token = credentials.token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        let response = try await http.execute(request, deadline: .distantFuture)
        guard response.status == .ok else {
            let bytes = try await response.body.collect(upTo: 1 << 20)
            let problem = (try? JSONValue(json: bytes.readableBytesView)) ?? .null  // A proxy answers in its own way.
            switch response.status.code {
            case 502, 503: return problem["detail"]?.stringValue ?? "answered \(response.status.code)"
            case 404: if let app { throw CommandFailure.appNotFound(app, detail: problem["detail"]?.stringValue) }
            default: break
            }
            throw CommandFailure.refused(status: Int(response.status.code), problem: problem)
        }
        var parser = EventStreamParser()
        for try await chunk in response.body {
            heard()
            for event in parser.feed(chunk) { try take(event) }
        }
        return nil
    }
}
