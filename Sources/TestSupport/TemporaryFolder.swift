import Foundation

/// A new empty folder, removed with everything in it when the last reference goes.
public final class TemporaryFolder: Sendable {
    /// Absolute, without a slash at the end.
    public let path: String

    public init(_ label: String = "test") throws {
        path =
            FileManager.default.temporaryDirectory
            .appendingPathComponent("orchestry-\(label)-\(UUID().uuidString.prefix(8).lowercased())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        // Nothing can be done about a file that can't be removed; the system clears its temporary folder.
        try? FileManager.default.removeItem(atPath: path)
    }

    public func appending(_ name: String) -> String { path + "/" + name }
}
