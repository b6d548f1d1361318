/// Collects the lines of a configuration, indented by block.
struct ConfigText {
    private(set) var text = ""
    private var depth = 0

    mutating func line(_ words: String...) {
        for word in words {
            text += String(repeating: "    ", count: depth) + word + "\n"
        }
    }

    mutating func blank() { text += "\n" }

    mutating func block(_ head: String, _ body: (inout ConfigText) -> Void) {
        line(head + " {")
        depth += 1
        body(&self)
        depth -= 1
        line("}")
    }

    /// A value in double quotes, as nginx and Lua read it back unchanged.
    static func quoted(_ value: String) -> String {
        var result = "\""
        for character in value {
            if character == "\"" || character == "\\" { result.append("\\") }
            result.append(character)
        }
        return result + "\""
    }

    /// The inside of a JSON string, within single quotes of nginx.
    static func json(_ value: String) -> String {
        String(
            value.unicodeScalars.filter { $0.value >= 32 && !"\"\\'$".unicodeScalars.contains($0) }.map(Character.init))
    }
}

/// FNV-1a, 64 bits, as 16 hexadecimal digits: tells texts apart, protects against nothing.
/// Source: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm", draft-eastlake-fnv.
func fingerprint(_ parts: some Sequence<some Sequence<UInt8>>) -> String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for part in parts {
        for byte in part { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash = (hash ^ 0xff) &* 0x100_0000_01b3
    }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// Tells the certificates of an app apart, as part of a configuration.
package func certificateFingerprint(_ pem: String) -> String { fingerprint([pem.utf8]) }
