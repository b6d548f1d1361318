/// Why an archive can't be written or relied on. Whoever gets one drops nothing.
package enum ArchiveError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The system refused: no room, no such folder, no permission.
    case file(path: String, reason: String)
    /// What is on disk is not what was written.
    case damaged(path: String, reason: String)

    package var description: String {
        switch self {
        case .file(let path, let reason): "\(path): \(reason)"
        case .damaged(let path, let reason): "\(path) is damaged: \(reason)"
        }
    }
}
