import Foundation

enum AtomicFile {
    /// Writes a new file beside `path`, makes it durable and renames it: readers see the old text or the new one.
    /// The mode holds from the first moment, so that a key is never readable by others.
    static func write(_ text: String, to path: String, mode: mode_t) throws(CertificateError) {
        let temporary = "\(path).\(getpid()).\(UInt32.random(in: .min ... .max)).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure(temporary) }
        do throws(CertificateError) {
            defer { close(descriptor) }
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
                guard written > 0 else {
                    if written < 0, errno == EINTR { continue }
                    throw failure(temporary)
                }
                rest = rest.dropFirst(written)
            }
            // The umask may have taken bits away.
            guard fchmod(descriptor, mode) == 0, fsync(descriptor) == 0 else { throw failure(temporary) }
            guard rename(temporary, path) == 0 else { throw failure(path) }
        } catch {
            unlink(temporary)
            throw error
        }
    }

    private static func failure(_ path: String) -> CertificateError {
        CertificateError(.unwritable, "\(path): \(String(cString: strerror(errno)))")
    }
}
