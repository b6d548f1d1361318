// An open-loop HTTP/1.1 load generator in one file without dependencies. See README.md.
// Requests have a fixed timetable; a latency is counted from the time a request was *meant* to be sent, so that a server
// that stalls can't hide it by slowing the generator down. One thread, keep-alive connections, nothing is ever retried.
import Glibc

func monotonicNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

func say(_ line: String, to descriptor: Int32 = 1) {
    let bytes = Array((line + "\n").utf8)
    _ = write(descriptor, bytes, bytes.count)
}

// MARK: - Options

struct Options {
    var address = sockaddr_in()
    var hostHeader = ""
    var path = "/"
    /// Rates (requests a second) and how long each lasts (seconds).
    var profile: [(rate: Double, seconds: Double)] = []
    var connections = 32
    var timeout: Int64 = 10_000_000_000
    var method = "GET"
    var json = false
    var progress = false

    static let usage = """
        usage: demo-load --url http://ADDRESS:PORT/PATH [--host NAME] [--rate N --seconds N | --profile "20x10,500x30"]
                         [--connections 32] [--timeout SECONDS] [--method GET] [--progress] [--json]
        """

    init(_ arguments: [String]) {
        var rate = 100.0
        var seconds = 10.0
        var rest = arguments[...]
        func value(_ name: String) -> String {
            guard let text = rest.popFirst() else { Options.stop("\(name) needs a value") }
            return text
        }
        func number(_ name: String) -> Double {
            let text = value(name)
            guard let number = Double(text), number > 0 else { Options.stop("\(name): not a positive number: \(text)") }
            return number
        }
        var url = ""
        while let name = rest.popFirst() {
            switch name {
            case "--url": url = value(name)
            case "--host": hostHeader = value(name)
            case "--rate": rate = number(name)
            case "--seconds": seconds = number(name)
            case "--connections": connections = max(1, Int(number(name)))
            case "--timeout": timeout = Int64(number(name) * 1e9)
            case "--method": method = value(name)
            case "--json": json = true
            case "--progress": progress = true
            case "--profile":
                profile = value(name).split(separator: ",").map { part in
                    let pair = part.split(separator: "x").compactMap { Double($0) }
                    guard pair.count == 2, pair[0] >= 0, pair[1] > 0 else {
                        Options.stop("--profile: bad part \(part)")
                    }
                    return (pair[0], pair[1])
                }
            default: Options.stop("unknown option \(name)")
            }
        }
        if profile.isEmpty { profile = [(rate, seconds)] }
        take(url: url)
    }

    private mutating func take(url: String) {
        guard url.hasPrefix("http://") else { Options.stop("--url must begin with http://") }
        let rest = url.dropFirst(7)
        let authority = rest.prefix { $0 != "/" }
        path = rest.count > authority.count ? String(rest.dropFirst(authority.count)) : "/"
        let parts = authority.split(separator: ":")
        let name = parts.first == "localhost" ? "127.0.0.1" : parts.first.map(String.init) ?? ""
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = (parts.count > 1 ? UInt16(parts[1]) ?? 0 : 80).bigEndian
        guard inet_pton(AF_INET, name, &address.sin_addr) == 1, address.sin_port != 0 else {
            Options.stop("--url: need an IPv4 address and a port, got \(authority)")
        }
        if hostHeader.isEmpty { hostHeader = String(authority) }
    }

    static func stop(_ message: String) -> Never {
        say("demo-load: \(message)\n\(usage)", to: 2)
        exit(2)
    }
}

// MARK: - Timetable

/// When each request is meant to be sent, in nanoseconds after the start.
struct Timetable {
    private let profile: [(rate: Double, seconds: Double)]
    private var part = 0
    private var sentInPart = 0
    private var partStart = 0.0

    init(_ profile: [(rate: Double, seconds: Double)]) { self.profile = profile }

    var totalSeconds: Double { profile.reduce(0) { $0 + $1.seconds } }

    /// nil: there are no more.
    mutating func next() -> Int64? {
        while part < profile.count {
            let (rate, seconds) = profile[part]
            let offset = Double(sentInPart) / max(rate, 1e-9)
            if rate > 0, offset < seconds {
                sentInPart += 1
                return Int64((partStart + offset) * 1e9)
            }
            partStart += seconds
            part += 1
            sentInPart = 0
        }
        return nil
    }
}

// MARK: - Statistics

enum FailureKind: String, CaseIterable {
    /// No connection could be made.
    case connect
    /// The connection ended before the whole response had come.
    case closed
    /// No whole response in time.
    case timeout
    /// Not an HTTP response.
    case malformed
    /// Never sent: no connection came free in time.
    case backlog
}

struct Statistics {
    var sent = 0
    var ok = 0
    var failed: [FailureKind: Int] = [:]
    var statuses: [Int: Int] = [:]
    var microseconds: [UInt32] = []

    var failures: Int { failed.values.reduce(0, +) }
    var non2xx: Int { statuses.values.reduce(0, +) }

    mutating func finish(status: Int, latency: Int64) {
        if (200..<300).contains(status) { ok += 1 } else { statuses[status, default: 0] += 1 }
        microseconds.append(UInt32(clamping: latency / 1_000))
    }

    /// Milliseconds; nearest rank. Expects sorted latencies.
    func percentile(_ percent: Double) -> Double {
        guard !microseconds.isEmpty else { return 0 }
        let rank = Int((Double(microseconds.count) * percent / 100).rounded(.up))
        return Double(microseconds[min(max(rank, 1), microseconds.count) - 1]) / 1_000
    }

    func sorted() -> Statistics {
        var copy = self
        copy.microseconds.sort()
        return copy
    }

    var members: String {
        let kinds = FailureKind.allCases.map { "\"\($0.rawValue)\":\(failed[$0] ?? 0)" }.joined(separator: ",")
        let codes = statuses.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",")
        return "\"sent\":\(sent),\"ok\":\(ok),\"failed\":\(failures),\"failures\":{\(kinds)},\"non2xx\":\(non2xx),"
            + "\"statuses\":{\(codes)},\"milliseconds\":{\"p50\":\(percentile(50)),\"p95\":\(percentile(95)),"
            + "\"p99\":\(percentile(99)),\"max\":\(percentile(100))}"
    }

    var line: String {
        let kinds = FailureKind.allCases.compactMap { kind in failed[kind].map { " \(kind.rawValue)=\($0)" } }.joined()
        let codes = statuses.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        return "sent \(sent)  ok \(ok)  failed \(failures)\(kinds)  non-2xx \(non2xx)\(codes)  "
            + "p50 \(percentile(50))  p95 \(percentile(95))  p99 \(percentile(99))  max \(percentile(100)) ms"
    }
}

// MARK: - Response

/// Follows one response byte by byte, as far as it must be understood to find its end.
struct ResponseReader {
    enum Progress: Equatable {
        case more
        case done(status: Int, keepAlive: Bool)
        case malformed
    }
    private enum Stage { case head, fixed(Int), untilClose, chunkSize, chunkData(Int), chunkEnd, trailer }
    private var stage = Stage.head
    private var line: [UInt8] = []
    private var headLines = 0
    private var status = 0
    private var length: Int?
    private var chunked = false
    private var keepAlive = true

    /// - Returns: at the first byte after a whole response, `malformed`: nobody asked for it.
    mutating func read(_ bytes: UnsafeBufferPointer<UInt8>) -> Progress {
        var index = 0
        while index < bytes.count {
            switch stage {
            case .fixed(let left):
                let taken = min(left, bytes.count - index)
                index += taken
                if taken == left { return end(at: index, of: bytes.count) }
                stage = .fixed(left - taken)
            case .chunkData(let left):
                let taken = min(left, bytes.count - index)
                index += taken
                stage = taken == left ? .chunkEnd : .chunkData(left - taken)
            case .untilClose: return .more
            case .head, .chunkSize, .chunkEnd, .trailer:
                let byte = bytes[index]
                index += 1
                guard byte == 10 else {
                    if byte != 13 { line.append(byte) }
                    if line.count > 16 << 10 { return .malformed }
                    continue
                }
                let text = String(decoding: line, as: UTF8.self)
                line.removeAll(keepingCapacity: true)
                switch take(line: text) {
                case .more: continue
                case .done: return end(at: index, of: bytes.count)
                case .malformed: return .malformed
                }
            }
        }
        return .more
    }

    /// The connection ended: whole, when the body was to end with it.
    func closed() -> Progress {
        if case .untilClose = stage { return .done(status: status, keepAlive: false) }
        return .malformed
    }

    private func end(at index: Int, of count: Int) -> Progress {
        index == count ? .done(status: status, keepAlive: keepAlive) : .malformed
    }

    private mutating func take(line text: String) -> Progress {
        switch stage {
        case .head: return text.isEmpty && headLines > 0 ? endHead() : takeHead(text)
        case .chunkSize:
            guard let size = Int(text.prefix { $0.isHexDigit }, radix: 16) else { return .malformed }
            stage = size == 0 ? .trailer : .chunkData(size)
        case .chunkEnd: stage = .chunkSize
        case .trailer: if text.isEmpty { return .done(status: status, keepAlive: keepAlive) }
        case .fixed, .chunkData, .untilClose: break
        }
        return .more
    }

    private mutating func takeHead(_ text: String) -> Progress {
        headLines += 1
        if headLines == 1 {
            let words = text.split(separator: " ", maxSplits: 2)
            guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let code = Int(words[1]) else { return .malformed }
            status = code
            keepAlive = words[0] == "HTTP/1.1"
            return .more
        }
        guard let colon = text.firstIndex(of: ":") else { return .malformed }
        let value = text[text.index(after: colon)...].drop { $0 == " " }.lowercased()
        switch text[..<colon].lowercased() {
        case "content-length": length = Int(value)
        case "transfer-encoding": chunked = value.hasSuffix("chunked")
        case "connection": if value == "close" { keepAlive = false } else if value == "keep-alive" { keepAlive = true }
        default: break
        }
        return .more
    }

    private mutating func endHead() -> Progress {
        if (100..<200).contains(status) {
            self = ResponseReader()
            return .more
        }
        if status == 204 || status == 304 || (!chunked && length == 0) {
            return .done(status: status, keepAlive: keepAlive)
        }
        if chunked { stage = .chunkSize } else if let length { stage = .fixed(length) } else { stage = .untilClose }
        return .more
    }
}

// MARK: - Generator

final class Generator {
    private struct Slot {
        enum State { case closed, connecting, idle, waiting }
        var state = State.closed
        var everOpened = false
        /// The request this connection carries: when it was meant to go and when it must have been answered.
        var intended: Int64 = 0
        var deadline: Int64 = 0
        var reader = ResponseReader()
    }

    private let options: Options
    private let request: [UInt8]
    private var slots: [Slot]
    private var polled: [pollfd]
    /// Open connections without a request, the one that rested longest first.
    private var idle: [Int] = []
    private var closed: [Int]
    private var waiting: [Int64] = []
    private var firstWaiting = 0
    private var inFlight = 0
    private var reconnects = 0
    private var total = Statistics()
    private var second = Statistics()
    private var series: [String] = []
    private var start: Int64 = 0

    init(_ options: Options) {
        self.options = options
        slots = Array(repeating: Slot(), count: options.connections)
        polled = Array(repeating: pollfd(fd: -1, events: 0, revents: 0), count: options.connections)
        closed = Array((0..<options.connections).reversed())
        let length = options.method == "GET" ? "" : "Content-Length: 0\r\n"
        request = Array(
            ("\(options.method) \(options.path) HTTP/1.1\r\nHost: \(options.hostHeader)\r\n\(length)"
                + "User-Agent: demo-load\r\nAccept: */*\r\n\r\n").utf8)
    }

    func run() {
        var timetable = Timetable(options.profile)
        start = monotonicNanoseconds()
        var nextIntended = timetable.next().map { start + $0 }
        var nextTick = start + 1_000_000_000
        let end = start + Int64(timetable.totalSeconds * 1e9)
        while nextIntended != nil || inFlight > 0 || firstWaiting < waiting.count || monotonicNanoseconds() < end {
            var now = monotonicNanoseconds()
            while let intended = nextIntended, intended <= now {
                waiting.append(intended)
                nextIntended = timetable.next().map { start + $0 }
            }
            dispatch(now)
            let wake = min(nextIntended ?? .max, nextTick, nextDeadline())
            if wait(until: wake) {
                for index in polled.indices where polled[index].revents != 0 { handle(index) }
            }
            now = monotonicNanoseconds()
            expire(now)
            while now >= nextTick {
                tick(at: nextTick)
                nextTick += 1_000_000_000
            }
        }
        report(elapsed: Double(monotonicNanoseconds() - start) / 1e9)
    }

    /// `poll` counts in milliseconds, which is too coarse for a timetable: the last one is slept in short pieces.
    /// - Returns: whether any connection has something to say.
    private func wait(until time: Int64) -> Bool {
        let left = time - monotonicNanoseconds()
        let count = poll(&polled, nfds_t(polled.count), Int32(clamping: max(0, left / 1_000_000)))
        if count == 0, left > 0, left < 1_000_000 {
            var pause = timespec(tv_sec: 0, tv_nsec: Int(min(left, 100_000)))
            nanosleep(&pause, nil)
        }
        return count > 0
    }

    // MARK: Sending

    private func dispatch(_ now: Int64) {
        while firstWaiting < waiting.count {
            guard let index = idle.isEmpty ? closed.popLast() : idle.removeFirst() else { break }
            let intended = waiting[firstWaiting]
            firstWaiting += 1
            inFlight += 1
            slots[index].intended = intended
            slots[index].deadline = now + options.timeout
            if slots[index].state == .idle { send(index) } else { open(index) }
        }
        if firstWaiting > 4_096, firstWaiting * 2 > waiting.count {
            waiting.removeFirst(firstWaiting)
            firstWaiting = 0
        }
    }

    private func open(_ index: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return fail(index, .connect) }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        polled[index] = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        slots[index].state = .connecting
        var address = options.address
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status == 0 { opened(index) } else if errno != EINPROGRESS { fail(index, .connect) }
    }

    private func opened(_ index: Int) {
        if slots[index].everOpened { reconnects += 1 }
        slots[index].everOpened = true
        send(index)
    }

    private func send(_ index: Int) {
        slots[index].state = .waiting
        slots[index].reader = ResponseReader()
        polled[index].events = Int16(POLLIN)
        total.sent += 1
        second.sent += 1
        // A request is a few hundred bytes on an empty connection: it fits, or the connection is broken.
        if write(polled[index].fd, request, request.count) != request.count { fail(index, .closed) }
    }

    // MARK: Receiving

    private func handle(_ index: Int) {
        switch slots[index].state {
        case .closed: break
        case .connecting:
            var code: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(polled[index].fd, SOL_SOCKET, SO_ERROR, &code, &size)
            if code == 0 { opened(index) } else { fail(index, .connect) }
        case .idle:
            // Nothing can come on an idle connection but its end.
            idle.removeAll { $0 == index }
            close(index)
        case .waiting: receive(index)
        }
    }

    private func receive(_ index: Int) {
        let progress = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64 << 10) { buffer in
            let count = read(polled[index].fd, buffer.baseAddress, buffer.count)
            if count > 0 { return slots[index].reader.read(UnsafeBufferPointer(rebasing: buffer[..<count])) }
            if count < 0, errno == EAGAIN { return .more }
            return count == 0 ? slots[index].reader.closed() : .malformed
        }
        switch progress {
        case .more: break
        case .malformed:
            var byte: UInt8 = 0
            let open = recv(polled[index].fd, &byte, 1, Int32(MSG_PEEK))
            fail(index, open > 0 || (open < 0 && errno == EAGAIN) ? .malformed : .closed)
        case .done(let status, let keepAlive):
            let latency = monotonicNanoseconds() - slots[index].intended
            total.finish(status: status, latency: latency)
            second.finish(status: status, latency: latency)
            inFlight -= 1
            if keepAlive {
                slots[index].state = .idle
                idle.append(index)
            } else {
                close(index)
            }
        }
    }

    private func fail(_ index: Int, _ kind: FailureKind) {
        record(kind)
        inFlight -= 1
        close(index)
    }

    private func record(_ kind: FailureKind) {
        total.failed[kind, default: 0] += 1
        second.failed[kind, default: 0] += 1
    }

    private func close(_ index: Int) {
        if polled[index].fd >= 0 { _ = Glibc.close(polled[index].fd) }
        polled[index] = pollfd(fd: -1, events: 0, revents: 0)
        slots[index].state = .closed
        closed.append(index)
    }

    // MARK: Time

    private func nextDeadline() -> Int64 {
        var next = firstWaiting < waiting.count ? waiting[firstWaiting] + options.timeout : .max
        for slot in slots where slot.state == .waiting || slot.state == .connecting { next = min(next, slot.deadline) }
        return next
    }

    private func expire(_ now: Int64) {
        for index in slots.indices where slots[index].deadline <= now {
            switch slots[index].state {
            case .waiting: fail(index, .timeout)
            case .connecting: fail(index, .connect)
            case .idle, .closed: break
            }
        }
        while firstWaiting < waiting.count, waiting[firstWaiting] + options.timeout <= now {
            firstWaiting += 1
            record(.backlog)
        }
    }

    private func tick(at time: Int64) {
        let number = (time - start) / 1_000_000_000
        let sorted = second.sorted()
        series.append("{\"second\":\(number),\(sorted.members)}")
        if options.progress {
            say("\(number)s  \(sorted.line)  in flight \(inFlight)  waiting \(waiting.count - firstWaiting)", to: 2)
        }
        second = Statistics()
    }

    private func report(elapsed: Double) {
        if second.sent > 0 || !second.microseconds.isEmpty || second.failures > 0 {
            tick(at: start + Int64(elapsed.rounded(.up)) * 1_000_000_000)
        }
        let sorted = total.sorted()
        let seconds = (elapsed * 1000).rounded() / 1000
        if options.json {
            say(
                "{\"seconds\":\(seconds),\"reconnects\":\(reconnects),\(sorted.members),"
                    + "\"series\":[\(series.joined(separator: ","))]}")
        } else {
            say("total in \(seconds) s: \(sorted.line)  reconnects \(reconnects)")
        }
    }
}

@main
enum Main {
    static func main() {
        signal(SIGPIPE, SIG_IGN)
        Generator(Options(Array(CommandLine.arguments.dropFirst()))).run()
    }
}
