/// An IPv4 range in CIDR notation.
package struct AddressRange: Hashable, Sendable {
    package let first: UInt32
    package let last: UInt32

    /// - Parameter text: such as `172.18.0.0/16`. nil unless it is IPv4 with a prefix of 8…29 bits.
    package init?(_ text: String) {
        let parts = text.split(separator: "/")
        guard parts.count == 2, let address = Self.address(String(parts[0])), let bits = UInt32(parts[1]),
            (8...29).contains(bits)
        else { return nil }
        let mask = UInt32.max << (32 - bits)
        first = address & mask
        last = first | ~mask
    }

    /// - Parameter text: four numbers; a prefix length after a slash is ignored.
    package static func address(_ text: String) -> UInt32? {
        let numbers = text.prefix { $0 != "/" }.split(separator: ".", omittingEmptySubsequences: false).map {
            UInt8($0)
        }
        guard numbers.count == 4 else { return nil }
        return numbers.reduce(UInt32?(0)) { value, number in
            guard let value, let number else { return nil }
            return value << 8 | UInt32(number)
        }
    }

    package static func text(_ address: UInt32) -> String {
        "\(address >> 24).\(address >> 16 & 255).\(address >> 8 & 255).\(address & 255)"
    }

    /// One of the upper half at random, the broadcast address left out; nil when none is free.
    package func freeAddress(taken: Set<UInt32>, using generator: inout some RandomNumberGenerator) -> UInt32? {
        let low = first + (last - first) / 2 + 1
        let start = UInt32.random(in: low..<last, using: &generator)
        let candidates = [start..<last, low..<start]
        return candidates.lazy.joined().first { !taken.contains($0) }
    }
}
