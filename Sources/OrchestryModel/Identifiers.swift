/// A string identity with a validity rule; each conforming type is its own type so that they can't be mixed up.
public protocol Identifier: RawRepresentable, Hashable, Sendable, Comparable, Codable, CustomStringConvertible
where RawValue == String {
    /// Whether `text` may be this kind of identity.
    static func isValid(_ text: String) -> Bool
    /// Wraps a text that is already known to be valid (from our own database, certificate or label).
    init(unchecked text: String)
}

extension Identifier {
    /// - Returns: nil unless `isValid(rawValue)`.
    public init?(rawValue: String) {
        guard Self.isValid(rawValue) else { return nil }
        self.init(unchecked: rawValue)
    }
    public var description: String { rawValue }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard Self.isValid(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(Self.self): invalid '\(text)'")
        }
        self.init(unchecked: text)
    }
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// Whether `text` is a DNS label (RFC 1123 §2.1): 1–63 of `a-z 0-9 -`, no hyphen first or last.
public func isDNSLabel(_ text: String) -> Bool {
    let bytes = text.utf8
    guard (1...63).contains(bytes.count), bytes.first != UInt8(ascii: "-"), bytes.last != UInt8(ascii: "-") else {
        return false
    }
    return bytes.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || byte == UInt8(ascii: "-")
    }
}

/// One `orchestryd` process of the cluster, named by configuration and by its certificate's SAN. A DNS label.
public struct NodeID: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool { isDNSLabel(text) }
}

/// The cluster a node, a connection or a container belongs to. A DNS label.
public struct ClusterID: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool { isDNSLabel(text) }
}

/// An application's name: a DNS label, because it names containers, virtual hosts and files.
public struct AppName: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool { isDNSLabel(text) }
}

/// One instance (one container slot) of an app: `<app>-<revision>-<6 of a-z0-9>`, at most 80 characters of `a-z0-9-`.
/// A restarted container keeps its instance's identity; a replacement is a new instance. A release step is an instance
/// too, named `<app>-<revision>-r-<6 of a-z0-9>`: its container is started once, and kept when it has exited.
public struct InstanceID: Identifier {
    public let rawValue: String
    public init(unchecked text: String) { rawValue = text }
    public static func isValid(_ text: String) -> Bool {
        (1...80).contains(text.utf8.count)
            && text.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 45 }
    }
    /// Whether it runs an app's release command. Where it says `r`, all others have their revision.
    public var isReleaseStep: Bool { rawValue.utf8.dropLast(6).suffix(3).elementsEqual("-r-".utf8) }
}

/// The fencing token: rises by at least one with each change of leader. 0 means "no leader yet".
public struct Epoch: RawRepresentable, Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
    public static let none = Epoch(0)
    public static func < (left: Epoch, right: Epoch) -> Bool { left.rawValue < right.rawValue }
    public var next: Epoch { Epoch(rawValue + 1) }
    public var description: String { String(rawValue) }
}
