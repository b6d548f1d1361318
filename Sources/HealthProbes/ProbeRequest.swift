import NIOCore
import OrchestryModel

/// The HTTP request of a check, and what its answer means. Pure.
package struct ProbeRequest: Sendable {
    private let check: AppSpec.HealthCheck
    /// What is sent.
    package let bytes: ByteBuffer

    /// - Parameter endpoint: for the `Host` header; nil: the request is never sent.
    package init(_ check: AppSpec.HealthCheck, endpoint: Endpoint?) {
        self.check = check
        let body = check.method == "GET" ? nil : check.body ?? ""
        let path = Self.printable(check.path).replacing(" ", with: "%20")
        var head = "\(Self.printable(check.method)) \(path) HTTP/1.1\r\n"
        let names = Set(check.headers.keys.map { $0.lowercased() })
        if !names.contains("host") { head += "Host: \(endpoint.map(String.init(describing:)) ?? "")\r\n" }
        if !names.contains("user-agent") { head += "User-Agent: orchestry-probe\r\n" }
        for (name, value) in check.headers.sorted(by: { $0.key < $1.key }) where !Self.isOurs(name) {
            head += "\(Self.printable(name)): \(Self.printable(value))\r\n"
        }
        if let body { head += "Content-Length: \(body.utf8.count)\r\n" }
        head += "Connection: close\r\n"
        bytes = ByteBuffer(string: head + "\r\n" + (body ?? ""))
    }

    /// Without control characters: a line feed in a specification must not become another header.
    private static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7f }))
    }

    /// Headers that describe the connection or the body, which a check can't change.
    private static func isOurs(_ name: String) -> Bool {
        ["connection", "content-length", "transfer-encoding"].contains(name.lowercased())
    }

    package func outcome(status: Int) -> ProbeResult.Outcome {
        check.expects(status) ? .success : .failure(.unexpectedStatus(status))
    }
}

/// Finds the status in the beginning of an HTTP/1 answer; interim answers (1xx) are passed over.
package struct StatusReader: Sendable {
    package enum Progress: Hashable, Sendable {
        case more
        case status(Int)
        case malformed
    }
    /// A status line, or an interim answer as a whole.
    private static let maximumHead = 16 << 10
    private var buffer = ByteBuffer()
    package init() {}

    package mutating func feed(_ chunk: ByteBuffer) -> Progress {
        buffer.writeImmutableBuffer(chunk)
        while true {
            let bytes = buffer.readableBytesView
            guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
                return bytes.count > Self.maximumHead ? .malformed : .more
            }
            guard let status = Self.status(bytes[..<end]) else { return .malformed }
            if !(100..<200).contains(status) { return .status(status) }
            guard let next = Self.endOfHead(bytes) else { return bytes.count > Self.maximumHead ? .malformed : .more }
            buffer.moveReaderIndex(to: next)
        }
    }

    /// RFC 9112 §4: `HTTP/1.x SP 3DIGIT …`.
    private static func status(_ line: some Collection<UInt8>) -> Int? {
        let words = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
        guard words.count >= 2, words[0].starts(with: "HTTP/1.".utf8), words[0].count == 8 else { return nil }
        let digits = words[1].filter { $0 != UInt8(ascii: "\r") }
        guard digits.count == 3, let status = Int(String(decoding: digits, as: UTF8.self)), status >= 100 else {
            return nil
        }
        return status
    }

    private static func endOfHead(_ bytes: ByteBufferView) -> Int? {
        var index = bytes.startIndex
        while let end = bytes[index...].firstIndex(of: UInt8(ascii: "\n")) {
            let isEmpty = end == index || (end == index + 1 && bytes[index] == UInt8(ascii: "\r"))
            if isEmpty { return end + 1 }
            index = end + 1
        }
        return nil
    }
}
