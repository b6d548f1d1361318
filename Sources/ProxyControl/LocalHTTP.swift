import Glibc

/// One HTTP/1.0 exchange over a unix socket: all that is needed for our own server on the other side. Blocking.
enum LocalHTTP {
    struct Response {
        var status: Int
        var body: String
    }

    /// - Parameter timeout: for each wait, not for the whole; seconds.
    static func exchange(
        socket path: String, method: String = "GET", target: String, body: String? = nil, timeout: Double = 5
    ) throws(ProxyError) -> Response {
        let operation = "asking nginx for \(target)"
        let descriptor = try connect(path, timeout, operation)
        defer { close(descriptor) }
        var request = "\(method) \(target) HTTP/1.0\r\nHost: admin\r\n"
        if let body { request += "Content-Length: \(body.utf8.count)\r\n" }
        request += "\r\n" + (body ?? "")
        try send(descriptor, Array(request.utf8), operation)
        return try parse(receive(descriptor, operation), operation)
    }

    private static func connect(_ path: String, _ timeout: Double, _ operation: String) throws(ProxyError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system(operation, path, errno) }
        var wait = timeval(tv_sec: Int(timeout), tv_usec: Int((timeout - timeout.rounded(.down)) * 1_000_000))
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &wait, size)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < capacity else {
            close(descriptor)
            throw ProxyError(.inputOutput, while: operation, "the socket's path is too long: \(path)")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let number = errno
            close(descriptor)
            throw ProxyError(.notRunning, while: operation, Errno.text(number))
        }
        return descriptor
    }

    private static func send(_ descriptor: Int32, _ bytes: [UInt8], _ operation: String) throws(ProxyError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { throw failure(operation) }
        }
    }

    private static func receive(_ descriptor: Int32, _ operation: String) throws(ProxyError) -> [UInt8] {
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count == 0 { return answer }
            if count > 0 {
                answer.append(contentsOf: buffer[..<count])
            } else if errno != EINTR {
                throw failure(operation)
            }
        }
    }

    private static func failure(_ operation: String) -> ProxyError {
        let number = errno
        let timedOut = number == EAGAIN || number == EWOULDBLOCK
        return ProxyError(timedOut ? .timeout : .inputOutput, while: operation, Errno.text(number))
    }

    private static func parse(_ bytes: [UInt8], _ operation: String) throws(ProxyError) -> Response {
        let bad = ProxyError(.badAnswer, while: operation, "not a whole HTTP response")
        let gap = Array("\r\n\r\n".utf8)
        guard let end = bytes.indices.first(where: { bytes[$0...].starts(with: gap) }) else { throw bad }
        let head = String(decoding: bytes[..<end], as: UTF8.self).split(whereSeparator: \.isNewline)
        let words = head.first?.split(separator: " ") ?? []
        guard words.count >= 2, let status = Int(words[1]) else { throw bad }
        let body = bytes[(end + gap.count)...]
        for line in head.dropFirst() {
            let pair = line.split(separator: ":", maxSplits: 1)
            guard pair.count == 2, pair[0].lowercased() == "content-length" else { continue }
            // A connection that broke half way looks like an end; the length tells.
            guard Int(pair[1].drop { $0 == " " }) == body.count else { throw bad }
        }
        return Response(status: status, body: String(decoding: body, as: UTF8.self))
    }
}
