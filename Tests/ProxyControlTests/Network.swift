import Dispatch
import Glibc

struct SystemFailure: Error, CustomStringConvertible {
    var description: String
    init(_ what: String) { description = "\(what): \(String(cString: strerror(errno)))" }
}

/// A TCP connection with blocking calls, for tests: used on a dispatch queue or for moments only.
final class Connection: Sendable {
    private let descriptor: Int32

    /// - Parameter source: the address to come from; any of 127.0.0.0/8 will do on Linux.
    init(port: Int, source: String = "127.0.0.1", seconds: Int = 20) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        self.descriptor = descriptor
        var wait = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
        var local = Self.address(source, 0)
        let bound = Self.with(&local) { bind(descriptor, $0, $1) }
        var remote = Self.address("127.0.0.1", port)
        guard bound == 0, Self.with(&remote, { connect(descriptor, $0, $1) }) == 0 else {
            throw SystemFailure("connect to \(port)")  // `deinit` closes: every property is set.
        }
    }

    deinit { Glibc.close(descriptor) }

    func send(_ text: String) throws {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw SystemFailure("send") }
            rest = rest.dropFirst(count)
        }
    }

    /// Up to the end of the stream, or until `enough` says so.
    func receive(until enough: (String) -> Bool = { _ in false }) throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count >= 0 else { throw SystemFailure("receive") }
            bytes.append(contentsOf: buffer[..<count])
            let text = String(decoding: bytes, as: UTF8.self)
            if count == 0 || enough(text) { return text }
        }
    }

    static func address(_ host: String, _ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        return address
    }

    static func with<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

/// Holds a port of 127.0.0.1: as a listener nobody answers at, or only to find one that is free.
final class PortHolder: Sendable {
    let port: Int
    private let descriptor: Int32

    init(listen listening: Bool = true) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = Connection.address("127.0.0.1", 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = Connection.with(&address) { bind(descriptor, $0, $1) }
        guard bound == 0, !listening || Glibc.listen(descriptor, 16) == 0,
            Connection.with(&address, { name, _ in getsockname(descriptor, name, &size) }) == 0
        else { throw SystemFailure("listen") }
        self.descriptor = descriptor
        port = Int(in_port_t(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }

    /// Ports that were free a moment ago, all different.
    static func free(_ count: Int) throws -> [Int] {
        let holders = try (0..<count).map { _ in try PortHolder(listen: false) }
        return holders.map(\.port)
    }
}

struct Reply: Sendable {
    var status: Int
    var headers: [String: String]
    var body: String

    init?(_ text: String) {
        guard let gap = text.firstRange(of: "\r\n\r\n") else { return nil }
        let lines = text[..<gap.lowerBound].split(separator: "\r\n")
        guard let first = lines.first?.split(separator: " "), first.count > 1, let status = Int(first[1]) else {
            return nil
        }
        self.status = status
        headers = [:]
        for line in lines.dropFirst() {
            let pair = line.split(separator: ":", maxSplits: 1)
            if pair.count == 2 { headers[pair[0].lowercased()] = String(pair[1].drop { $0 == " " }) }
        }
        body = String(text[gap.upperBound...])
        if headers["transfer-encoding"] == "chunked" {
            guard let whole = Self.joined(body) else { return nil }
            body = whole
        }
    }

    /// The content of a chunked body (RFC 9112 §7.1) of ASCII text; nil if it does not end as it should.
    private static func joined(_ body: String) -> String? {
        var bytes = Array(body.utf8)[...]
        var result: [UInt8] = []
        while let end = bytes.firstIndex(of: 13) {
            guard let size = Int(String(decoding: bytes[..<end], as: UTF8.self), radix: 16) else { return nil }
            if size == 0 { return String(decoding: result, as: UTF8.self) }
            guard bytes.endIndex - end >= size + 4 else { return nil }
            result += bytes[(end + 2)..<(end + 2 + size)]
            bytes = bytes[(end + 2 + size + 2)...]
        }
        return nil
    }
}

/// One request on a connection of its own. Blocks a dispatch thread, not the cooperative pool.
func request(
    _ port: Int, host: String, _ path: String = "/", method: String = "GET", headers: [String: String] = [:],
    body: String? = nil, source: String = "127.0.0.1"
) async throws -> Reply {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async {
            continuation.resume(
                with: Result {
                    let connection = try Connection(port: port, source: source)
                    var text = "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n"
                    for (name, value) in headers { text += "\(name): \(value)\r\n" }
                    if let body { text += "Content-Length: \(body.utf8.count)\r\n" }
                    try connection.send(text + "\r\n" + (body ?? ""))
                    let answer = try connection.receive()
                    guard let reply = Reply(answer) else { throw SystemFailure("no response: '\(answer)'") }
                    return reply
                })
        }
    }
}
