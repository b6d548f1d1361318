/// The entity tag (RFC 9110 §8.8.3) of an app's spec, and conditions on it.
public enum SpecTag {
    /// Differs whenever the revision or the stored document does: `r5-0123456789abcdef`, to be put in quotes. The
    /// second half is FNV-1a (64 bits) over the document: enough against two people's accidents, not against an attacker,
    /// who could overwrite the spec without a condition as well.
    public static func of(revision: Int, flat: JSONValue) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in flat.jsonBytes() { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return "r\(revision)-" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// The tags of an `If-Match` header, without quotes; nil: not a list of entity tags. Weak ones never match.
    public static func list(_ header: String) -> [String]? {
        var tags: [String] = []
        for part in header.split(separator: ",", omittingEmptySubsequences: false) {
            var text = part[...]
            while text.first == " " || text.first == "\t" { text.removeFirst() }
            while text.last == " " || text.last == "\t" { text.removeLast() }
            let isWeak = text.hasPrefix("W/")
            if isWeak { text = text.dropFirst(2) }
            guard text.utf8.count >= 2, text.first == "\"", text.last == "\"" else { return nil }
            let tag = text.dropFirst().dropLast()
            guard tag.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x22 && $0 < 0x7F }) else { return nil }
            if !isWeak { tags.append(String(tag)) }
        }
        return tags
    }
}

/// What must hold of an app's present spec for a write to be carried out.
public struct SpecCondition: Hashable, Sendable, Codable {
    /// There is no such app.
    public var isAbsent: Bool
    /// Its tag is one of these (of none: never); nil: any, or none with `isAbsent`.
    public var tags: [String]?

    /// `If-Match: *`
    public static let exists = SpecCondition(isAbsent: false)
    /// `If-None-Match: *`
    public static let absent = SpecCondition(isAbsent: true)
    /// `If-Match: "…"`
    public static func oneOf(_ tags: [String]) -> SpecCondition { SpecCondition(isAbsent: false, tags: tags) }

    /// - Throws: 412 when it does not hold.
    public func check(_ current: Application?, name: AppName) throws(Problem) {
        let holds: Bool
        if let current, !isAbsent {
            holds = tags?.contains(current.tag) ?? true
        } else {
            holds = isAbsent && current == nil
        }
        guard holds else { throw .changedSince(name, current) }
    }
}

extension Application {
    /// See `SpecTag`.
    public var tag: String { SpecTag.of(revision: revision, flat: document) }
}

extension Problem {
    /// 412: somebody else was faster.
    public static func changedSince(_ name: AppName, _ current: Application?) -> Problem {
        let now =
            current.map { "It has revision \($0.revision) and the tag \"\($0.tag)\" now" } ?? "It is not registered now"
        return Problem(
            status: 412, code: "spec-changed", title: "The app's spec is another one by now",
            detail: "App \(name) is not as it was when this change was made. \(now); nothing was changed. Look at what "
                + "differs (orchestry diff \(name) FILE), then apply again.")
    }
}
