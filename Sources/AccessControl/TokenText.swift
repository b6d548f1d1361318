import Crypto

/// The text of a token: `orc_` and 43 characters of base64url, which are 256 random bits.
///
/// Kept as a plain SHA-256. A slow, salted hash protects passwords, which can be guessed; 2²⁵⁶ tokens can't, at any speed,
/// and each request pays for the hash. Nobody can aim at a hash either, so looking it up needs no constant time.
package enum TokenText {
    /// What scanners for leaked credentials look for: `orc_[A-Za-z0-9_-]{43}`.
    package static let prefix = "orc_"
    private static let randomBytes = 32

    package static func generate(using generator: inout some RandomNumberGenerator) -> String {
        prefix + Base64URL.encode((0..<randomBytes).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }

    package static func isWellFormed(_ text: String) -> Bool {
        text.hasPrefix(prefix) && Base64URL.decode(text.dropFirst(prefix.count))?.count == randomBytes
    }

    /// 64 hexadecimal digits.
    package static func hash(_ text: String) -> String { hexadecimal(SHA256.hash(data: Array(text.utf8))) }
}

/// Two digits a byte, lower case.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// RFC 4648 §5 without padding, as tokens and JWTs use it. Strict: other characters, padding and left-over bits are
/// refused, so that one value has one text.
package enum Base64URL {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    private static let values = Dictionary(
        uniqueKeysWithValues: alphabet.enumerated().map { ($0.element, UInt32($0.offset)) })

    package static func encode(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                text.append(alphabet[Int(buffer >> UInt32(bits) & 63)])
            }
            buffer &= (1 << UInt32(bits)) - 1
        }
        if bits > 0 { text.append(alphabet[Int(buffer << UInt32(6 - bits) & 63)]) }
        return String(decoding: text, as: UTF8.self)
    }

    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for character in text.utf8 {
            guard let value = values[character] else { return nil }
            buffer = buffer << 6 | value
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(buffer >> UInt32(bits) & 255))
            }
            buffer &= (1 << UInt32(bits)) - 1
        }
        // A single character of four carries no byte, and what is left over must be zero.
        return bits < 6 && buffer == 0 ? bytes : nil
    }
}
