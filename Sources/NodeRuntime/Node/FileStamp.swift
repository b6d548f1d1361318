import Foundation

/// What `stat` says of a file: it is read only when this changes.
struct FileStamp: Equatable, Sendable {
    /// Device and inode.
    private var file: String
    private var size: String
    private var changed: Double

    /// nil: not there, or not readable. Blocks: not for an event loop or the cooperative pool.
    ///
    /// By way of Foundation: `stat`'s members are visible or not as modules happen to be built.
    init?(_ path: String) {
        let target = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
        guard let found = try? FileManager.default.attributesOfItem(atPath: target) else { return nil }
        func text(_ key: FileAttributeKey) -> String { found[key].map { "\($0)" } ?? "" }
        file = "\(text(.systemNumber)) \(text(.systemFileNumber))"
        size = text(.size)
        changed = (found[.modificationDate] as? Date)?.timeIntervalSinceReferenceDate ?? 0
    }
}
