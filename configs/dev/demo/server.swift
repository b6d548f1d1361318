// The demo application: an HTTP/1.1 server without dependencies, small enough for a `FROM scratch` image.
// See README.md for its routes. One thread owns all connections (poll); requests that burn CPU go to a pool of threads,
// so that a loaded instance still answers its health check; waiting requests are entries of a timer list.
import Glibc

// MARK: - Time

func monotonicNanoseconds(_ clock: clockid_t = CLOCK_MONOTONIC) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Writes a line at once: the container's log must be complete when the process is killed.
func say(_ line: String, to descriptor: Int32 = 1) {
    let bytes = Array((line + "\n").utf8)
    _ = write(descriptor, bytes, bytes.count)
}

// MARK: - HTTP

struct Request {
    var method = ""
    var path = ""
    var query: [String: String] = [:]
    var head = ""
    var body: [UInt8] = []
    var keepAlive = true

    func int(_ name: String, default value: Int) -> Int { query[name].flatMap(Int.init) ?? value }

    /// - Parameter name: in lower case.
    func header(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() where line.lowercased().hasPrefix(name + ":") {
            return String(line.dropFirst(name.count + 1).drop { $0 == " " })
        }
        return nil
    }
}

enum ParseResult {
    case incomplete
    case expectsContinue
    case request(Request, consumed: Int)
    case invalid(Int)
}

let maximumHead = 32 << 10
let maximumBody = 16 << 20

/// Reads one request from the front of `bytes`.
func parse(_ bytes: [UInt8]) -> ParseResult {
    guard let headEnd = endOfHead(bytes) else { return bytes.count > maximumHead ? .invalid(431) : .incomplete }
    let head = String(decoding: bytes[..<headEnd], as: UTF8.self)
    let lines = head.split(separator: "\r\n", omittingEmptySubsequences: true)
    let words = lines.first?.split(separator: " ") ?? []
    guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return .invalid(400) }
    var request = Request()
    request.method = String(words[0])
    request.head = head
    request.keepAlive = words[2] == "HTTP/1.1"
    var length = 0
    var expectsContinue = false
    for line in lines.dropFirst() {
        guard let colon = line.firstIndex(of: ":") else { return .invalid(400) }
        let value = line[line.index(after: colon)...].drop { $0 == " " }.lowercased()
        switch line[..<colon].lowercased() {
        case "content-length":
            guard let number = Int(value), number >= 0, number <= maximumBody else { return .invalid(413) }
            length = number
        case "transfer-encoding": return .invalid(411)
        case "connection":
            if value == "close" { request.keepAlive = false } else if value == "keep-alive" { request.keepAlive = true }
        case "expect": expectsContinue = value == "100-continue"
        default: break
        }
    }
    let bodyStart = headEnd + 4
    guard bytes.count >= bodyStart + length else {
        return expectsContinue && bytes.count == bodyStart ? .expectsContinue : .incomplete
    }
    request.body = Array(bytes[bodyStart..<bodyStart + length])
    let target = words[1].split(separator: "?", maxSplits: 1)
    request.path = target.first.map(String.init) ?? "/"
    for pair in target.dropFirst().first?.split(separator: "&") ?? [] {
        let parts = pair.split(separator: "=", maxSplits: 1)
        request.query[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    return .request(request, consumed: bodyStart + length)
}

/// The index of the blank line's `\r\n\r\n`.
func endOfHead(_ bytes: [UInt8]) -> Int? {
    guard bytes.count >= 4 else { return nil }
    return (0...bytes.count - 4).first { index in
        bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13 && bytes[index + 3] == 10
    }
}

func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 400: "Bad Request"
    case 404: "Not Found"
    case 411: "Length Required"
    case 413: "Content Too Large"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 503: "Service Unavailable"
    default: "Unknown"
    }
}

func json(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"", "\\": out += "\\\(scalar)"
        case _ where scalar.value < 0x20: out += " "
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}

// MARK: - Threads that burn CPU

/// A queue of jobs for a few threads; finished ones wake the main loop through a pipe.
final class WorkerPool {
    private struct Job {
        let connection: UInt64
        let milliseconds: Int
    }
    // Guarded by `mutex`, which lives as long as the process.
    private var jobs: [Job] = []
    private var next = 0
    private var finished: [UInt64] = []
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let wakePipe: Int32

    init(threads: Int, wakePipe: Int32) {
        self.wakePipe = wakePipe
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
        for _ in 0..<threads {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self).toOpaque()
            let status = pthread_create(
                &thread, nil,
                { context in
                    guard let context else { return nil }
                    Unmanaged<WorkerPool>.fromOpaque(context).takeRetainedValue().run()
                    return nil
                }, context)
            precondition(status == 0, "cannot create a thread: \(status)")
        }
    }

    func add(connection: UInt64, milliseconds: Int) {
        pthread_mutex_lock(mutex)
        jobs.append(Job(connection: connection, milliseconds: milliseconds))
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Connections whose job is done, since the last call.
    func takeFinished() -> [UInt64] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        defer { finished.removeAll() }
        return finished
    }

    private func run() {
        while true {
            pthread_mutex_lock(mutex)
            while next == jobs.count { pthread_cond_wait(condition, mutex) }
            let job = jobs[next]
            next += 1
            if next == jobs.count {
                jobs.removeAll(keepingCapacity: true)
                next = 0
            }
            pthread_mutex_unlock(mutex)
            burn(milliseconds: job.milliseconds)
            pthread_mutex_lock(mutex)
            finished.append(job.connection)
            pthread_mutex_unlock(mutex)
            var byte: UInt8 = 1
            _ = write(wakePipe, &byte, 1)
        }
    }

    /// By the thread's own CPU clock: a throttled container takes longer, as real work would.
    private func burn(milliseconds: Int) {
        let end = monotonicNanoseconds(CLOCK_THREAD_CPUTIME_ID) + Int64(milliseconds) * 1_000_000
        var state: UInt64 = 88_172_645_463_325_252
        while monotonicNanoseconds(CLOCK_THREAD_CPUTIME_ID) < end {
            for _ in 0..<2_000 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
            }
        }
        // Keeps the optimizer from dropping the loop.
        if state == 0 { say("unreachable") }
    }
}

// MARK: - Server

func setNonBlocking(_ descriptor: Int32) { _ = fcntl(descriptor, F_SETFL, O_NONBLOCK) }

final class Connection {
    let descriptor: Int32
    var input: [UInt8] = []
    var output: [UInt8] = []
    var sent = 0
    /// A request is being worked on; the next one of this connection waits.
    var busy = false
    var keepAlive = true
    /// It has been upgraded: what comes are frames.
    var isWebSocket = false
    var saidContinue = false
    /// Its place in the server's list of polled descriptors.
    var slot = 0
    init(descriptor: Int32) { self.descriptor = descriptor }
}

/// The write end of the pipe that a signal handler may use: handlers can't capture anything.
// Written once before the handler is installed.
nonisolated(unsafe) var signalPipe: Int32 = -1

final class Server {
    private let port: UInt16
    private var listener: Int32 = -1
    private var wakeRead: Int32 = -1
    private let workers: WorkerPool
    private var connections: [UInt64: Connection] = [:]
    private var nextID: UInt64 = 2
    /// What `poll` watches and whose it is, index by index; a connection knows its own place.
    private var polled: [pollfd] = []
    private var polledIDs: [UInt64] = []
    /// Waiting requests, latest first.
    private var timers: [(due: Int64, connection: UInt64)] = []
    private var requests = 0
    private var failing = false
    private var draining = false
    /// So many of a hundred requests (health checks aside) get a 500, evenly spread.
    private let errorPercent = getenv("ERROR_PERCENT").flatMap { Int(String(cString: $0)) } ?? 0
    private var errorsDue = 0
    private var eaten: [UnsafeMutableRawPointer] = []
    private let host: String
    private let version = getenv("VERSION").map { String(cString: $0) } ?? "dev"

    private static let listenerID: UInt64 = 0
    private static let wakeID: UInt64 = 1

    init(port: UInt16) {
        self.port = port
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0, "cannot make a pipe")
        for end in ends { setNonBlocking(end) }
        wakeRead = ends[0]
        signalPipe = ends[1]
        workers = WorkerPool(threads: 8, wakePipe: ends[1])
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, 255)
        host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func run() -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        let stop: @convention(c) (Int32) -> Void = { _ in
            var byte: UInt8 = 2
            _ = write(signalPipe, &byte, 1)
        }
        signal(SIGTERM, stop)
        signal(SIGINT, stop)
        guard listen() else { return 1 }
        _ = watch(wakeRead, id: Server.wakeID)
        _ = watch(listener, id: Server.listenerID)
        say("listening on \(port)")
        while !(draining && connections.isEmpty) {
            // Copied first: handling one descriptor may add and remove others.
            if poll(&polled, nfds_t(polled.count), millisecondsToTimer()) > 0 {
                let ready = polled.indices.filter { polled[$0].revents != 0 }.map {
                    (polledIDs[$0], polled[$0].revents)
                }
                for (id, events) in ready { handle(id: id, events: events) }
            }
            runTimers()
        }
        say("stopped")
        return 0
    }

    private func listen() -> Bool {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var on: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0, Glibc.listen(listener, 1024) == 0 else {
            say("cannot listen on \(port): \(String(cString: strerror(errno)))")
            return false
        }
        setNonBlocking(listener)
        return true
    }

    private func watch(_ descriptor: Int32, id: UInt64) -> Int {
        polled.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
        polledIDs.append(id)
        return polled.count - 1
    }

    /// Moves the last entry into the freed place. The first two places (wake pipe, listener) are never freed.
    private func unwatch(slot: Int) {
        polled.swapAt(slot, polled.count - 1)
        polledIDs.swapAt(slot, polled.count - 1)
        polled.removeLast()
        polledIDs.removeLast()
        if slot < polled.count { connections[polledIDs[slot]]?.slot = slot }
    }

    private func handle(id: UInt64, events: Int16) {
        switch id {
        case Server.listenerID: acceptAll()
        case Server.wakeID: drainWakePipe()
        default:
            guard let connection = connections[id] else { return }
            if events & Int16(POLLOUT) != 0 { flush(connection, id: id) }
            if events & ~Int16(POLLOUT) != 0, connections[id] != nil { receive(connection, id: id) }
        }
    }

    private func acceptAll() {
        guard !draining else { return }
        while case let descriptor = accept(listener, nil, nil), descriptor >= 0 {
            setNonBlocking(descriptor)
            var on: Int32 = 1
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
            let connection = Connection(descriptor: descriptor)
            connections[nextID] = connection
            connection.slot = watch(descriptor, id: nextID)
            nextID += 1
        }
    }

    private func drainWakePipe() {
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = read(wakeRead, &bytes, bytes.count)
        for id in workers.takeFinished() { finish(id, text: "worked\n") }
        if bytes.prefix(max(0, count)).contains(2), !draining { drain() }
    }

    /// Stops accepting, lets requests in flight finish, closes the rest.
    private func drain() {
        // Connections that were already complete in the backlog would be reset by the close.
        acceptAll()
        draining = true
        polled[1].fd = -1  // poll skips it.
        Glibc.close(listener)
        for (id, connection) in connections where !connection.busy {
            receive(connection, id: id)
            if connections[id] != nil, connection.isWebSocket {
                // 1001: going away.
                close(connection, id: id, payload: [0x03, 0xE9])
                continue
            }
            if connections[id] != nil, !connection.busy, connection.output.isEmpty, connection.input.isEmpty {
                remove(id)
            }
        }
    }

    private func receive(_ connection: Connection, id: UInt64) {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = read(connection.descriptor, &buffer, buffer.count)
            if count > 0 {
                connection.input.append(contentsOf: buffer.prefix(count))
                if count == buffer.count { continue }
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                return remove(id)
            }
            break
        }
        process(connection, id: id)
    }

    private func processFrames(_ connection: Connection, id: UInt64) {
        while connections[id] != nil, connection.keepAlive {
            switch WebSocket.parse(connection.input) {
            case .incomplete: return
            case .invalid: return close(connection, id: id, payload: [0x03, 0xEA])  // 1002: protocol error.
            case .frame(let frame, let consumed):
                connection.input.removeFirst(consumed)
                switch frame.opcode {
                case WebSocket.text, WebSocket.binary: send(frame, to: connection, id: id)
                case WebSocket.ping:
                    send(WebSocket.Frame(opcode: WebSocket.pong, payload: frame.payload), to: connection, id: id)
                case WebSocket.close: close(connection, id: id, payload: Array(frame.payload.prefix(2)))
                default: break
                }
            }
        }
    }

    private func send(_ frame: WebSocket.Frame, to connection: Connection, id: UInt64) {
        connection.output += WebSocket.encode(frame)
        flush(connection, id: id)
    }

    private func close(_ connection: Connection, id: UInt64, payload: [UInt8]) {
        connection.keepAlive = false
        send(WebSocket.Frame(opcode: WebSocket.close, payload: payload), to: connection, id: id)
    }

    private func process(_ connection: Connection, id: UInt64) {
        if connection.isWebSocket { return processFrames(connection, id: id) }
        while !connection.busy, !connection.input.isEmpty {
            switch parse(connection.input) {
            case .incomplete: return
            case .expectsContinue:
                if !connection.saidContinue {
                    connection.saidContinue = true
                    connection.output += Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)
                    flush(connection, id: id)
                }
                return
            case .invalid(let status):
                connection.keepAlive = false
                connection.input.removeAll()
                return respond(connection, id: id, status: status, text: "\(reason(status))\n")
            case .request(let request, let consumed):
                connection.input.removeFirst(consumed)
                connection.keepAlive = request.keepAlive
                connection.saidContinue = false
                requests += 1
                route(request, connection, id: id)
                if connections[id] == nil { return }
                if connection.isWebSocket { return processFrames(connection, id: id) }
            }
        }
    }

    private func route(_ request: Request, _ connection: Connection, id: UInt64) {
        if request.path != "/health", errorPercent > 0 {
            errorsDue += errorPercent
            if errorsDue >= 100 {
                errorsDue -= 100
                return respond(connection, id: id, status: 500, text: "this is one of ERROR_PERCENT\n")
            }
        }
        switch request.path {
        case "/":
            respond(connection, id: id, status: 200, type: "application/json", text: description + "\n")
        case "/health":
            respond(connection, id: id, status: failing ? 503 : 200, text: failing ? "failing\n" : "ok\n")
        case "/fail", "/recover":
            failing = request.path == "/fail"
            respond(connection, id: id, status: 200, text: failing ? "now failing\n" : "now healthy\n")
        case "/work":
            connection.busy = true
            workers.add(connection: id, milliseconds: min(request.int("ms", default: 10), 60_000))
        case "/slow":
            connection.busy = true
            let wait = Int64(min(max(0, request.int("ms", default: 100)), 3_600_000))
            addTimer(due: monotonicNanoseconds() + wait * 1_000_000, connection: id)
        case "/echo":
            let body = request.body.isEmpty ? Array((request.head + "\r\n").utf8) : request.body
            respond(connection, id: id, status: 200, bytes: body)
        case "/websocket":
            guard let key = request.header("sec-websocket-key"), !draining else {
                return respond(connection, id: id, status: 400, text: "not a WebSocket request\n")
            }
            connection.isWebSocket = true
            connection.keepAlive = true
            connection.output += Array(
                ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: \(WebSocket.accept(key))\r\n\r\n").utf8)
            flush(connection, id: id)
        case "/env":
            guard let value = request.query["name"].flatMap({ getenv($0) }) else {
                return respond(connection, id: id, status: 404, text: "not set\n")
            }
            respond(connection, id: id, status: 200, text: String(cString: value) + "\n")
        case "/log":
            let text = request.query["text"] ?? "hello"
            say(text, to: request.query["stream"] == "stderr" ? 2 : 1)
            respond(connection, id: id, status: 200, text: "logged\n")
        case "/eat":
            eat(megabytes: request.int("mb", default: 16))
            respond(connection, id: id, status: 200, text: "eaten\n")
        case "/crash":
            say("crashing")
            exit(Int32(truncatingIfNeeded: request.int("code", default: 1)))
        default:
            respond(connection, id: id, status: 404, text: "no such route\n")
        }
    }

    private var description: String {
        let instance = getenv("ORCHESTRY_INSTANCE").map { String(cString: $0) } ?? host
        return "{\"host\":\(json(host)),\"instance\":\(json(instance)),\"version\":\(json(version)),"
            + "\"requests\":\(requests),\"uid\":\(getuid())}"
    }

    /// Holds memory that is really in use: untouched pages would not count.
    private func eat(megabytes: Int) {
        for _ in 0..<max(0, megabytes) {
            guard let block = malloc(1 << 20) else { return }
            memset(block, 0x5A, 1 << 20)
            eaten.append(block)
        }
    }

    private func finish(_ id: UInt64, text: String) {
        guard let connection = connections[id] else { return }
        connection.busy = false
        respond(connection, id: id, status: 200, text: text)
        if connections[id] != nil { process(connection, id: id) }
    }

    private func respond(
        _ connection: Connection, id: UInt64, status: Int, type: String = "text/plain", text: String
    ) {
        respond(connection, id: id, status: status, type: type, bytes: Array(text.utf8))
    }

    private func respond(
        _ connection: Connection, id: UInt64, status: Int, type: String = "text/plain", bytes: [UInt8]
    ) {
        if draining { connection.keepAlive = false }
        let head =
            "HTTP/1.1 \(status) \(reason(status))\r\nContent-Type: \(type)\r\nContent-Length: \(bytes.count)\r\n"
            + "Connection: \(connection.keepAlive ? "keep-alive" : "close")\r\n\r\n"
        connection.output += Array(head.utf8) + bytes
        flush(connection, id: id)
    }

    private func flush(_ connection: Connection, id: UInt64) {
        while connection.sent < connection.output.count {
            let count = connection.output.withUnsafeBytes { bytes in
                // Not empty: something of it is still to be sent.
                write(connection.descriptor, bytes.baseAddress! + connection.sent, bytes.count - connection.sent)
            }
            if count < 0 {
                guard errno == EAGAIN else { return remove(id) }
                polled[connection.slot].events = Int16(POLLIN | POLLOUT)
                return
            }
            connection.sent += count
        }
        connection.output.removeAll(keepingCapacity: true)
        connection.sent = 0
        polled[connection.slot].events = Int16(POLLIN)
        if !connection.busy, !connection.keepAlive { remove(id) }
    }

    private func remove(_ id: UInt64) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        unwatch(slot: connection.slot)
        Glibc.close(connection.descriptor)
    }

    private func addTimer(due: Int64, connection: UInt64) {
        var low = 0
        var high = timers.count
        while low < high {
            let middle = (low + high) / 2
            if timers[middle].due > due { low = middle + 1 } else { high = middle }
        }
        timers.insert((due, connection), at: low)
    }

    private func millisecondsToTimer() -> Int32 {
        guard let last = timers.last else { return -1 }
        return Int32(clamping: max(0, (last.due - monotonicNanoseconds() + 999_999) / 1_000_000))
    }

    private func runTimers() {
        guard !timers.isEmpty else { return }
        let now = monotonicNanoseconds()
        while let last = timers.last, last.due <= now {
            timers.removeLast()
            finish(last.connection, text: "waited\n")
        }
    }
}

@main
enum Main {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        if arguments.first == "exit" {
            print(arguments.dropFirst(2).joined(separator: " "))
            exit(arguments.dropFirst().first.flatMap { Int32($0) } ?? 0)
        }
        let port = getenv("PORT").flatMap { UInt16(String(cString: $0)) } ?? 9010
        exit(Server(port: port).run())
    }
}
