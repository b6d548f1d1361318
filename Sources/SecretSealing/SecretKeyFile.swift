import Foundation
import OrchestryModel

/// The file behind `secrets.key_file`.
package enum SecretKeyFile {
    /// - Throws: `badKeyFile`, also when others than the owner may read it.
    package static func load(_ path: String, cluster: ClusterID) throws(SecretSealingError) -> SecretKeys {
        let text: String
        do throws(PrivateFile.Failure) {
            text = String(decoding: try PrivateFile.read(path), as: UTF8.self)
        } catch {
            throw .badKeyFile(error.description)
        }
        return try SecretKeys(text: text, cluster: cluster)
    }

    /// Adds a new key: at the top of a new file, below the others of one that exists, from where it is moved to the top
    /// once every node has it. Readable for the owner only, from the first moment.
    /// - Returns: whether the file was made.
    package static func addKey(to path: String) throws(SecretSealingError) -> Bool {
        let exists = FileManager.default.fileExists(atPath: path)
        let flags = exists ? O_WRONLY | O_APPEND | O_CLOEXEC : O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
        let descriptor = open(path, flags, 0o600)
        guard descriptor >= 0 else { throw .badKeyFile("\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        let line = Array((SecretKeys.generateLine() + "\n").utf8)
        let written = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written == line.count, fsync(descriptor) == 0 else {
            throw .badKeyFile("\(path) can't be written: \(String(cString: strerror(errno)))")
        }
        return !exists
    }
}
