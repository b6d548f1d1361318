import AccessControl
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import OrchestryModel
import Synchronization

extension HTTPField.Name {
    static let lastEventID = HTTPField.Name("Last-Event-ID")!  // A literal that is a header's name.
    static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!  // As above.
}

/// How many streams a node serves at once: each costs a connection and a page of events.
final class StreamSlots: Sendable {
    private let free: Atomic<Int>
    init(_ count: Int) { free = Atomic(count) }

    /// - Returns: false when all are taken; else one is, until it is given back.
    func take() -> Bool {
        guard free.subtract(1, ordering: .relaxed).newValue >= 0 else {
            giveBack()
            return false
        }
        return true
    }
    func giveBack() { free.add(1, ordering: .relaxed) }
}

/// `GET /events/stream`: server-sent events (HTML Living Standard, 9.2).
///
/// Nothing is queued for a client: it has a cursor, and is asked for more only when it has taken what it was given. A slow
/// one costs a page of events and what the socket holds; one that takes nothing for `streamStall` is cut off, and resumes
/// where it was by `Last-Event-ID`, here or on any other node.
extension RestFacade {
    /// Events at a time, and bytes before they are written.
    private static let pageEvents = 200
    static let writeBytes = 32 << 10

    func eventStream(_ request: Request, _ context: FacadeContext) async throws -> Response {
        let (wanted, given, wantsOverview) = try streamOptions(request)
        var limited = wanted
        limited.visible = context.caller?.grant?.apps.map { Set($0) }
        for app in wanted.apps.sorted() {
            if let problem = context.caller?.objection(to: .events(app: app, limit: 1)) { throw problem }
        }
        let filter = limited
        let newest = try await controlPlane.newestEventID()
        // Ids above the newest come from a history that this database does not have.
        let isForeign = (given ?? 0) > newest
        let start = StreamCursor(events: isForeign ? newest : given ?? newest, overview: wantsOverview ? 0 : nil)
        return try stream(request, context) { writer in
            var head = "retry: 1000\nid: \(start.events)\n"
            if isForeign {
                head += "event: reset\ndata: {\"last_event_id\":\(given ?? 0),\"newest\":\(newest)}\n"
            }
            try await writer.write(head + "\n")
            try await pump(start, filter, to: &writer)
        }
    }

    private func pump(_ start: StreamCursor, _ filter: EventFilter, to writer: inout StreamWriter) async throws {
        var cursor = start
        var told = start.events
        while !Task.isCancelled {
            let page: StreamPage?
            do throws(Problem) {
                page = try await controlPlane.nextStreamPage(
                    after: cursor, filter, limit: Self.pageEvents, atMost: writer.untilHeartbeat)
            } catch {
                try await writer.write(": \(error.detail.replacing("\n", with: " "))\n\n")
                try await Task.sleep(for: .seconds(1))
                continue
            }
            guard let page else { return try await writer.write(": this node stops; go on at another one\n\n") }
            var text = ""
            if let overview = page.overview { text += "event: state\ndata: \(overview.jsonText())\n\n" }
            for numbered in page.events {
                text += "id: \(numbered.id)\nevent: event\ndata: "
                text += Presentation.event(id: numbered.id, numbered.event).jsonText() + "\n\n"
                told = numbered.id
                if text.utf8.count >= Self.writeBytes {
                    try await writer.write(text)
                    text = ""
                }
            }
            cursor = page.cursor
            if text.isEmpty, writer.untilHeartbeat <= .zero {
                // Beyond what the filter kept away, so that a client that comes back needn't have it looked at again.
                text = told == cursor.events ? ": heartbeat\n\n" : ": heartbeat\nid: \(cursor.events)\n\n"
                told = cursor.events
            }
            if !text.isEmpty { try await writer.write(text) }
        }
    }

    /// A response that is written as it comes until `body` returns, the client goes, or it does not read.
    func stream(
        _ request: Request, _ context: FacadeContext, contentType: String = "text/event-stream",
        _ body: @escaping @Sendable (inout StreamWriter) async throws -> Void
    ) throws -> Response {
        guard request.method == .get else { return Response(status: .ok, headers: [.contentType: contentType]) }
        guard streams.take() else {
            throw Problem.tooManyStreams(configuration.maxStreams)
        }
        let slot = Slot(streams)
        let objection = objection(request, context)
        let (stall, logger, channel) = (configuration.streamStall, logger, context.channel)
        return Response(
            status: .ok,
            headers: [
                .contentType: contentType, .cacheControl: "no-store",
                // nginx hands on what comes at once.
                .accelBuffering: "no",
            ],
            body: ResponseBody { sink in
                defer { slot.giveBack() }
                var writer = StreamWriter(
                    sink: sink, channel: channel, stall: stall, heartbeat: configuration.streamHeartbeat,
                    objection: objection, logger: logger)
                do {
                    try await request.body.consumeWithCancellationOnInboundClose { _ in try await body(&writer) }
                } catch is CancellationError {
                    // The client has gone.
                }
                try await sink.finish(nil)
            })
    }

    /// Asks anew who it is: a token that is revoked or expires ends its streams too.
    func objection(_ request: Request, _ context: FacadeContext) -> @Sendable () async -> Problem? {
        let (identification, authorization) = (identification, request.headers[.authorization])
        let address = context.address(request, proxies: configuration.proxies)
        return {
            switch await identification.identify(authorization: authorization, address: address) {
            case .known: nil
            case .unknown(let problem): problem
            }
        }
    }

    private func streamOptions(_ request: Request) throws -> (EventFilter, Int64?, Bool) {
        var violations: [Violation] = []
        var filter = EventFilter()
        let query = request.uri.queryParameters
        func words(_ key: String) -> [Substring] {
            query.filter { $0.key == key }.flatMap { $0.value.split(separator: ",") }
        }
        for text in words("app") {
            guard let name = AppName(rawValue: String(text)) else {
                violations.append(Violation("app", "must be an app's name (a DNS label), got \"\(text.prefix(64))\""))
                continue
            }
            filter.apps.insert(name)
        }
        for text in words("type") {
            // A newer release has kinds that this one does not know.
            guard text.utf8.count <= 50, text.utf8.allSatisfy({ $0 == 0x5F || (0x61...0x7A).contains($0) }) else {
                violations.append(
                    Violation("type", "must be a type of event such as scaled, got \"\(text.prefix(64))\""))
                continue
            }
            filter.kinds.insert(String(text))
        }
        var start: Int64?
        let given = request.headers[.lastEventID] ?? query["last_event_id"].map(String.init)
        if let given, !given.isEmpty {
            start = Int64(given)
            if start == nil || start.map({ $0 < 0 }) == true {
                violations.append(
                    Violation("Last-Event-ID", "must be an event's id, or 0 for all, got \"\(given.prefix(64))\""))
            }
        }
        let state = query["state"].map(String.init) ?? "false"
        if !["true", "false"].contains(state) {
            violations.append(Violation("state", "must be true or false, got \"\(state.prefix(64))\""))
        }
        guard violations.isEmpty else { throw ValidationError(violations) }
        return (filter, start, state == "true")
    }
}

/// Gives its slot back once, also when the response is never written.
final class Slot: Sendable {
    private let slots: StreamSlots
    private let isGiven = Atomic(false)
    init(_ slots: StreamSlots) { self.slots = slots }
    func giveBack() { if !isGiven.exchange(true, ordering: .relaxed) { slots.giveBack() } }
    deinit { giveBack() }
}

/// Writes to a client, cuts it off when it does not read, and knows when to let it hear something.
struct StreamWriter {
    private var sink: any ResponseBodyWriter
    private let channel: any Channel
    private let stall: Duration
    private let heartbeat: Duration
    /// Why the client may not have any more; nil: it may.
    private let objection: @Sendable () async -> Problem?
    private let logger: Logger
    private var lastCheck = ContinuousClock.now
    private var lastWrite = ContinuousClock.now

    init(
        sink: any ResponseBodyWriter, channel: any Channel, stall: Duration, heartbeat: Duration,
        objection: @escaping @Sendable () async -> Problem?, logger: Logger
    ) {
        self.sink = sink
        self.channel = channel
        self.stall = stall
        self.heartbeat = heartbeat
        self.objection = objection
        self.logger = logger
    }

    /// Zero or less: now.
    var untilHeartbeat: Duration { heartbeat - (ContinuousClock.now - lastWrite) }

    /// Returns when the client has room for more.
    /// - Throws: `Problem` when the client may not have any more, which it is told.
    mutating func write(_ text: String) async throws {
        var text = text
        var ending: Problem?
        if ContinuousClock.now - lastCheck > .seconds(5) {
            lastCheck = .now
            ending = await objection()
            if let ending { text = ": \(ending.detail)\n\n" }
        }
        try await send(text)
        if let ending { throw ending }
    }

    private mutating func send(_ text: String) async throws {
        let (channel, logger, stall) = (channel, logger, stall)
        let cut = channel.eventLoop.scheduleTask(in: TimeAmount(stall)) {
            logger.info(
                "A stream's client does not read and was cut off; it can resume",
                metadata: ["client": "\(channel.remoteAddress?.description ?? "-")", "after": "\(stall)"])
            channel.close(promise: nil)
        }
        defer { cut.cancel() }
        try await sink.write(ByteBuffer(string: text))
        lastWrite = .now
    }
}
