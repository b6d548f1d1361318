import Crypto
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import OrchestryModel

import struct Foundation.Data

/// `GET /apps/{name}/exec`: a command in an instance, over a WebSocket (RFC 6455). Everything that can be refused is refused
/// before, as with any other request.
extension RestFacade {
    func exec(_ request: Request, _ context: FacadeContext) async throws -> Response {
        let app = try app(context)
        let caller = context.caller ?? Caller(name: "unknown", grant: AccessGrant(role: .viewer))
        // Which instance and which command does not matter for that.
        let any = OrchestryModel.Operation.exec(app, InstanceID(unchecked: "any"), ExecCommand(words: []))
        if let problem = caller.objection(to: any) { throw problem }
        let accept = try webSocketAccept(request)
        let (command, instance) = try execCommand(request)
        guard streams.take() else { throw Problem.tooManyStreams(configuration.maxStreams) }
        let slot = Slot(streams)
        let session: any ExecSession
        do throws(Problem) {
            session = try await controlPlane.exec(command, in: instance, of: app, caller: caller)
        } catch {
            slot.giveBack()
            throw error
        }
        let lease = Lease(session)
        let objection = objection(request, context)
        let heartbeat = configuration.streamHeartbeat
        return Response(
            status: .switchingProtocols,
            headers: [
                .upgrade: "websocket", .connection: "Upgrade", .secWebSocketAccept: accept,
                .secWebSocketProtocol: ExecMessage.subprotocol,
            ],
            body: ResponseBody { sink in
                defer { slot.giveBack() }
                try await withThrowingTaskGroup(of: Void.self) { watch in
                    watch.addTask {
                        // A token that is revoked or expires ends its commands too.
                        while !Task.isCancelled {
                            try await Task.sleep(for: heartbeat)
                            if let problem = await objection() { session.end(problem.detail) }
                        }
                    }
                    defer { watch.cancelAll() }
                    try await Self.converse(session, lease, request.body, &sink)
                }
            })
    }

    /// Ends a session also when the response is never written.
    private final class Lease: Sendable {
        private let session: any ExecSession
        init(_ session: any ExecSession) { self.session = session }
        func end() { session.end("the client has gone") }
        deinit { end() }
    }

    /// Both ways, until the connection is closed: what the client still sends when its command has ended is read and
    /// dropped, since unread it would have the connection reset, and the status lost with it.
    private static func converse(
        _ session: any ExecSession, _ lease: Lease, _ messages: RequestBody, _ sink: inout any ResponseBodyWriter
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await pump(messages, into: session) }
            do {
                try await pump(session, into: &sink)
                // The task that sends may wait for room, which this ends.
                lease.end()
                try await sink.finish(nil)
            } catch {
                lease.end()
                group.cancelAll()
                throw error
            }
        }
    }

    /// From the client, until it goes.
    private static func pump(_ messages: RequestBody, into session: any ExecSession) async {
        var isOver = false
        do {
            for try await bytes in messages {
                if !isOver { isOver = try await !take(ExecMessage(bytes), for: session) }
            }
            session.end("the client has gone")
        } catch let error as ExecMessage.Malformed {
            session.end("the client sent what it may not: \(error)")
        } catch {
            session.end("the connection with the client broke off")
        }
    }

    /// - Returns: false when the session is over.
    private static func take(_ message: ExecMessage, for session: any ExecSession) async throws -> Bool {
        switch message {
        case .input(let bytes): return await session.send(.bytes(bytes))
        case .control(let control) where control["endOfInput"] == true: return await session.send(.end)
        case .control(let control):
            let size = control["resize"] ?? .null
            guard let columns = size["columns"]?.intValue, let rows = size["rows"]?.intValue else {
                throw ExecMessage.Malformed(description: "control messages are resize and endOfInput")
            }
            let wanted = ExecCommand.Size(columns: columns, rows: rows)
            guard wanted.isValid else { throw ExecMessage.Malformed(description: "a size is 1 to 65535") }
            return await session.send(.resize(wanted))
        case .output, .errors: throw ExecMessage.Malformed(description: "channels 1 and 2 are the command's")
        }
    }

    /// To the client, to the end.
    private static func pump(_ session: any ExecSession, into sink: inout any ResponseBodyWriter) async throws {
        while true {
            switch await session.next() {
            case .output(let bytes): try await sink.write(ExecMessage.output(bytes).bytes)
            case .errors(let bytes): try await sink.write(ExecMessage.errors(bytes).bytes)
            case .exited(let status):
                return try await sink.write(ExecMessage.control(["exit": JSONValue(status)]).bytes)
            case .failed(let reason):
                return try await sink.write(ExecMessage.control(["error": .string(reason)]).bytes)
            }
        }
    }

    /// All violations at once.
    private func execCommand(_ request: Request) throws -> (ExecCommand, InstanceID?) {
        var violations: [Violation] = []
        let query = request.uri.queryParameters
        func flag(_ key: String) -> Bool {
            do {
                return try self.flag(request, key)
            } catch {
                violations += (error as? ValidationError)?.violations ?? []
                return false
            }
        }
        func number(_ key: String, default fallback: Int) -> Int {
            guard let text = query[Substring(key)] else { return fallback }
            // What is no number is no size either.
            return Int(text) ?? 0
        }
        var command = ExecCommand(
            words: query.filter { $0.key == "command" }.map { String($0.value) }, hasInput: flag("stdin"))
        if flag("tty") {
            command.terminal = .init(columns: number("columns", default: 80), rows: number("rows", default: 24))
        }
        violations += command.violations
        var instance: InstanceID?
        if let text = query["instance"].map(String.init) {
            instance = InstanceID(rawValue: text)
            if instance == nil {
                violations.append(Violation("instance", "must be an instance's id, got \"\(text.prefix(64))\""))
            }
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
        return (command, instance)
    }

    /// RFC 6455 §4.2.2.
    private func webSocketAccept(_ request: Request) throws -> String {
        func required(_ detail: String) -> Problem {
            Problem(status: 426, code: "upgrade-required", title: "Upgrade Required", detail: detail)
        }
        let headers = request.headers
        guard request.method == .get, headers[.upgrade]?.lowercased() == "websocket",
            let key = headers[.secWebSocketKey],
            headers[.secWebSocketVersion] == "13"
        else {
            throw required(
                "Commands are run over a WebSocket (version 13), and this is a plain request. `orchestry exec` does it."
            )
        }
        let offered = headers[values: .secWebSocketProtocol].joined(separator: ",").split(separator: ",")
            .map { word in String(word.filter { $0 != " " }) }
        guard offered.contains(ExecMessage.subprotocol) else {
            throw required("The client must offer Sec-WebSocket-Protocol: \(ExecMessage.subprotocol).")
        }
        let digest = Insecure.SHA1.hash(data: Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
        return Data(digest).base64EncodedString()
    }
}

extension Problem {
    static func tooManyStreams(_ limit: Int) -> Problem {
        Problem(
            status: 503, code: "too-many-streams", title: "This node serves as many streams as it may",
            detail: "\(limit) clients follow this node already. Ask another node.", retryAfterSeconds: 5)
    }
}
