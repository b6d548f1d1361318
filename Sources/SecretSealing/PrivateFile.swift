import Foundation

/// Files with keys and tokens: for their owner's eyes only.
package enum PrivateFile {
    package struct Failure: Error, Hashable, CustomStringConvertible {
        /// Names the file and says what to do; never with what is in it.
        package var description: String
        package init(description: String) { self.description = description }
    }

    /// - Throws: also when others than the owner may read it.
    package static func read(_ path: String) throws(Failure) -> [UInt8] {
        do {
            let mode =
                try FileManager.default.attributesOfItem(
                    atPath: URL(fileURLWithPath: path).resolvingSymlinksInPath().path)[.posixPermissions] as? Int
            guard let mode, mode & 0o077 == 0 else {
                throw Failure(description: "others may read it: chmod 600 \(path)")
            }
            return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(description: "\(path) can't be read: \(error.localizedDescription)")
        }
    }

    /// Readable for the owner only, from the first moment; a file that is there is not touched.
    package static func create(_ path: String, _ text: String) throws(Failure) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failure(description: "\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count, fsync(descriptor) == 0 else {
            throw Failure(description: "\(path) can't be written: \(String(cString: strerror(errno)))")
        }
    }

    /// Puts new content in the place of old at once: a reader sees the one or the other.
    package static func replace(_ path: String, _ text: String) throws(Failure) {
        let new = path + ".new"
        unlink(new)  // Left behind by a write that was cut short; there may be none.
        try create(new, text)
        guard rename(new, path) == 0 else {
            throw Failure(description: "\(path) can't be replaced: \(String(cString: strerror(errno)))")
        }
    }
}
