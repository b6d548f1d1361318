// WebSocket (RFC 6455), as far as an echo needs it.

enum WebSocket {
    static let text: UInt8 = 1
    static let binary: UInt8 = 2
    static let close: UInt8 = 8
    static let ping: UInt8 = 9
    static let pong: UInt8 = 10

    struct Frame {
        var opcode: UInt8
        var payload: [UInt8]
    }

    enum ParseResult {
        case incomplete
        case frame(Frame, consumed: Int)
        /// Fragments, unmasked frames and frames above 64 KiB are not for an echo.
        case invalid
    }

    /// The answer to `Sec-WebSocket-Key`.
    static func accept(_ key: String) -> String {
        base64(sha1(Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)))
    }

    static func parse(_ bytes: [UInt8]) -> ParseResult {
        guard bytes.count >= 2 else { return .incomplete }
        guard bytes[0] & 0xF0 == 0x80, bytes[1] & 0x80 != 0, bytes[1] != 0xFF else { return .invalid }
        var length = Int(bytes[1] & 0x7F)
        var start = 2
        if length == 126 {
            guard bytes.count >= 4 else { return .incomplete }
            length = Int(bytes[2]) << 8 | Int(bytes[3])
            start = 4
        }
        let mask = start
        start += 4
        guard bytes.count >= start + length else { return .incomplete }
        let payload = (0..<length).map { bytes[start + $0] ^ bytes[mask + $0 % 4] }
        return .frame(Frame(opcode: bytes[0] & 0x0F, payload: payload), consumed: start + length)
    }

    static func encode(_ frame: Frame) -> [UInt8] {
        var bytes: [UInt8] = [0x80 | frame.opcode]
        if frame.payload.count < 126 {
            bytes.append(UInt8(frame.payload.count))
        } else {
            bytes += [
                126, UInt8(truncatingIfNeeded: frame.payload.count >> 8),
                UInt8(truncatingIfNeeded: frame.payload.count),
            ]
        }
        return bytes + frame.payload
    }

    /// FIPS 180-4.
    private static func sha1(_ message: [UInt8]) -> [UInt8] {
        var state: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
        var padded = message + [0x80]
        while padded.count % 64 != 56 { padded.append(0) }
        let bits = UInt64(message.count) * 8
        padded += (0..<8).reversed().map { UInt8(truncatingIfNeeded: bits >> ($0 * 8)) }
        func rotate(_ value: UInt32, _ by: UInt32) -> UInt32 { value << by | value >> (32 - by) }
        for block in stride(from: 0, to: padded.count, by: 64) {
            var words = (0..<16).map { index in
                (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(padded[block + index * 4 + $1]) }
            }
            for index in 16..<80 {
                words.append(rotate(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1))
            }
            var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
            for (index, word) in words.enumerated() {
                let (mixed, constant): (UInt32, UInt32) =
                    switch index / 20 {
                    case 0: (b & c | ~b & d, 0x5A82_7999)
                    case 1: (b ^ c ^ d, 0x6ED9_EBA1)
                    case 2: (b & c | b & d | c & d, 0x8F1B_BCDC)
                    default: (b ^ c ^ d, 0xCA62_C1D6)
                    }
                let next = rotate(a, 5) &+ mixed &+ e &+ constant &+ word
                (e, d, c, b, a) = (d, c, rotate(b, 30), a, next)
            }
            for (index, value) in [a, b, c, d, e].enumerated() { state[index] &+= value }
        }
        return state.flatMap { word in (0..<4).reversed().map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        var text = ""
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = (0..<3).reduce(0) { $0 << 8 | (start + $1 < bytes.count ? Int(bytes[start + $1]) : 0) }
            for place in 0..<4 {
                text.append(start + place <= bytes.count ? alphabet[group >> (18 - place * 6) & 63] : "=")
            }
        }
        return text
    }
}
