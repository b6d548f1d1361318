/// What was found out about a revision's image before its first instance was made.
public struct ImageReview: Hashable, Sendable, Codable {
    public enum Verdict: String, Hashable, Sendable, Codable { case pending, accepted, refused }
    public var revision: Int
    public var verdict: Verdict
    /// `sha256:…`: what the tag meant when the revision was made, and goes on meaning for it. nil: the tag alone counts.
    public var digest: String?
    /// Why it was refused; empty otherwise.
    public var reason: String
    public init(revision: Int, verdict: Verdict, digest: String? = nil, reason: String = "") {
        self.revision = revision
        self.verdict = verdict
        self.digest = digest
        self.reason = reason
    }
}

extension Application {
    /// The spec its containers are made from: the image by digest, where that is known.
    public var pinnedSpec: AppSpec {
        spec.pinned(to: imageReview?.revision == revision ? imageReview?.digest : nil)
    }
}

extension AppSpec {
    /// - Parameter digest: what its image's tag means, `sha256:…`; nil: the tag alone counts.
    public func pinned(to digest: String?) -> AppSpec {
        guard let digest else { return self }
        var pinned = self
        pinned.image = "\(repository(of: image))@\(digest)"
        return pinned
    }
}

/// An image reference without tag and digest.
public func repository(of image: String) -> String {
    let name = image.prefix { $0 != "@" }
    // A colon before the last slash belongs to the registry's port.
    let afterSlash = name.lastIndex(of: "/").map { name.index(after: $0) } ?? name.startIndex
    return String(name[..<(name[afterSlash...].firstIndex(of: ":") ?? name.endIndex)])
}
